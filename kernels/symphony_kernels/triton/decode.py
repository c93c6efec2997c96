"""Paged attention of rows with one query each, by a list of work (`division`); parts of a row are merged afterwards."""

# Triton compiles these functions from their source; neither linter nor type checker knows its dialect.
# ruff: noqa: N803, N806
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

from symphony_kernels.triton.division import Work, block
from symphony_kernels.triton.tiles import LOG2_E, sweep

WARPS, STAGES = 2, 3
"""More of either cost up to 30 % on an H200."""


@triton.jit(do_not_specialize=["items", "stride_table", "k_row", "v_row"])
def _decode(
    q_ptr,
    pool,
    k_row,
    v_row,
    page_rows,
    out_ptr,
    part_ptr,
    lse_ptr,
    items_ptr,
    order_ptr,
    starts_ptr,
    firsts_ptr,
    table_ptr,
    items,
    stride_q,
    stride_table,
    scale,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    DP: tl.constexpr,
    PAGE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    SHARES: tl.constexpr,
    INDEXED: tl.constexpr,
    WINDOW: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One item and key head."""
    head = tl.program_id(0)
    w = tl.program_id(1)
    row = tl.load(items_ptr + w)
    if row < 0:
        return
    lo = tl.load(items_ptr + 3 * items + w)
    hi = tl.load(items_ptr + 4 * items + w)
    alone = tl.load(items_ptr + 5 * items + w)
    r = tl.arange(0, BM)
    lane = r // GROUP
    h = head * GROUP + r % GROUP
    d = tl.arange(0, DP)
    query = row + tl.zeros([BM], tl.int32)
    real = lane < 1
    if SHARES:
        real = lane < tl.load(items_ptr + 2 * items + w)
        query = tl.load(order_ptr + tl.load(items_ptr + items + w) + lane, mask=real, other=0)
    if INDEXED:
        query = tl.load(starts_ptr + query, mask=real, other=0)
    query = query.to(tl.int64)
    elements = real[:, None] & (d < D)[None, :]
    q = tl.load(q_ptr + query[:, None] * stride_q + h[:, None] * D + d[None, :], mask=elements, other=0.0)
    least = tl.zeros([BM], tl.int32)
    limit = tl.zeros([BM], tl.int32) + hi
    WIDTH: tl.constexpr = HEADS // GROUP * D
    table = table_ptr + row.to(tl.int64) * stride_table
    middle = tl.maximum(lo, hi // BN * BN)
    begin = lo
    if WINDOW:
        first = tl.load(firsts_ptr + row)
        least = least + first
        begin = tl.cdiv(first, BN) * BN
    acc, lse = sweep(
        q, pool, pool, k_row, v_row, page_rows, head * D, table, lo, begin, middle, hi, least, limit,
        items_ptr, r, 0, scale, D, DP, WIDTH, PAGE, BM, BN, WINDOW, False, False, PRECISION,
    )  # fmt: skip
    if alone != 0:
        place = query * HEADS + h
        tl.store(out_ptr + place[:, None] * D + d[None, :], acc.to(out_ptr.dtype.element_ty), mask=elements)
    else:
        place = (w.to(tl.int64) * (HEADS // GROUP) + head) * BM + r
        tl.store(lse_ptr + place, lse, mask=real)
        tl.store(part_ptr + place[:, None] * D + d[None, :], acc, mask=elements)


@triton.jit(do_not_specialize=["rows"])
def _merge(
    part_ptr,
    lse_ptr,
    out_ptr,
    parts_ptr,
    order_ptr,
    starts_ptr,
    rows,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    DP: tl.constexpr,
    BM: tl.constexpr,
    SHARES: tl.constexpr,
    INDEXED: tl.constexpr,
    PARTS: tl.constexpr,
):
    """One row and head: weigh the outputs of its items, and of those it shares, by their log-sum-exp."""
    b = tl.program_id(0)
    h = tl.program_id(1)
    first = tl.load(parts_ptr + b)
    own = tl.load(parts_ptr + rows + b)
    count = own
    first_shared = 0
    number = 0
    if SHARES:
        place = tl.load(parts_ptr + 2 * rows + b)
        number = tl.load(parts_ptr + 3 * rows + b)
        leads = tl.load(order_ptr + place, mask=place >= 0, other=0)
        first_shared = tl.load(parts_ptr + 4 * rows + leads, mask=place >= 0, other=0)
        count += tl.load(parts_ptr + 5 * rows + leads, mask=place >= 0, other=0)
    if count == 1:
        return
    d = tl.arange(0, DP)
    highest = tl.full([1], float("-inf"), tl.float32)
    weights = tl.zeros([1], tl.float32)
    acc = tl.zeros([DP], tl.float32)
    for c0 in tl.range(0, count, PARTS):
        c = c0 + tl.arange(0, PARTS)
        item = tl.where(c < own, first + c, first_shared + c - own).to(tl.int64)
        lane = tl.where(c < own, 0, number) * GROUP + h % GROUP
        at = (item * (HEADS // GROUP) + h // GROUP) * BM + lane
        lse = tl.load(lse_ptr + at, mask=c < count, other=float("-inf"))
        above = tl.maximum(highest, tl.max(lse, 0))
        weight = tl.exp2(lse - above)
        shrink = tl.exp2(highest - above)
        part = tl.load(
            part_ptr + at[:, None] * D + d[None, :], mask=(weight > 0)[:, None] & (d < D)[None, :], other=0.0
        )
        acc = acc * shrink + tl.sum(part * weight[:, None], 0)
        weights = weights * shrink + tl.sum(weight, 0)
        highest = above
    row = b
    if INDEXED:
        row = tl.load(starts_ptr + b)
    merged = (acc / weights).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + (row.to(tl.int64) * HEADS + h) * D + d, merged, mask=d < D)


def attend(
    qkv: torch.Tensor, pool: torch.Tensor, layer: int, out: torch.Tensor, work: Work, bn: int, scale: float
) -> None:
    """Attention of the listed rows; as `attention.attend`."""
    rows = work.rows
    heads, size = out.shape[1:]
    _, layers, _, page, kv_heads, _ = pool.shape
    count, items, group = rows.table.shape[0], work.items.shape[1], heads // kv_heads
    bm, padded = block(group), triton.next_power_of_2(size)
    part = torch.empty(items, kv_heads, bm, size, dtype=torch.float32, device=out.device)
    lse = torch.empty(items, kv_heads, bm, dtype=torch.float32, device=out.device)
    indexed = rows.starts is not None
    starts = rows.starts if rows.starts is not None else work.order
    _decode[(kv_heads, items)](
        qkv, pool, 2 * layer * page, (2 * layer + 1) * page, 2 * layers * page, out, part, lse,
        work.items, work.order, starts, work.order if rows.firsts is None else rows.firsts, rows.table, items,
        qkv.stride(0), rows.table.stride(0), scale * LOG2_E,
        HEADS=heads, GROUP=group, D=size, DP=padded, PAGE=page, BM=bm, BN=bn,
        SHARES=work.shares, INDEXED=indexed, WINDOW=rows.firsts is not None,
        PRECISION="ieee" if qkv.dtype == torch.float32 else "tf32", num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip
    _merge[(count, heads)](
        part, lse, out, work.parts, work.order, starts, count,
        HEADS=heads, GROUP=group, D=size, DP=padded, BM=bm, SHARES=work.shares, INDEXED=indexed, PARTS=16, num_warps=1,
    )  # fmt: skip
