"""Attention over a flat batch, causal within each document, two ways.

Each takes [N, heads, head_dim] queries, keys and values (those of fewer heads), the documents' bounds and the longest
document's length. `varlen` is for a GPU, `loop` takes a document at a time.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
GROUPED: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}
"""Later versions of torch want to be told that keys have fewer heads."""


def varlen(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int) -> Tensor:
    return cast(Tensor, varlen_attn(q, k, v, bounds, bounds, longest, longest, window_size=(-1, 0), **GROUPED))


def loop(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    ends: list[int] = bounds.tolist()
    parts: list[Tensor] = []
    for start, end in itertools.pairwise(ends):
        if start < end:
            own_q, own_k, own_v = (t[start:end].transpose(0, 1) for t in (q, k, v))
            parts.append(F.scaled_dot_product_attention(own_q, own_k, own_v, is_causal=True).transpose(0, 1))
    return torch.cat(parts)
