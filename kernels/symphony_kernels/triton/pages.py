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
    PAGE: tl.constexpr,
):
    """One token and head: rotate q in place, rotate k into its slot, copy v into its slot."""
    t = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1)
    i = tl.arange(0, D // 2)
    source = qkv_ptr + (t * (HEADS + 2 * KV_HEADS) + h) * D
    slot = tl.load(slot_ptr + t)
    place = slot // PAGE * stride_page + slot % PAGE * stride_slot
    even = tl.load(source + 2 * i)
    odd = tl.load(source + 2 * i + 1)
    if h < HEADS + KV_HEADS:
        turn = rope_ptr + tl.load(position_ptr + t) * D + 2 * i
        cos = tl.load(turn)
        sin = tl.load(turn + 1)
        x = even.to(tl.float32)
        y = odd.to(tl.float32)
        turned_even = x * cos - y * sin
        turned_odd = y * cos + x * sin
        if h < HEADS:
            tl.store(source + 2 * i, turned_even.to(qkv_ptr.dtype.element_ty))
            tl.store(source + 2 * i + 1, turned_odd.to(qkv_ptr.dtype.element_ty))
        else:
            target = k_ptr + place + (h - HEADS) * stride_head
            tl.store(target + 2 * i, turned_even.to(k_ptr.dtype.element_ty))
            tl.store(target + 2 * i + 1, turned_odd.to(k_ptr.dtype.element_ty))
    else:
        target = v_ptr + place + (h - HEADS - KV_HEADS) * stride_head
        tl.store(target + 2 * i, even.to(v_ptr.dtype.element_ty))
        tl.store(target + 2 * i + 1, odd.to(v_ptr.dtype.element_ty))


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
    _rope_write[(tokens, all_heads)](
        qkv, positions, slots, rope, keys, values, keys.stride(0), keys.stride(1), keys.stride(2),
        HEADS=all_heads - 2 * kv_heads, KV_HEADS=kv_heads, D=size, PAGE=page, num_warps=1,
    )  # fmt: skip


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
