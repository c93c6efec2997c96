"""Paged attention of rows with several queries: appends, prefills, masks; the keys split where rows are few.

A program computes a block of queries of one row against one key head; the query heads that share it are rows of the
same block, so that keys are read once for all of them. A *row* here is any list of queries with the keys they see:
those of a sequence, or those of many that begin with the same pages. Parts are merged by their log-sum-exp.
"""

# Triton compiles these functions from their source; neither linter nor type checker knows its dialect.
# ruff: noqa: N803, N806
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from symphony_kernels.triton.tiles import LOG2_E, sweep


@dataclass(slots=True)
class Launch:
    """Rows that one launch computes; tensors are int32, on the device."""

    control: torch.Tensor
    """[6, B]: first query (in `index`, if given) and number of queries; end of the keys; entries before the first query
    (each query sees one more than the one before it); first key, a multiple of the tile; first key that a mask hides
    from some query."""
    table: torch.Tensor
    """[B, P]"""
    index: torch.Tensor | None
    """Which of the T queries the rows' queries are; None: they are numbered as they lie."""
    most_queries: int
    splits: int
    """Among how many programs the keys of a block of queries are divided."""


@dataclass(slots=True)
class Hidden:
    """What queries do not see besides what comes after them; None: nothing."""

    firsts: torch.Tensor | None = None
    """[T] int32: the first entry that each query sees."""
    bits: torch.Tensor | None = None
    """[M, W] int32: `Ragged.masks`, with `mask_of`."""
    mask_of: torch.Tensor | None = None
    """[T] int32"""


