"""Products of activations with weights: oneDNN with packed weights and fused post-ops on a CPU, torch's own elsewhere.

`PackedLinear` and `PlainLinear` do the same four things; which one a model uses is chosen when it is loaded.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit

from symphony_kernels import onednn

SMALL = 1 << 20
"""Elements up to which a packed weight is also kept transposed: for a single row a plain product then beats oneDNN,
whose calls cost some microseconds more."""


class Linear(Protocol):
    """A weight [out, in]; x is [rows, in]."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x W^T"""
        ...

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """x W^T + other"""
        ...


class Gated(Protocol):
    """Two weights [out, in] of a gated MLP."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """silu(x G^T) * (x U^T)"""
        ...


class PackedLinear:
    """fp32 on a CPU, by oneDNN."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = onednn.pack(weight)
        self._transposed = weight.t().contiguous() if weight.numel() <= SMALL else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._transposed is not None and x.shape[0] == 1:
            return torch.mm(x, self._transposed)
        return onednn.linear(x, self._weight)

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if self._transposed is not None and x.shape[0] == 1:
            return torch.addmm(other, x, self._transposed)
        return onednn.linear_with(x, self._weight, other, "add")


class PackedGated:
    """fp32 on a CPU, by oneDNN: silu and the product are part of the two multiplications."""

    def __init__(self, gate: torch.Tensor, up: torch.Tensor) -> None:
        self._gate, self._up = onednn.pack(gate), onednn.pack(up)
        small = gate.numel() <= SMALL
        self._transposed = (gate.t().contiguous(), up.t().contiguous()) if small else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._transposed is not None and x.shape[0] == 1:
            gate, up = self._transposed
            return F.silu(torch.mm(x, gate)).mul_(torch.mm(x, up))
        return onednn.linear_with(x, self._up, onednn.linear(x, self._gate, "swish"), "mul")


class PlainLinear:
    """Any device, any dtype."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weight)

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.addmm(other, x, self._weight.t())


class PlainGated:
    """Any device, any dtype; one product for both weights."""

    def __init__(self, gate: torch.Tensor, up: torch.Tensor) -> None:
        self._both = torch.cat([gate, up])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = F.linear(x, self._both).chunk(2, -1)
        return F.silu(gate) * up


def linear(weight: torch.Tensor) -> Linear:
    """The fastest one for this weight's device and dtype."""
    return PackedLinear(weight) if _packs(weight) else PlainLinear(weight.contiguous())


def gated(gate: torch.Tensor, up: torch.Tensor) -> Gated:
    """The fastest one for these weights' device and dtype."""
    return PackedGated(gate, up) if _packs(gate) else PlainGated(gate, up)


def _packs(weight: torch.Tensor) -> bool:
    return onednn.AVAILABLE and weight.device.type == "cpu" and weight.dtype == torch.float32
