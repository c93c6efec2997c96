"""The native product of rows with a packed weight, behind Python; the arithmetic is in `linear.cpp`."""

from __future__ import annotations

from ctypes import c_int, c_int64, c_void_p
from typing import Any

import torch

from symphony_kernels.native import build

NOTHING, SILU, ADD, MULTIPLY = range(4)
"""What follows the product and the bias."""


class NativeWeight:
    """A weight [out, in] on the CPU, fp32 or bf16, packed, perhaps with an fp32 bias [out]. Make one with `pack`."""

    def __init__(self, library: Any, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._library = library
        self._outs, self._in = weight.shape
        self._packed = torch.empty_like(weight)
        self._bias = bias
        self._narrow = weight.dtype == torch.bfloat16
        library.symphony_pack(weight.data_ptr(), self._packed.data_ptr(), self._outs, self._in, self._narrow)
        self._fixed = (self._packed.data_ptr(), None if bias is None else bias.data_ptr())

    def __call__(self, x: torch.Tensor, after: int = NOTHING, other: torch.Tensor | None = None) -> torch.Tensor:
        """x W^T + bias, then what `after` says, perhaps with `other`. `x`: [rows, in], `other`: [rows, out]; fp32."""
        rows, x = x.shape[0], x.contiguous()
        out = x.new_empty(rows, self._outs)
        with_what = None if other is None else other.contiguous()
        address = None if with_what is None else with_what.data_ptr()
        sizes = (rows, self._in, self._outs)
        self._library.symphony_linear(
            x.data_ptr(), *self._fixed, address, out.data_ptr(), *sizes, after, self._narrow, torch.get_num_threads()
        )
        return out


def pack(weight: torch.Tensor, bias: torch.Tensor | None = None) -> NativeWeight | None:
    """None if there is no compiler, if it was turned off, or if the weight is not one that it is written for."""
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return None
    library = build.load()
    if library is None or weight.shape[0] % library.symphony_panel():
        return None
    library.symphony_pack.argtypes = (c_void_p, c_void_p, c_int64, c_int64, c_int)
    library.symphony_pack.restype = None
    library.symphony_linear.argtypes = (*(c_void_p,) * 5, *(c_int64,) * 3, c_int, c_int, c_int64)
    library.symphony_linear.restype = None
    return NativeWeight(library, weight.contiguous(), None if bias is None else bias.contiguous())


def wide_vectors() -> bool:
    """Whether the processor has vectors of 16: with them oneDNN is faster for many rows."""
    library = build.load()
    return library is not None and library.symphony_panel() == 32
