"""Products of activations with weights, fused with what follows them.

    native   fp32 or bf16 weights on a CPU, by our own operation where there is a compiler
    packed   fp32 on a CPU, by oneDNN with packed weights
    narrow   bf16 weights on a CPU, by oneDNN where the processor has instructions for them, else by torch
    plain    any device, any dtype, by torch

All do the same; which one a weight uses is chosen when it is loaded. On a CPU rows and results are fp32, whatever the
weights are: bf16 there is a way to read less memory.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit

from symphony_kernels import onednn
from symphony_kernels.native import linear as native

Bias = torch.Tensor | None
SMALL = 1 << 20
"""Elements up to which a packed weight is also kept transposed: for a single row a plain product then beats oneDNN,
whose calls cost some microseconds more."""


FEW_ROWS = 96
"""More rows than these are left to oneDNN, on processors where that is faster then."""
TWICE = 1 << 24
"""Elements up to which a weight is kept both ways."""


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


class NativeLinear:
    """fp32 on a CPU, by the native operation; for many rows by `beyond`, if that is given."""

    def __init__(self, weight: native.NativeWeight, beyond: Linear | None) -> None:
        self._weight = weight
        self._beyond = beyond

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._beyond is not None and x.shape[0] > FEW_ROWS:
            return self._beyond(x)
        return self._weight(x)

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if self._beyond is not None and x.shape[0] > FEW_ROWS:
            return self._beyond.plus(x, other)
        return self._weight(x, native.ADD, other)


class NativeGated:
    """Two of them, likewise."""

    def __init__(self, gate: native.NativeWeight, up: native.NativeWeight, beyond: Gated | None) -> None:
        self._gate, self._up = gate, up
        self._beyond = beyond

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._beyond is not None and x.shape[0] > FEW_ROWS:
            return self._beyond(x)
        return self._up(x, native.MULTIPLY, self._gate(x, native.SILU))


class PackedLinear:
    """fp32 on a CPU, by oneDNN."""

    def __init__(self, weight: torch.Tensor, bias: Bias = None, small: int = SMALL) -> None:
        self._weight = onednn.pack(weight)
        self._bias = bias
        self._transposed = weight.t().contiguous() if weight.numel() <= small else None

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
        small: int = SMALL,
    ) -> None:
        self._gate, self._up = onednn.pack(gate), onednn.pack(up)
        self._gate_bias, self._up_bias = gate_bias, up_bias
        kept = gate.numel() <= small
        self._transposed = (gate.t().contiguous(), up.t().contiguous()) if kept else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._transposed is not None and x.shape[0] == 1:
            gate, up = self._transposed
            return F.silu(_product(x, gate, self._gate_bias)).mul_(_product(x, up, self._up_bias))
        inner = onednn.linear(x, self._gate, "swish", self._gate_bias)
        return onednn.linear_with(x, self._up, inner, "mul", self._up_bias)


class NarrowLinear:
    """bf16 weights on a CPU: rows are rounded to bf16 too, sums are fp32."""

    def __init__(self, weight: torch.Tensor, bias: Bias = None) -> None:
        self._packed = onednn.NARROW
        self._weight = onednn.pack(weight) if self._packed else weight
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x.bfloat16()
        out = (onednn.linear(x, self._weight) if self._packed else F.linear(x, self._weight)).float()
        return out if self._bias is None else out.add_(self._bias)

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return self(x).add_(other)


class NarrowGated:
    """Two of them."""

    def __init__(self, gate: torch.Tensor, up: torch.Tensor, gate_bias: Bias = None, up_bias: Bias = None) -> None:
        self._gate, self._up = NarrowLinear(gate, gate_bias), NarrowLinear(up, up_bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(self._gate(x), inplace=True).mul_(self._up(x))


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
    ours = None if _wants_instructions(weight) else native.pack(weight, bias)
    if ours is not None:
        return NativeLinear(ours, PackedLinear(weight, bias, small=0) if _helps(weight) else None)
    if _is_narrow(weight):
        return NarrowLinear(weight, bias)
    return PackedLinear(weight, bias) if _packs(weight) else PlainLinear(weight.contiguous(), bias)


def gated(gate: torch.Tensor, up: torch.Tensor, gate_bias: Bias = None, up_bias: Bias = None) -> Gated:
    """The fastest one for these weights' device and dtype."""
    biased = (gate, gate_bias), (up, up_bias)
    our_gate, our_up = (None if _wants_instructions(w) else native.pack(w, b) for w, b in biased)
    if our_gate is not None and our_up is not None:
        beyond = PackedGated(gate, up, gate_bias, up_bias, small=0) if _helps(gate) else None
        return NativeGated(our_gate, our_up, beyond)
    if _is_narrow(gate):
        return NarrowGated(gate, up, gate_bias, up_bias)
    return (PackedGated if _packs(gate) else PlainGated)(gate, up, gate_bias, up_bias)


def _is_narrow(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16


def _wants_instructions(weight: torch.Tensor) -> bool:
    """Whether the processor itself multiplies such weights, faster than they can be widened."""
    return _is_narrow(weight) and onednn.NARROW


def _helps(weight: torch.Tensor) -> bool:
    """Whether oneDNN is faster than the native operation for many rows, and the weight may well be there twice."""
    return native.wide_vectors() and _packs(weight) and weight.numel() <= TWICE


def _product(x: torch.Tensor, weight: torch.Tensor, bias: Bias) -> torch.Tensor:
    return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)


def _packs(weight: torch.Tensor) -> bool:
    return onednn.AVAILABLE and weight.device.type == "cpu" and weight.dtype == torch.float32
