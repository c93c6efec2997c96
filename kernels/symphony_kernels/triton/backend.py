"""The Triton kernels behind `interface.PagedAttention`, with a page-major pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from symphony_kernels.entries import overlap
from symphony_kernels.interface import BackendUnavailable, IntArray, PoolShape, Ragged
from symphony_kernels.page_major import PageMajorPool
from symphony_kernels.triton import attention, pages

WAVES = 4
"""Programs a multiprocessor that a launch should have before keys are no longer split."""
SPLIT_ENTRIES = 128
"""Fewest keys that are worth a program of their own."""
MOST_SPLITS = 64


@dataclass(slots=True)
class _Launch:
    """Rows that one kernel launch computes: all decodes, or all others."""

    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
    """starts, queries, entries [B]; block table [B, P]; int32."""
    first: int
    """First of their queries, and..."""
    count: int
    """...how many."""
    most_queries: int
    splits: int


@dataclass(slots=True)
class _Plan:
    launches: list[_Launch]
    positions: torch.Tensor
    slots: torch.Tensor
    real: int
    """Queries that belong to a row; the rest is padding."""
    firsts: torch.Tensor | None
    """[T] int32, first entry that a query of a windowed layer sees."""


class TritonAttention(PageMajorPool):
    """See `interface.PagedAttention`."""

    name = "triton"

    def __init__(
        self, shape: PoolShape, rope: torch.Tensor, scale: float, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`rope`: [positions, head_dim / 2, 2] fp32, on the device. Raises BackendUnavailable for other shapes."""
        s = shape
        for what, value in (("head sizes", s.head_dim), ("page sizes", s.page_size)):
            if value < 16 or value & (value - 1):
                raise BackendUnavailable(
                    f"the triton attention needs {what} that are powers of two from 16, not {value}"
                )
        super().__init__(shape, dtype, device)
        self.scale = scale
        self.rope = rope.contiguous()
        cuda = device.type == "cuda"
        self._processors = torch.cuda.get_device_properties(device).multi_processor_count if cuda else 4

    def plan(self, rows: Ragged) -> _Plan:
        queries = rows.query_lens
        decodes = len(queries) - int((queries[::-1] != 1).argmax()) if (queries != 1).any() else 0
        launches = [self._launch(rows, a, b) for a, b in ((0, decodes), (decodes, len(queries))) if b > a]
        firsts = None if rows.firsts is None else self._to(rows.firsts.astype(np.int32))
        return _Plan(launches, self._to(rows.positions), self._to(rows.slots), int(queries.sum()), firsts)

    def decode_plan(
        self,
        entries: torch.Tensor,
        block_table: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        firsts: torch.Tensor,
    ) -> _Plan:
        """See `interface.DecodePlanner`."""
        n = len(entries)
        starts = torch.arange(n, dtype=torch.int32, device=entries.device)
        rows = (starts, torch.ones_like(starts), entries, block_table)
        splits = self._splits(n, 1, block_table.shape[1] * self.shape.page_size)
        return _Plan([_Launch(rows, 0, n, 1, splits)], positions, slots, n, firsts)

    def _launch(self, rows: Ragged, a: int, b: int) -> _Launch:
        queries, entries = rows.query_lens[a:b], rows.seq_lens[a:b]
        starts, table = rows.starts[a:b], rows.block_table[a:b]
        packed = np.concatenate([x.astype(np.int32).reshape(-1) for x in (starts, queries, entries, table)])
        device = self._to(packed)  # one transfer
        n = b - a
        parts = (device[:n], device[n : 2 * n], device[2 * n : 3 * n], device[3 * n :].view(n, -1))
        most = int(queries.max())
        return _Launch(parts, int(starts[0]), int(queries.sum()), most, self._splits(n, most, int(entries.max())))

    def _splits(self, rows: int, most_queries: int, most_entries: int) -> int:
        """Enough programs to fill the device, each with enough keys."""
        s = self.shape
        blocks = -(-most_queries * s.group // 128) * rows * s.kv_heads
        return max(1, min(MOST_SPLITS, WAVES * self._processors // blocks, most_entries // SPLIT_ENTRIES))

    def _to(self, array: IntArray | np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.pool.device, non_blocking=True)

    def write(self, layer: int, qkv: torch.Tensor, plan: _Plan) -> None:
        pages.rope_write(qkv, plan.positions, plan.slots, self.rope, self.pool[:, layer, 0], self.pool[:, layer, 1])

    def attend(self, layer: int, qkv: torch.Tensor, plan: _Plan, windowed: bool = False) -> torch.Tensor:
        s = self.shape
        out = torch.empty(qkv.shape[0], s.heads, s.head_dim, dtype=qkv.dtype, device=qkv.device)
        out[plan.real :] = 0
        keys, values = self.pool[:, layer, 0], self.pool[:, layer, 1]
        firsts = plan.firsts if windowed else None
        for run in plan.launches:
            attention.attend(
                qkv, keys, values, out, run.rows, firsts, run.first, run.count, run.most_queries, run.splits, self.scale
            )
        return out.flatten(1)

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
