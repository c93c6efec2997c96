"""The list of work of rows with one query each, made on the device.

The keys of all rows are cut into *items* of about equal length, so that a few long rows do not hold up the others, and
rows that begin with the same pages read those once, many queries at a time. An item is a run of keys of one row, and
either that row's query or those of up to SIDE rows that share these keys. Since the list is made by kernels, from
lengths and block tables, a captured graph divides its work anew whenever it runs.
"""

# Triton compiles these functions from their source; neither linter nor type checker knows its dialect.
# ruff: noqa: N803
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

LEAST_ITEM = 128
"""Fewest keys that are worth an item of their own."""
LEAST_SHARED = 256
"""Fewest entries that rows read together. Rows are compared at this depth, so a short common beginning (a system
prompt) does not hide that some of them go on together."""
WAVES = 4
"""Items a multiprocessor, all key heads counted."""


@dataclass(slots=True)
class Rows:
    """What is divided; int32, on the device."""

    entries: torch.Tensor
    """[B], with the new one."""
    table: torch.Tensor
    """[B, P]"""
    firsts: torch.Tensor | None
    """[B]: first entry that is seen; None: the first there is."""
    starts: torch.Tensor | None
    """[B]: which of the T queries; None: row b has query b."""


@dataclass(slots=True)
class Work:
    """The list, int32, on the device."""

    rows: Rows
    items: torch.Tensor
    """[6, items]: row, or -1; place in `order` of the first query; queries; first key; end of the keys; whether this is
    all the row needs."""
    parts: torch.Tensor
    """[6, B]: first item and number of items; place in `order` of the first row that shares an item with this one, or
    -1, and this one's number among them; first item and number of items that this row leads."""
    order: torch.Tensor
    """[B]: rows by group."""
    shares: bool
    """Whether rows were compared."""