@triton.jit(do_not_specialize=["total", "splits", "part_0", "stride_table", "words", "rows", "k_row", "v_row"])
def _attention(
    q_ptr,
    pool,
    tiles,
    k_row,
    v_row,
    page_rows,
    out_ptr,
    part_ptr,
    lse_ptr,
    control_ptr,
    index_ptr,
    table_ptr,
    firsts_ptr,
    bits_ptr,
    mask_ptr,
    words,
    stride_q,
    stride_table,
    scale,
    rows,
    total,
    splits,
    part_0,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    DP: tl.constexpr,
    PAGE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    SPLIT: tl.constexpr,
    INDEXED: tl.constexpr,
    WINDOW: tl.constexpr,
    BITS: tl.constexpr,
    BULK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    block = tl.program_id(0)
    head = tl.program_id(1)
    b = tl.program_id(2) // splits
    part = tl.program_id(2) % splits
    first = tl.load(control_ptr + b)
    queries = tl.load(control_ptr + rows + b)
    if block * BM >= queries * GROUP:
        return
    entries = tl.load(control_ptr + 2 * rows + b)
    context = tl.load(control_ptr + 3 * rows + b)
    lo = tl.load(control_ptr + 4 * rows + b)
    r = block * BM + tl.arange(0, BM)
    t = r // GROUP
    h = head * GROUP + r % GROUP
    real = t < queries
    d = tl.arange(0, DP)
    row = (first + t).to(tl.int64)
    if INDEXED:
        row = tl.load(index_ptr + row, mask=real, other=0).to(tl.int64)
    elements = real[:, None] & (d < D)[None, :]
    q = tl.load(q_ptr + row[:, None] * stride_q + h[:, None] * D + d[None, :], mask=elements, other=0.0)
    limit = context + t + 1  # each query sees the entries before it, and itself
    last = tl.minimum((block * BM + BM - 1) // GROUP, queries - 1)
    hi = tl.minimum(context + last + 1, entries)
    seen_by_all = context + (block * BM) // GROUP + 1
    begin = 0  # from this tile on, no query of the block has keys hidden before its window
    least = tl.zeros([BM], tl.int32)
    mask = tl.full([BM], -1, tl.int32)
    if BITS:
        mask = tl.load(mask_ptr + row, mask=real, other=-1)
        seen_by_all = tl.minimum(seen_by_all, tl.load(control_ptr + 5 * rows + b))
    if WINDOW:
        least = tl.load(firsts_ptr + row, mask=real, other=0)
        lo = tl.load(firsts_ptr + first + (block * BM) // GROUP) // BN * BN
        begin = tl.cdiv(tl.load(firsts_ptr + first + last), BN) * BN
    if SPLIT:
        share = tl.cdiv(tl.cdiv(hi - lo, splits), BN) * BN
        lo = lo + part * share
        hi = tl.minimum(hi, lo + share)
    middle = tl.maximum(lo, tl.minimum(seen_by_all, hi) // BN * BN)
    WIDTH: tl.constexpr = HEADS // GROUP * D
    table = table_ptr + b.to(tl.int64) * stride_table
    acc, lse = sweep(
        q, pool, tiles, k_row, v_row, page_rows, head * D, table, lo, begin, middle, hi, least, limit,
        bits_ptr, mask, words, scale, D, DP, WIDTH, PAGE, BM, BN, WINDOW, BITS, BULK, PRECISION,
    )  # fmt: skip
    if SPLIT:
        place = ((part_0 + part).to(tl.int64) * total + row) * HEADS + h
        tl.store(lse_ptr + place, lse, mask=real)
        tl.store(part_ptr + place[:, None] * D + d[None, :], acc, mask=elements)
    else:
        place = row * HEADS + h
        tl.store(out_ptr + place[:, None] * D + d[None, :], acc.to(out_ptr.dtype.element_ty), mask=elements)


@triton.jit(do_not_specialize=["total", "parts"])
def _merge(
    part_ptr,
    lse_ptr,
    out_ptr,
    total,
    parts,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    DP: tl.constexpr,
    PARTS: tl.constexpr,
):
    """One query and head: weigh the parts' outputs by their log-sum-exp; queries without parts are left alone."""
    t = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1)
    s = tl.arange(0, PARTS)
    d = tl.arange(0, DP)
    place = (s.to(tl.int64) * total + t) * HEADS + h
    lse = tl.load(lse_ptr + place, mask=s < parts, other=float("-inf"))
    highest = tl.max(lse, 0)
    if highest == float("-inf"):
        return
    weight = tl.exp2(lse - highest)
    part = tl.load(part_ptr + place[:, None] * D + d[None, :], mask=(weight > 0)[:, None] & (d < D)[None, :], other=0.0)
    merged = tl.sum(part * weight[:, None], 0) / tl.sum(weight, 0)
    tl.store(out_ptr + (t * HEADS + h) * D + d, merged.to(out_ptr.dtype.element_ty), mask=d < D)


def tile(dtype: torch.dtype, interpreted: bool) -> int:
    """Keys that are folded at a time: a power of two from 32."""
    return 32 if interpreted or dtype == torch.float32 else 64  # in fp32 shared memory is the limit


def block(width: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """Queries times query heads a program, its warps, and its stages, for rows of so many; as measured on an H200."""
    if width <= 16:
        return 16, 2, 3
    if dtype == torch.float32:
        return 64, 4, 3
    return (64 if width <= 64 else 128), 4, 2


def attend(
    qkv: torch.Tensor,
    pool: torch.Tensor,
    layer: int,
    out: torch.Tensor,
    launches: Sequence[Launch],
    hidden: Hidden,
    scale: float,
) -> None:
    """Attention of the launches' queries; several launches, or splits, are parts of the same queries' results.

    `qkv`: [T, heads + 2 kv_heads, D], contiguous, rotated. `pool`: [pages, layers, 2, page_size, kv_heads, D],
    contiguous. `out`: [T, heads, D], contiguous; written where there are queries.
    """
    total, heads, size = out.shape
    parts = sum(launch.splits for launch in launches)
    part, lse = out, out
    if parts > 1:
        part = torch.empty(parts, total, heads, size, dtype=torch.float32, device=out.device)
        lse = torch.full((parts, total, heads), float("-inf"), dtype=torch.float32, device=out.device)
    done = 0
    for launch in launches:
        _launch(qkv, pool, layer, out, part, lse, launch, hidden, scale, done, parts > 1)
        done += launch.splits
    if parts > 1:
        _merge[(total, heads)](
            part, lse, out, total, parts,
            HEADS=heads, D=size, DP=triton.next_power_of_2(size), PARTS=triton.next_power_of_2(parts), num_warps=4,
        )  # fmt: skip


def _launch(
    qkv: torch.Tensor,
    pool: torch.Tensor,
    layer: int,
    out: torch.Tensor,
    part: torch.Tensor,
    lse: torch.Tensor,
    launch: Launch,
    hidden: Hidden,
    scale: float,
    part_0: int,
    split: bool,
) -> None:
    total, heads, size = out.shape
    _, layers, _, page, kv_heads, _ = pool.shape
    group, table, bits = heads // kv_heads, launch.table, hidden.bits
    width = launch.most_queries * group
    bm, warps, stages = block(width, qkv.dtype)
    bn, padded = tile(qkv.dtype, not qkv.is_cuda), triton.next_power_of_2(size)
    bulk = page >= bn and size == padded and bm > 16 and copies_in_bulk(pool)
    rows = table.shape[0]
    _attention[(triton.cdiv(width, bm), kv_heads, rows * launch.splits)](
        qkv, pool,
        TensorDescriptor.from_tensor(pool.view(-1, kv_heads * size), [bn, size]) if bulk else pool,
        2 * layer * page, (2 * layer + 1) * page, 2 * layers * page, out, part, lse,
        launch.control, launch.control if launch.index is None else launch.index,
        table, table if hidden.firsts is None else hidden.firsts, table if bits is None else bits,
        table if hidden.mask_of is None else hidden.mask_of, 0 if bits is None else bits.shape[1],
        qkv.stride(0), table.stride(0), scale * LOG2_E,
        rows, total, launch.splits, part_0,
        HEADS=heads, GROUP=group, D=size, DP=padded, PAGE=page, BM=bm, BN=bn,
        SPLIT=split, INDEXED=launch.index is not None,
        WINDOW=hidden.firsts is not None, BITS=bits is not None, BULK=bulk,
        PRECISION="ieee" if qkv.dtype == torch.float32 else "tf32", num_warps=warps, num_stages=stages,
    )  # fmt: skip


def copies_in_bulk(pool: torch.Tensor) -> bool:
    """Whether the GPU has a copy engine for tiles (Hopper and later), for this type."""
    if pool.dtype.itemsize != 2:
        return False
    return not pool.is_cuda or torch.cuda.get_device_capability(pool.device) >= (9, 0)
