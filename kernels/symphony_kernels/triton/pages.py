"""Writing into pages: RoPE with the K/V write in one pass, whole-page copies, copies of entries that turn keys on."""

# Triton compiles these functions from their source; neither linter nor type checker knows its dialect.
# ruff: noqa: N803
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

COPY_BLOCK = 4096
HEADS_BLOCK = 8
"""Heads of a token that one program turns and writes."""


@triton.jit
def _rope_write(
    qkv_ptr,
    position_ptr,
    slot_ptr,
    rope_ptr,
    k_ptr,
    v_ptr,
    stride_page,
    stride_slot,
    stride_head,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    DP: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One token and BLOCK heads: rotate q in place, rotate k into its slot, copy v into its slot."""
    t = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    d = tl.arange(0, DP)
    source = qkv_ptr + (t * (HEADS + 2 * KV_HEADS) + h)[:, None] * D + d[None, :]
    slot = tl.load(slot_ptr + t)
    position = tl.load(position_ptr + t)
    x = tl.load(source, mask=(h < HEADS + 2 * KV_HEADS)[:, None] & (d < D)[None, :], other=0.0)
    turn = tl.load(rope_ptr + position * D + d, mask=d < D, other=0.0)
    cos, sin = tl.split(tl.reshape(turn, [DP // 2, 2]))
    even, odd = tl.split(tl.reshape(x.to(tl.float32), [BLOCK, DP // 2, 2]))
    turned = tl.join(even * cos[None, :] - odd * sin[None, :], odd * cos[None, :] + even * sin[None, :])
    turned = tl.reshape(turned, [BLOCK, DP]).to(x.dtype)
    real = (d < D)[None, :]
    tl.store(source, turned, mask=(h < HEADS)[:, None] & real)
    place = slot // PAGE * stride_page + slot % PAGE * stride_slot
    k, v = h - HEADS, h - HEADS - KV_HEADS
    is_key = (k >= 0) & (k < KV_HEADS)
    tl.store(k_ptr + place + k[:, None] * stride_head + d[None, :], turned, mask=is_key[:, None] & real)
    is_value = (v >= 0) & (v < KV_HEADS)
    tl.store(v_ptr + place + v[:, None] * stride_head + d[None, :], x, mask=is_value[:, None] & real)


@triton.jit
def _copy_pages(pool_ptr, source_ptr, destination_ptr, words, BLOCK: tl.constexpr):
    n = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    source = tl.load(source_ptr + n) * words
    destination = tl.load(destination_ptr + n) * words
    tl.store(pool_ptr + destination + i, tl.load(pool_ptr + source + i, mask=i < words), mask=i < words)


@triton.jit
def _copy_entries(
    source_ptr,
    target_ptr,
    source_slot_ptr,
    target_slot_ptr,
    shift_ptr,
    rope_ptr,
    LAYERS: tl.constexpr,
    WIDTH: tl.constexpr,
    D: tl.constexpr,
    SOURCE_PAGE: tl.constexpr,
    TARGET_PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One entry and layer: all key heads turned, all value heads as they are; WIDTH elements each."""
    n = tl.program_id(0)
    layer = tl.program_id(1).to(tl.int64)
    source = tl.load(source_slot_ptr + n)
    target = tl.load(target_slot_ptr + n)
    shift = tl.load(shift_ptr + n)
    source = (source // SOURCE_PAGE * LAYERS + layer) * 2 * SOURCE_PAGE * WIDTH + source % SOURCE_PAGE * WIDTH
    target = (target // TARGET_PAGE * LAYERS + layer) * 2 * TARGET_PAGE * WIDTH + target % TARGET_PAGE * WIDTH
    i = tl.arange(0, BLOCK)
    pair = tl.arange(0, BLOCK // 2)
    real = 2 * pair < WIDTH
    even = tl.load(source_ptr + source + 2 * pair, mask=real)
    odd = tl.load(source_ptr + source + 2 * pair + 1, mask=real)
    turn = rope_ptr + tl.abs(shift) * D + 2 * (pair % (D // 2))
    cos = tl.load(turn)
    sin = tl.load(turn + 1)
    sin = tl.where(shift < 0, -sin, sin)
    x = even.to(tl.float32)
    y = odd.to(tl.float32)
    turned_even = (x * cos - y * sin).to(target_ptr.dtype.element_ty)
    turned_odd = (y * cos + x * sin).to(target_ptr.dtype.element_ty)
    tl.store(target_ptr + target + 2 * pair, tl.where(shift == 0, even, turned_even), mask=real)
    tl.store(target_ptr + target + 2 * pair + 1, tl.where(shift == 0, odd, turned_odd), mask=real)
    values = tl.load(source_ptr + source + SOURCE_PAGE * WIDTH + i, mask=i < WIDTH)
    tl.store(target_ptr + target + TARGET_PAGE * WIDTH + i, values, mask=i < WIDTH)


@triton.jit
def _gather(
    pool_ptr,
    slot_ptr,
    out_ptr,
    count,
    stride_page,
    stride_part,
    WIDTH: tl.constexpr,
    PAGE: tl.constexpr,
    ENTRIES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """ENTRIES entries, keys or values: WIDTH elements each."""
    n = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    part = tl.program_id(1).to(tl.int64)
    i = tl.arange(0, BLOCK)
    slot = tl.load(slot_ptr + n, mask=n < count, other=0)
    source = slot // PAGE * stride_page + part * stride_part + slot % PAGE * WIDTH
    real = (n < count)[:, None] & (i < WIDTH)[None, :]
    x = tl.load(pool_ptr + source[:, None] + i[None, :], mask=real)
    place = (part * count + n) * WIDTH
    tl.store(out_ptr + place[:, None] + i[None, :], x, mask=real)


def rope_write(
    qkv: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    rope: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> None:
    """`qkv`: [T, heads + 2 kv_heads, D], contiguous; its q is rotated in place. `positions`, `slots`: [T] int64.
    `rope`: [positions, D / 2, 2]. `keys`, `values`: one layer's view of the pool, [pages, page_size, kv_heads, D]."""
    tokens, all_heads, size = qkv.shape
    page, kv_heads = keys.shape[1], keys.shape[2]
    _rope_write[(tokens, triton.cdiv(all_heads, HEADS_BLOCK))](
        qkv, positions, slots, rope, keys, values, keys.stride(0), keys.stride(1), keys.stride(2),
        HEADS=all_heads - 2 * kv_heads, KV_HEADS=kv_heads, D=size, DP=triton.next_power_of_2(size), PAGE=page,
        BLOCK=HEADS_BLOCK, num_warps=4,
    )  # fmt: skip


def gather(layer: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """[2, n, kv_heads, D]: keys and values of entries. `layer`: one layer's view of the pool, [pages, 2, page_size,
    kv_heads, D]; `slots`: [n] int64."""
    _, parts, page, kv_heads, size = layer.shape
    count, width = len(slots), kv_heads * size
    out = torch.empty(parts, count, kv_heads, size, dtype=layer.dtype, device=layer.device)
    block = triton.next_power_of_2(width)
    entries = max(1, COPY_BLOCK // block)
    _gather[(triton.cdiv(count, entries), parts)](
        layer, slots, out, count, layer.stride(0), layer.stride(1),
        WIDTH=width, PAGE=page, ENTRIES=entries, BLOCK=block, num_warps=4,
    )  # fmt: skip
    return out


def copy_pages(pool: torch.Tensor, sources: torch.Tensor, destinations: torch.Tensor) -> None:
    """`pool`: [pages, ...], contiguous; `sources`, `destinations`: [n] int64. Each page is one contiguous run."""
    words = pool.view(pool.shape[0], -1)
    if words.shape[1] * pool.element_size() % 4 == 0:
        words = words.view(torch.int32)
    grid = (len(sources), triton.cdiv(words.shape[1], COPY_BLOCK))
    _copy_pages[grid](words, sources, destinations, words.shape[1], BLOCK=COPY_BLOCK)


def copy_entries(
    source: torch.Tensor,
    target: torch.Tensor,
    source_slots: torch.Tensor,
    target_slots: torch.Tensor,
    shifts: torch.Tensor,
    rope: torch.Tensor,
) -> None:
    """One launch. `source`, `target`: [pages, layers, 2, page_size, kv_heads, D], contiguous, where only the number and
    size of pages may differ. `source_slots`, `target_slots`, `shifts`: [n] int64; nothing that is read is written."""
    _, layers, _, _, kv_heads, size = source.shape
    width = kv_heads * size
    _copy_entries[(len(shifts), layers)](
        source, target, source_slots, target_slots, shifts, rope,
        LAYERS=layers, WIDTH=width, D=size, SOURCE_PAGE=source.shape[3], TARGET_PAGE=target.shape[3],
        BLOCK=triton.next_power_of_2(width), num_warps=4 if width >= 512 else 1,
    )  # fmt: skip
