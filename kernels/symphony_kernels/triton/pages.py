"""Writing into pages: RoPE with the K/V write in one pass, and whole-page copies."""

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
