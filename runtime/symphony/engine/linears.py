"""Products of activations with weights: oneDNN with packed weights and fused post-ops on a CPU, torch's own elsewhere.

`PackedLinear` and `PlainLinear` do the same four things; which one a model uses is chosen when it is loaded.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit

from symphony_kernels import onednn

Bias = torch.Tensor | None
SMALL = 1 << 20
"""Elements up to which a packed weight is also kept transposed: for a single row a plain product then beats oneDNN,
whose calls cost some microseconds more."""


class Linear(Protocol):
    """A weight [out, in], perhaps a bias b [out]; x is [rows, in]."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x W^T + b"""
        ...

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """x W^T + b + other"""
        ...


class Gated(Protocol):
    """Two such weights of a gated MLP."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """silu(x G^T + g) * (x U^T + u)"""
        ...


class PackedLinear:
    """fp32 on a CPU, by oneDNN."""

    def __init__(self, weight: torch.Tensor, bias: Bias = None) -> None:
        self._weight = onednn.pack(weight)
        self._bias = bias
        self._transposed = weight.t().contiguous() if weight.numel() <= SMALL else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._transposed is not None and x.shape[0] == 1:
            return _product(x, self._transposed, self._bias)
        return onednn.linear(x, self._weight, "none", self._bias)

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if self._transposed is not None and x.shape[0] == 1:
            return torch.addmm(other if self._bias is None else other + self._bias, x, self._transposed)
        return onednn.linear_with(x, self._weight, other, "add", self._bias)


class PackedGated:
    """fp32 on a CPU, by oneDNN: silu and the product are part of the two multiplications."""

    def __init__(
        self,
        gate: torch.Tensor,
        up: torch.Tensor,
        gate_bias: Bias = None,
        up_bias: Bias = None,
    ) -> None:
        self._gate, self._up = onednn.pack(gate), onednn.pack(up)
        self._gate_bias, self._up_bias = gate_bias, up_bias
        small = gate.numel() <= SMALL
        self._transposed = (gate.t().contiguous(), up.t().contiguous()) if small else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._transposed is not None and x.shape[0] == 1:
            gate, up = self._transposed
            return F.silu(_product(x, gate, self._gate_bias)).mul_(_product(x, up, self._up_bias))
        inner = onednn.linear(x, self._gate, "swish", self._gate_bias)
        return onednn.linear_with(x, self._up, inner, "mul", self._up_bias)


class PlainLinear:
    """Any device, any dtype."""

    def __init__(self, weight: torch.Tensor, bias: Bias = None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weight, self._bias)

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if self._bias is None:
            return torch.addmm(other, x, self._weight.t())
        return F.linear(x, self._weight, self._bias).add_(other)


class PlainGated:
    """Any device, any dtype; one product for both weights."""

    def __init__(
        self,
        gate: torch.Tensor,
        up: torch.Tensor,
        gate_bias: Bias = None,
        up_bias: Bias = None,
    ) -> None:
        self._both = torch.cat([gate, up])
        self._bias = None if gate_bias is None or up_bias is None else torch.cat([gate_bias, up_bias])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = F.linear(x, self._both, self._bias).chunk(2, -1)
        return F.silu(gate) * up


def linear(weight: torch.Tensor, bias: Bias = None) -> Linear:
    """The fastest one for this weight's device and dtype."""
    return PackedLinear(weight, bias) if _packs(weight) else PlainLinear(weight.contiguous(), bias)


def gated(gate: torch.Tensor, up: torch.Tensor, gate_bias: Bias = None, up_bias: Bias = None) -> Gated:
    """The fastest one for these weights' device and dtype."""
    return (PackedGated if _packs(gate) else PlainGated)(gate, up, gate_bias, up_bias)


def _product(x: torch.Tensor, weight: torch.Tensor, bias: Bias) -> torch.Tensor:
    return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)


def _packs(weight: torch.Tensor) -> bool:
    return onednn.AVAILABLE and weight.device.type == "cpu" and weight.dtype == torch.float32
