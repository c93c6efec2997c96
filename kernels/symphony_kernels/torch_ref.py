"""The oracle: paged attention in plain torch, one sequence at a time, on any device.

Slow and obvious; the other back ends are tested against it. Its pool is page-major, as on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from symphony_kernels.entries import parts
from symphony_kernels.interface import IntArray, PoolShape, Ragged
from symphony_kernels.page_major import PageMajorPool

COPIED_ENTRIES = 256
"""Most entries that are copied at a time, all layers of each."""


@dataclass(slots=True)
class _Plan:
    rows: list[tuple[int, int, int, torch.Tensor]]
    """(first query, queries, entries, pages) of each sequence."""
    positions: torch.Tensor
    slots: torch.Tensor
    firsts: torch.Tensor | None
    hidden: torch.Tensor | None
    """[M + 1, most entries] bool: what each mask hides; the last one, of queries without a mask, hides nothing."""
    mask_of: torch.Tensor | None


class ReferenceAttention(PageMajorPool):
    """See `interface.PagedAttention`."""

    name = "torch"

    def __init__(
        self, shape: PoolShape, rope: torch.Tensor, scale: float, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`rope`: [positions, head_dim / 2, 2] fp32, cosine and sine. `scale` multiplies the scores."""
        super().__init__(shape, dtype, device)
        self.scale = scale
        self.rope = rope

    def plan(self, rows: Ragged) -> _Plan:
        device, size = self.pool.device, self.shape.page_size
        table = torch.from_numpy(rows.block_table).to(device)
        each = zip(rows.starts.tolist(), rows.query_lens.tolist(), rows.seq_lens.tolist(), strict=True)
        return _Plan(
            [(a, q, n, table[i, : -(-n // size)]) for i, (a, q, n) in enumerate(each)],
            torch.from_numpy(rows.positions).to(device),
            torch.from_numpy(rows.slots).to(device),
            None if rows.firsts is None else torch.from_numpy(rows.firsts).to(device),
            None if rows.masks is None else hidden_entries(rows.masks, int(rows.seq_lens.max())).to(device),
            None if rows.mask_of is None else torch.from_numpy(rows.mask_of).to(device),
        )

    def write(self, layer: int, qkv: torch.Tensor, plan: _Plan) -> None:
        s = self.shape
        turned = qkv[:, : s.heads + s.kv_heads]
        turned.copy_(rotate(turned, self.rope[plan.positions]))
        k, v = qkv[:, s.heads : s.heads + s.kv_heads], qkv[:, s.heads + s.kv_heads :]
        pages, offsets = plan.slots // s.page_size, plan.slots % s.page_size
        self.pool[pages, layer, 0, offsets] = k.to(self.pool.dtype)
        self.pool[pages, layer, 1, offsets] = v.to(self.pool.dtype)

    def attend(self, layer: int, qkv: torch.Tensor, plan: _Plan, windowed: bool = False) -> torch.Tensor:
        s = self.shape
        out = qkv.new_zeros(qkv.shape[0], s.heads, s.head_dim)
        for first, queries, entries, pages in plan.rows:
            kv = self.pool[pages, layer].transpose(0, 1).reshape(2, -1, s.kv_heads, s.head_dim)[:, :entries]
            k, v = kv.float().repeat_interleave(s.group, 2)
            q = qkv[first : first + queries, : s.heads].float()
            scores = torch.einsum("qhd,khd->hqk", q, k) * self.scale
            at = torch.arange(queries, device=q.device)[:, None] + entries - queries
            keys = torch.arange(entries, device=q.device)[None]
            hidden = keys > at
            if windowed and plan.firsts is not None:
                hidden |= keys < plan.firsts[first : first + queries, None]
            if plan.hidden is not None and plan.mask_of is not None:
                hidden |= plan.hidden[plan.mask_of[first : first + queries], :entries] & (keys != at)
            weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
            out[first : first + queries] = torch.einsum("hqk,khd->qhd", weights, v).to(out.dtype)
        return out.flatten(1)

    def copy_pages(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        self.pool[list(destinations)] = self.pool[list(sources)]

    def copy_entries(self, sources: IntArray, targets: IntArray, shifts: IntArray) -> None:
        size, device = self.shape.page_size, self.pool.device
        for part in parts(sources, targets, COPIED_ENTRIES):
            source, target, shift = (torch.from_numpy(x[part]).to(device) for x in (sources, targets, shifts))
            kv = self.pool[source // size, :, :, source % size]  # [N, layers, 2, kv_heads, head_dim]
            turn = self.rope[shift.abs()]
            turn[..., 1] *= shift.sign()[:, None]
            keys = rotate(kv[:, :, 0].flatten(1, 2), turn).view_as(kv[:, :, 0])
            kv[:, :, 0] = torch.where((shift == 0)[:, None, None, None], kv[:, :, 0], keys)
            self.pool[target // size, :, :, target % size] = kv


def hidden_entries(masks: npt.NDArray[np.uint32], entries: int) -> torch.Tensor:
    """[M + 1, entries] bool: what each of `Ragged.masks` hides, and a last row that hides nothing."""
    words = np.zeros((len(masks) + 1, -(-entries // 32)), np.uint32)
    given = masks[:, : words.shape[1]]
    words[:-1, : given.shape[1]] = given
    words[-1] = 0xFFFFFFFF
    seen = np.unpackbits(words.astype("<u4").view(np.uint8), axis=1, count=entries, bitorder="little")
    return torch.from_numpy(seen == 0)


def rotate(x: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
    """RoPE on adjacent pairs. `x`: [T, heads, D]; `rope`: [T, D / 2, 2]; computed in fp32, returned in x's dtype."""
    pairs = x.float().unflatten(-1, (-1, 2))
    cos, sin = rope[:, None, :, 0], rope[:, None, :, 1]
    even, odd = pairs[..., 0], pairs[..., 1]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2).to(x.dtype)
