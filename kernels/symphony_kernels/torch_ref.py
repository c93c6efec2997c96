"""The oracle: paged attention in plain torch, one sequence at a time, on any device.

Slow and obvious; the other back ends are tested against it. Its pool is page-major, as on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from symphony_kernels.interface import PoolShape, Ragged


@dataclass(slots=True)
class _Plan:
    rows: list[tuple[int, int, int, torch.Tensor]]
    """(first query, queries, entries, pages) of each sequence."""
    positions: torch.Tensor
    slots: torch.Tensor


class ReferenceAttention:
    """See `interface.PagedAttention`."""

    name = "torch"

    def __init__(
        self, shape: PoolShape, rope: torch.Tensor, scale: float, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`rope`: [positions, head_dim / 2, 2] fp32, cosine and sine. `scale` multiplies the scores."""
        self.shape = shape
        self.scale = scale
        self.rope = rope
        s = shape
        self.pool = torch.zeros(s.pages, s.layers, 2, s.page_size, s.kv_heads, s.head_dim, dtype=dtype, device=device)

    def plan(self, rows: Ragged) -> _Plan:
        device, size = self.pool.device, self.shape.page_size
        table = torch.from_numpy(rows.block_table).to(device)
        each = zip(rows.starts.tolist(), rows.query_lens.tolist(), rows.seq_lens.tolist(), strict=True)
        return _Plan(
            [(a, q, n, table[i, : -(-n // size)]) for i, (a, q, n) in enumerate(each)],
            torch.from_numpy(rows.positions).to(device),
            torch.from_numpy(rows.slots).to(device),
        )

    def write(self, layer: int, qkv: torch.Tensor, plan: _Plan) -> None:
        s = self.shape
        turned = qkv[:, : s.heads + s.kv_heads]
        turned.copy_(rotate(turned, self.rope[plan.positions]))
        k, v = qkv[:, s.heads : s.heads + s.kv_heads], qkv[:, s.heads + s.kv_heads :]
        pages, offsets = plan.slots // s.page_size, plan.slots % s.page_size
        self.pool[pages, layer, 0, offsets] = k.to(self.pool.dtype)
        self.pool[pages, layer, 1, offsets] = v.to(self.pool.dtype)

    def attend(self, layer: int, qkv: torch.Tensor, plan: _Plan) -> torch.Tensor:
        s = self.shape
        out = qkv.new_zeros(qkv.shape[0], s.heads, s.head_dim)
        for first, queries, entries, pages in plan.rows:
            kv = self.pool[pages, layer].transpose(0, 1).reshape(2, -1, s.kv_heads, s.head_dim)[:, :entries]
            k, v = kv.float().repeat_interleave(s.group, 2)
            q = qkv[first : first + queries, : s.heads].float()
            scores = torch.einsum("qhd,khd->hqk", q, k) * self.scale
            at = torch.arange(queries, device=q.device)[:, None] + entries - queries
            hidden = torch.arange(entries, device=q.device)[None] > at
            weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
            out[first : first + queries] = torch.einsum("hqk,khd->qhd", weights, v).to(out.dtype)
        return out.flatten(1)

    def copy_pages(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        self.pool[list(destinations)] = self.pool[list(sources)]

    def clear_slots(self, slots: Sequence[int]) -> None:
        at = torch.tensor(slots, device=self.pool.device)
        self.pool[at // self.shape.page_size, :, :, at % self.shape.page_size] = 0


def rotate(x: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
    """RoPE on adjacent pairs. `x`: [T, heads, D]; `rope`: [T, D / 2, 2]; computed in fp32, returned in x's dtype."""
    pairs = x.float().unflatten(-1, (-1, 2))
    cos, sin = rope[:, None, :, 0], rope[:, None, :, 1]
    even, odd = pairs[..., 0], pairs[..., 1]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2).to(x.dtype)