@triton.jit(do_not_specialize=["rows", "stride_table"])
def _compare(
    entries_ptr,
    table_ptr,
    leader_ptr,
    common_ptr,
    rows,
    stride_table,
    DEPTH: tl.constexpr,
    PAGE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row: the first row with the same page at DEPTH, and how many whole pages both begin with."""
    b = tl.program_id(0)
    j = tl.arange(0, ROWS)
    own = (tl.load(entries_ptr + b) - 1) // PAGE
    leader = b
    common = own
    if own > DEPTH:
        pages = (tl.load(entries_ptr + j, mask=j < rows, other=1) - 1) // PAGE
        there = tl.load(table_ptr + j * stride_table + DEPTH, mask=(j < rows) & (pages > DEPTH), other=-1)
        leader = tl.min(tl.where(there == tl.load(table_ptr + b * stride_table + DEPTH), j, ROWS))
        common = tl.minimum(own, (tl.load(entries_ptr + leader) - 1) // PAGE)
        if leader != b:
            limit = common
            for p0 in tl.range(0, limit, BLOCK):
                p = p0 + tl.arange(0, BLOCK)
                mine = tl.load(table_ptr + b * stride_table + p, mask=p < limit, other=0)
                theirs = tl.load(table_ptr + leader * stride_table + p, mask=p < limit, other=0)
                common = tl.minimum(common, tl.min(tl.where(mine != theirs, p, limit)))
    tl.store(leader_ptr + b, leader)
    tl.store(common_ptr + b, common)


@triton.jit(do_not_specialize=["rows", "items", "slots"])
def _divide(
    entries_ptr,
    firsts_ptr,
    leader_ptr,
    common_ptr,
    items_ptr,
    parts_ptr,
    order_ptr,
    rows,
    items,
    slots,
    SIDE: tl.constexpr,
    PAGE: tl.constexpr,
    BN: tl.constexpr,
    LEAST: tl.constexpr,
    LEAST_COMMON: tl.constexpr,
    ALIGN: tl.constexpr,
    SHARES: tl.constexpr,
    WINDOW: tl.constexpr,
    ROWS: tl.constexpr,
    ITEMS: tl.constexpr,
):
    """All rows in one program."""
    i = tl.arange(0, ROWS)
    real = i < rows
    end = tl.load(entries_ptr + i, mask=real, other=0)
    begin = tl.zeros([ROWS], tl.int32)
    rank = tl.zeros([ROWS], tl.int32)
    size = tl.full([ROWS], 1, tl.int32)
    place = i
    if WINDOW:
        begin = tl.load(firsts_ptr + i, mask=real, other=0) // BN * BN
    if SHARES:
        leader = tl.load(leader_ptr + i, mask=real, other=ROWS)
        common = tl.load(common_ptr + i, mask=real, other=0)
        size = tl.zeros([ROWS], tl.int32)
        place = tl.zeros([ROWS], tl.int32)
        for j0 in tl.range(0, rows, 16):
            j = j0 + tl.arange(0, 16)
            other = tl.load(leader_ptr + j, mask=j < rows, other=-1)
            pages = tl.load(common_ptr + j, mask=j < rows, other=0)
            same = leader[:, None] == other[None, :]
            common = tl.minimum(common, tl.min(tl.where(same, pages[None, :], common[:, None]), 1))
            size += tl.sum(same.to(tl.int32), 1)
            rank += tl.sum((same & (j[None, :] < i[:, None])).to(tl.int32), 1)
            place += tl.sum(((other >= 0)[None, :] & (other[None, :] < leader[:, None])).to(tl.int32), 1)
        place += rank
        begin = common * PAGE // ALIGN * ALIGN
        begin = tl.where((size > 1) & (begin >= LEAST_COMMON), begin, 0)
        tl.store(order_ptr + place, i, mask=real)
    number = rank % SIDE
    own = end - begin
    led = tl.where((begin > 0) & (number == 0), begin, 0)
    if WINDOW:
        led = tl.zeros([ROWS], tl.int32)
    alone = tl.full([ROWS], 1, tl.int32) if WINDOW else (begin == 0).to(tl.int32)
    # rounded to the nearest number of items: rows barely longer than a chunk are not worth a merge
    chunk = tl.maximum(tl.cdiv(tl.sum(own) + tl.sum(led), slots), LEAST)
    share = tl.maximum(tl.cdiv(tl.cdiv(own, tl.maximum((own + chunk // 2) // chunk, 1)), BN) * BN, BN)
    count = tl.cdiv(own, share)
    first = tl.cumsum(count, 0) - count
    for c in tl.range(0, tl.max(count)):
        lo = begin + c * share
        at = items_ptr + first + c
        some = c < count
        tl.store(at, i, mask=some)
        tl.store(at + items, place, mask=some)
        tl.store(at + 2 * items, tl.full([ROWS], 1, tl.int32), mask=some)
        tl.store(at + 3 * items, lo, mask=some)
        tl.store(at + 4 * items, tl.minimum(lo + share, end), mask=some)
        tl.store(at + 5 * items, tl.where(count == 1, alone, 0), mask=some)
    used = tl.sum(count)
    tl.store(parts_ptr + i, first, mask=real)
    tl.store(parts_ptr + rows + i, count, mask=real)
    if SHARES:
        share = tl.maximum(tl.cdiv(tl.cdiv(led, tl.maximum((led + chunk // 2) // chunk, 1)), BN) * BN, BN)
        count = tl.cdiv(led, share)
        first = used + tl.cumsum(count, 0) - count
        for c in tl.range(0, tl.max(count)):
            lo = c * share
            at = items_ptr + first + c
            some = c < count
            tl.store(at, i, mask=some)
            tl.store(at + items, place, mask=some)
            tl.store(at + 2 * items, tl.minimum(size - rank, SIDE), mask=some)
            tl.store(at + 3 * items, lo, mask=some)
            tl.store(at + 4 * items, tl.minimum(lo + share, begin), mask=some)
            tl.store(at + 5 * items, tl.zeros([ROWS], tl.int32), mask=some)
        used += tl.sum(count)
        tl.store(parts_ptr + 2 * rows + i, tl.where(begin > 0, place - number, -1), mask=real)
        tl.store(parts_ptr + 3 * rows + i, number, mask=real)
        tl.store(parts_ptr + 4 * rows + i, first, mask=real)
        tl.store(parts_ptr + 5 * rows + i, count, mask=real)
    w = tl.arange(0, ITEMS)
    tl.store(items_ptr + w, tl.full([ITEMS], -1, tl.int32), mask=(w >= used) & (w < items))


def divide(rows: Rows, group: int, kv_heads: int, page: int, bn: int, processors: int) -> Work:
    """Make the list. `group`: query heads a key head. `bn`: keys a tile."""
    count, width = rows.table.shape
    side = block(group) // group
    depth = -(-LEAST_SHARED // page) - 1
    shares = rows.firsts is None and count > 1 and side > 1 and width > depth
    slots = max(WAVES * processors // kv_heads, 1)
    items = count * (2 if shares else 1) + slots

    def new(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.int32, device=rows.entries.device)

    work = Work(rows, new(6, items), new(6, count), new(count), shares)
    padded = triton.next_power_of_2(count)
    compared = work.order
    if shares:
        compared = new(2, count)
        _compare[(count,)](
            rows.entries, rows.table, compared[0], compared[1], count, rows.table.stride(0),
            DEPTH=depth, PAGE=page, ROWS=padded, BLOCK=128, num_warps=1,
        )  # fmt: skip
    _divide[(1,)](
        rows.entries, rows.entries if rows.firsts is None else rows.firsts, compared[0], compared[-1],
        work.items, work.parts, work.order, count, items, slots,
        SIDE=side, PAGE=page, BN=bn, LEAST=max(LEAST_ITEM, bn), LEAST_COMMON=LEAST_SHARED, ALIGN=max(bn, page),
        SHARES=shares, WINDOW=rows.firsts is not None, ROWS=padded, ITEMS=triton.next_power_of_2(items), num_warps=4,
    )  # fmt: skip
    return work


def block(group: int) -> int:
    """Query heads that an item has room for. With room for 32, rows that share keys gain 5 to 25 %, others lose 5 %."""
    return max(16, triton.next_power_of_2(group))
