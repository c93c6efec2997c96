"""Paged attention: one kernel for decodes, appends and prefills, the keys split among programs where rows are few.

A program computes a block of queries of one sequence against one key head; the query heads that share it are rows of
the same block, so that keys are read once for all of them. Scores and sums are kept in fp32, with base-2 exponentials.
"""

# Triton compiles these functions from their source; neither linter nor type checker knows its dialect.
# ruff: noqa: N803
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

LOG2_E = 1.4426950408889634


@triton.jit
def _tiles(
    acc,
    m_i,
    l_i,
    q,
    k_base,
    v_base,
    table,
    lo,
    hi,
    least,
    limit,
    stride_page,
    stride_slot,
    scale,
    D: tl.constexpr,
    PAGE: tl.constexpr,
    BN: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Fold the keys [lo, hi) into the running maximum, sum and output; MASKED: key n only for rows that see it,
    least <= n < limit. `lo` is a multiple of BN."""
    d = tl.arange(0, D)
    for n0 in tl.range(lo, hi, BN):
        n = n0 + tl.arange(0, BN)
        if PAGE >= BN:  # a tile lies inside one page
            page = tl.load(table + n0 // PAGE).to(tl.int64)
            at = page * stride_page + (n0 % PAGE + tl.arange(0, BN)) * stride_slot
        else:
            page = tl.load(table + n // PAGE, mask=n < hi, other=0).to(tl.int64)
            at = page * stride_page + (n % PAGE) * stride_slot
        if MASKED:
            k = tl.load(k_base + at[:, None] + d[None, :], mask=(n < hi)[:, None], other=0.0)
        else:
            k = tl.load(k_base + at[:, None] + d[None, :])
        s = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        if MASKED:
            seen = (n < hi)[None, :] & (n[None, :] < limit[:, None]) & (n[None, :] >= least[:, None])
            s = tl.where(seen, s, float("-inf"))
        m_new = tl.maximum(m_i, tl.max(s, 1))
        m_safe = tl.where(m_new == float("-inf"), 0.0, m_new)
        p = tl.exp2(s - m_safe[:, None])
        shrink = tl.exp2(m_i - m_safe)
        l_i = l_i * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None]
        if MASKED:
            v = tl.load(v_base + at[:, None] + d[None, :], mask=(n < hi)[:, None], other=0.0)
        else:
            v = tl.load(v_base + at[:, None] + d[None, :])
        acc = tl.dot(p.to(q.dtype), v, acc, input_precision=PRECISION)
        m_i = m_new
    return acc, m_i, l_i


@triton.jit(do_not_specialize=["total", "splits", "stride_table"])
def _attention(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    part_ptr,
    lse_ptr,
    starts_ptr,
    queries_ptr,
    entries_ptr,
    table_ptr,
    firsts_ptr,
    stride_q,
    stride_page,
    stride_slot,
    stride_head,
    stride_table,
    scale,
    total,
    splits,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    PAGE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    SPLIT: tl.constexpr,
    WINDOW: tl.constexpr,
    PRECISION: tl.constexpr,
):
    block = tl.program_id(0)
    head = tl.program_id(1)
    b = tl.program_id(2) // splits
    part = tl.program_id(2) % splits
    first = tl.load(starts_ptr + b)
    queries = tl.load(queries_ptr + b)
    if block * BM >= queries * GROUP:
        return
    entries = tl.load(entries_ptr + b)
    r = block * BM + tl.arange(0, BM)
    t = r // GROUP
    h = head * GROUP + r % GROUP
    real = t < queries
    d = tl.arange(0, D)
    row = (first + t).to(tl.int64)
    q = tl.load(q_ptr + row[:, None] * stride_q + h[:, None] * D + d[None, :], mask=real[:, None], other=0.0)
    context = entries - queries
    limit = context + t + 1  # each query sees the entries before it, and itself
    last = tl.minimum((block * BM + BM - 1) // GROUP, queries - 1)
    lo = 0
    hi = context + last + 1
    seen_by_all = context + (block * BM) // GROUP + 1
    begin = 0  # from this tile on, no query of the block has keys hidden before its window
    least = tl.zeros([BM], tl.int32)
    if WINDOW:
        least = tl.load(firsts_ptr + row, mask=real, other=0)
        lo = tl.load(firsts_ptr + first + (block * BM) // GROUP) // BN * BN
        begin = tl.cdiv(tl.load(firsts_ptr + first + last), BN) * BN
    if SPLIT:
        share = tl.cdiv(tl.cdiv(hi - lo, splits), BN) * BN
        lo = lo + part * share
        hi = tl.minimum(hi, lo + share)
    middle = tl.maximum(lo, tl.minimum(seen_by_all, hi) // BN * BN)
    m_i = tl.full([BM], float("-inf"), tl.float32)
    l_i = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, D], tl.float32)
    k_base = k_ptr + head * stride_head
    v_base = v_ptr + head * stride_head
    table = table_ptr + b.to(tl.int64) * stride_table
    if WINDOW:
        begin = tl.minimum(tl.maximum(begin, lo), middle)
        acc, m_i, l_i = _tiles(
            acc, m_i, l_i, q, k_base, v_base, table, lo, begin, least, limit, stride_page, stride_slot, scale,
            D, PAGE, BN, True, PRECISION,
        )  # fmt: skip
        lo = begin
    acc, m_i, l_i = _tiles(
        acc, m_i, l_i, q, k_base, v_base, table, lo, middle, least, limit, stride_page, stride_slot, scale,
        D, PAGE, BN, False, PRECISION,
    )  # fmt: skip
    acc, m_i, l_i = _tiles(
        acc, m_i, l_i, q, k_base, v_base, table, middle, hi, least, limit, stride_page, stride_slot, scale,
        D, PAGE, BN, True, PRECISION,
    )  # fmt: skip
    norm = tl.where(l_i > 0, l_i, 1.0)
    acc = acc / norm[:, None]
    if SPLIT:
        place = (part.to(tl.int64) * total + row) * HEADS + h
        tl.store(lse_ptr + place, tl.where(l_i > 0, m_i + tl.log2(norm), float("-inf")), mask=real)
        tl.store(part_ptr + place[:, None] * D + d[None, :], acc, mask=real[:, None])
    else:
        place = row * HEADS + h
        tl.store(out_ptr + place[:, None] * D + d[None, :], acc.to(out_ptr.dtype.element_ty), mask=real[:, None])


@triton.jit(do_not_specialize=["total", "splits", "first"])
def _merge(part_ptr, lse_ptr, out_ptr, total, splits, first, HEADS: tl.constexpr, D: tl.constexpr, PARTS: tl.constexpr):
    """One query and head: weigh the splits' outputs by their log-sum-exp."""
    t = (first + tl.program_id(0)).to(tl.int64)
    h = tl.program_id(1)
    s = tl.arange(0, PARTS)
    d = tl.arange(0, D)
    place = (s.to(tl.int64) * total + t) * HEADS + h
    lse = tl.load(lse_ptr + place, mask=s < splits, other=float("-inf"))
    weight = tl.exp2(lse - tl.max(lse, 0))
    part = tl.load(part_ptr + place[:, None] * D + d[None, :], mask=(weight > 0)[:, None], other=0.0)
    merged = tl.sum(part * weight[:, None], 0) / tl.sum(weight, 0)
    tl.store(out_ptr + (t * HEADS + h) * D + d, merged.to(out_ptr.dtype.element_ty))


def attend(
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    out: torch.Tensor,
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    firsts: torch.Tensor | None,
    first: int,
    count: int,
    most_queries: int,
    splits: int,
    scale: float,
) -> None:
    """Attention of the queries `[first, first + count)`.

    `qkv`: [T, heads + 2 kv_heads, D], contiguous, rotated. `keys`, `values`: one layer's view of the pool,
    [pages, page_size, kv_heads, D]. `out`: [T, heads, D], contiguous. `rows`: starts, queries, entries [B] and block
    table [B, P], int32. `firsts`: [T] int32, the first entry that each query sees; None: the first there is. `splits`:
    among how many programs the keys of a block of queries are divided.
    """
    starts, queries, entries, table = rows
    total, heads, size = out.shape
    page, kv_heads = keys.shape[1], keys.shape[2]
    group = heads // kv_heads
    width = most_queries * group
    bm = 16 if width <= 16 else 64 if width <= 64 else 128
    interpreted = not qkv.is_cuda
    bn = 32 if interpreted else 64
    if qkv.dtype == torch.float32:
        bm, bn = min(bm, 64), 32  # shared memory
    part, lse = out, out
    if splits > 1:
        part = torch.empty(splits, total, heads, size, dtype=torch.float32, device=out.device)
        lse = torch.empty(splits, total, heads, dtype=torch.float32, device=out.device)
    grid = (triton.cdiv(width, bm), kv_heads, starts.shape[0] * splits)
    _attention[grid](
        qkv, keys, values, out, part, lse, starts, queries, entries, table, table if firsts is None else firsts,
        qkv.stride(0), keys.stride(0), keys.stride(1), keys.stride(2), table.stride(0), scale * LOG2_E, total, splits,
        HEADS=heads, GROUP=group, D=size, PAGE=page, BM=bm, BN=bn, SPLIT=splits > 1, WINDOW=firsts is not None,
        PRECISION="ieee" if qkv.dtype == torch.float32 else "tf32",
        num_warps=2 if bm == 16 else 4 if bm == 64 else 8, num_stages=3,
    )  # fmt: skip
    if splits > 1:
        parts = triton.next_power_of_2(splits)
        _merge[(count, heads)](part, lse, out, total, splits, first, HEADS=heads, D=size, PARTS=parts, num_warps=4)
