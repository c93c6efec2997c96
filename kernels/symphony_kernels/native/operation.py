"""The native operation behind Python: a plan for each step, two calls a layer.

It knows pools and rows as `interface` has them; the mathematics is in `attention.cpp`.
"""

from __future__ import annotations

import ctypes
import weakref
from ctypes import POINTER, Structure, c_float, c_int, c_int64, c_void_p
from typing import Any

import numpy as np
import torch

from symphony_kernels.interface import PoolShape, Ragged
from symphony_kernels.native import build

_DIM_STEP, _MOST_DIM = 16, 256
"""Head sizes that `attention.cpp` is written for: multiples of the one, up to the other."""


class _Shape(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("pages", "page_size", "heads", "kv_heads", "dim", "threads")),
        ("rope", c_void_p),
        ("scale", c_float),
    )


class _Step(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("rows", "tokens", "width", "words")),
        *((n, c_void_p) for n in ("query_lens", "seq_lens", "table", "positions", "slots", "firsts", "mask_of")),
        ("masks", c_void_p),
    )


class NativePlan:
    """What the layers of a step have in common; the arrays that it points into live as long as it does."""

    def __init__(self, library: Any, shape: _Shape, rows: Ragged) -> None:
        arrays = [
            _contiguous(x) for x in (rows.query_lens, rows.seq_lens, rows.block_table, rows.positions, rows.slots)
        ]
        optional = [None if x is None else _contiguous(x) for x in (rows.firsts, rows.mask_of)]
        masks = None if rows.masks is None else np.ascontiguousarray(rows.masks, np.uint32)
        self._alive = (arrays, optional, masks)
        addresses = [None if x is None else x.ctypes.data for x in (*arrays, *optional, masks)]
        words = 0 if masks is None else masks.shape[1]
        step = _Step(len(rows.query_lens), rows.tokens, rows.block_table.shape[1], words, *addresses)
        handle = library.symphony_plan(ctypes.byref(shape), ctypes.byref(step))
        if not handle:
            raise MemoryError("no memory for the plan of a step's attention")
        self.handle: int = handle
        weakref.finalize(self, library.symphony_free, self.handle)


class NativeAttention:
    """Attention over pools of one shape. Not thread-safe."""

    def __init__(self, library: Any, shape: PoolShape, rope: torch.Tensor, scale: float) -> None:
        """`rope`: [positions, head_dim / 2, 2] fp32."""
        self._library = library
        self._rope = rope.contiguous()
        s = shape
        self._width = s.heads * s.head_dim
        self._shape = _Shape(s.pages, s.page_size, s.heads, s.kv_heads, s.head_dim, 1, self._rope.data_ptr(), scale)

    def plan(self, rows: Ragged) -> NativePlan:
        self._shape.threads = torch.get_num_threads()
        return NativePlan(self._library, self._shape, rows)

    def write(self, pool: torch.Tensor, qkv: torch.Tensor, plan: NativePlan) -> None:
        """`pool`: [2, kv_heads, pages, page_size, head_dim], of one layer."""
        self._library.symphony_write(plan.handle, qkv.data_ptr(), pool.data_ptr())

    def attend(self, pool: torch.Tensor, qkv: torch.Tensor, plan: NativePlan, windowed: bool) -> torch.Tensor:
        out = qkv.new_empty(qkv.shape[0], self._width)
        self._library.symphony_attend(plan.handle, qkv.data_ptr(), pool.data_ptr(), out.data_ptr(), windowed)
        return out


def open_native(shape: PoolShape, rope: torch.Tensor, scale: float) -> NativeAttention | None:
    """None if there is no compiler, if it was turned off, or if the shape is not one that it is written for."""
    if shape.head_dim % _DIM_STEP or shape.head_dim > _MOST_DIM:
        return None
    library = build.load()
    if library is None:
        return None
    library.symphony_plan.argtypes, library.symphony_plan.restype = (POINTER(_Shape), POINTER(_Step)), c_void_p
    library.symphony_free.argtypes, library.symphony_free.restype = (c_void_p,), None
    library.symphony_write.argtypes, library.symphony_write.restype = (c_void_p, c_void_p, c_void_p), None
    library.symphony_attend.argtypes = (c_void_p, c_void_p, c_void_p, c_void_p, c_int)
    library.symphony_attend.restype = None
    return NativeAttention(library, shape, rope, scale)


def _contiguous(x: Any) -> Any:
    return np.ascontiguousarray(x, np.int64)
