"""A stand-in for the flash-attn package, in torch: the two functions that are used, with the checks that bite."""

from __future__ import annotations

import sys
import types

import torch

CALLS = {"varlen": 0, "paged": 0}


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal, window_size
):
    CALLS["varlen"] += 1
    assert causal
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
    assert max_seqlen_q == int(cu_seqlens_q.diff().max())
    assert max_seqlen_k == int(cu_seqlens_k.diff().max())
    assert int(cu_seqlens_q[-1]) == len(q)
    assert int(cu_seqlens_k[-1]) == len(k) == len(v)
    out = torch.empty_like(q)
    for i in range(len(cu_seqlens_q) - 1):
        a, b = cu_seqlens_q[i : i + 2]
        entries = slice(*cu_seqlens_k[i : i + 2])
        out[a:b] = _attend(q[a:b], k[entries], v[entries], softmax_scale, window_size)
    return out


def flash_attn_with_kvcache(q, k_cache, v_cache, *, cache_seqlens, block_table, softmax_scale, causal, window_size):
    CALLS["paged"] += 1
    assert causal
    assert cache_seqlens.dtype == block_table.dtype == torch.int32
    assert k_cache.shape[1] % 256 == 0, "flash-attn reads pages of multiples of 256 entries"
    assert q.stride(-1) == k_cache.stride(-1) == v_cache.stride(-1) == 1
    out = torch.empty_like(q)
    for i, entries in enumerate(cache_seqlens.tolist()):
        k, v = (cache[block_table[i]].flatten(0, 1)[:entries] for cache in (k_cache, v_cache))
        out[i] = _attend(q[i], k, v, softmax_scale, window_size)
    return out


def _attend(q, k, v, scale, window):
    group = q.shape[1] // k.shape[1]
    k, v = (x.float().repeat_interleave(group, 1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q.float(), k) * scale
    at = torch.arange(len(q))[:, None] + len(k) - len(q)
    keys = torch.arange(len(k))[None]
    hidden = keys > at
    if window[0] >= 0:
        hidden |= keys < at - window[0]
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, float("-inf")).softmax(-1), v).to(q.dtype)


def install() -> None:
    """Make it what `import flash_attn` finds."""
    module = types.ModuleType("flash_attn")
    module.flash_attn_varlen_func = flash_attn_varlen_func
    module.flash_attn_with_kvcache = flash_attn_with_kvcache
    sys.modules["flash_attn"] = module
