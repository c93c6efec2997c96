"""The Triton kernels behind `interface.PagedAttention`, with a page-major pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from symphony_kernels.entries import overlap
from symphony_kernels.interface import IntArray, PoolShape, Ragged
from symphony_kernels.page_major import PageMajorPool
from symphony_kernels.triton import attention, decode, pages
from symphony_kernels.triton.plan import Plan, Planner, Work


class TritonAttention(PageMajorPool):
    """See `interface.PagedAttention`."""

    name = "triton"

    def __init__(
        self, shape: PoolShape, rope: torch.Tensor, scale: float, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`rope`: [positions, head_dim / 2, 2] fp32, on the device."""
        super().__init__(shape, dtype, device)
        self.scale = scale
        self.rope = rope.contiguous()
        self._tile = attention.tile(dtype, device.type != "cuda")
        self._planner = Planner(shape, dtype, device)

    def plan(self, rows: Ragged) -> Any:
        return self._planner.plan(rows)

    def decode_plan(
        self,
        entries: torch.Tensor,
        block_table: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        firsts: torch.Tensor,
    ) -> Any:
        """See `interface.DecodePlanner`."""
        return self._planner.decodes(entries, block_table, positions, slots, firsts)

    def write(self, layer: int, qkv: torch.Tensor, plan: Plan) -> None:
        pages.rope_write(qkv, plan.positions, plan.slots, self.rope, self.pool[:, layer, 0], self.pool[:, layer, 1])

    def attend(self, layer: int, qkv: torch.Tensor, plan: Plan, windowed: bool = False) -> torch.Tensor:
        s = self.shape
        out = torch.empty(qkv.shape[0], s.heads, s.head_dim, dtype=qkv.dtype, device=qkv.device)
        out[plan.real :] = 0
        self._attend(layer, qkv, out, self._planner.work(plan, windowed))
        return out.flatten(1)

    def _attend(self, layer: int, qkv: torch.Tensor, out: torch.Tensor, work: Work) -> None:
        if work.launches:
            attention.attend(qkv, self.pool, layer, out, work.launches, work.hidden, self.scale)
        if work.decodes is not None:
            decode.attend(qkv, self.pool, layer, out, work.decodes, self._tile, self.scale)

    def copy_pages(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        pages.copy_pages(self.pool, self._to(np.array(sources)), self._to(np.array(destinations)))

    def copy_entries(self, sources: IntArray, targets: IntArray, shifts: IntArray) -> None:
        s = self.shape
        source, target, shift = (self._to(x) for x in (sources, targets, shifts))
        if not overlap(sources, targets):
            pages.copy_entries(self.pool, self.pool, source, target, shift, self.rope)
            return
        beside = self.pool.new_empty(len(sources), s.layers, 2, 1, s.kv_heads, s.head_dim)
        place = torch.arange(len(sources), device=self.pool.device)
        pages.copy_entries(self.pool, beside, source, place, shift, self.rope)
        pages.copy_entries(beside, self.pool, place, target, torch.zeros_like(shift), self.rope)

    def _to(self, array: IntArray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.pool.device, non_blocking=True)
