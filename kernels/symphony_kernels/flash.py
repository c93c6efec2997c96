"""The flash-attn package (2.x) behind `interface.PagedAttention`, for what it can do; Triton does the rest.

Rows with several queries: `flash_attn_varlen_func` over keys and values gathered from their pages. Decodes:
`flash_attn_with_kvcache` on the pages themselves, which have to hold a multiple of 256 entries. Rows with masks and
contexts too large to gather go to Triton, and so do layers whose windows are no plain distance between entries.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from symphony_kernels.interface import IntArray, PoolShape, Ragged
from symphony_kernels.triton import pages
from symphony_kernels.triton.attention import Hidden
from symphony_kernels.triton.backend import TritonAttention
from symphony_kernels.triton.plan import Plan, Work

PAGE = 256
"""Page sizes that flash-attn reads must be multiples of this."""
GATHERED_ENTRIES = 1 << 18
"""Most entries that are gathered for a layer: 1 GiB at 8 heads of 128 elements in 16 bits."""


@dataclass(slots=True)
class _Prefill:
    """Rows with several queries."""

    index: torch.Tensor | None
    """Their queries; None: the first `queries`."""
    queries: int
    query_ends: torch.Tensor
    """[rows + 1] int32, from 0."""
    entry_ends: torch.Tensor
    most_queries: int
    most_entries: int
    slots: torch.Tensor
    """[entries of all rows] int64"""


@dataclass(slots=True)
class _Decodes:
    index: torch.Tensor | None
    """Their queries; None: all of the step's."""
    entries: torch.Tensor
    table: torch.Tensor


@dataclass(slots=True)
class _Plan:
    prefill: _Prefill | None
    decodes: _Decodes | None
    window: int | None
    """Entries that windowed layers see; 0: all; None: `windowed` is done by Triton."""
    rest: Plan
    """What Triton does beside flash-attn, and positions and slots."""
    windowed: Plan
    """The whole step in windowed layers."""


class FlashAttention(TritonAttention):
    """See `interface.PagedAttention`."""

    name = "flash"

    def __init__(
        self, shape: PoolShape, rope: torch.Tensor, scale: float, dtype: torch.dtype, device: torch.device
    ) -> None:
        """As `TritonAttention`."""
        super().__init__(shape, rope, scale, dtype, device)
        flash = importlib.import_module("flash_attn")
        self._varlen: Callable[..., Any] = flash.flash_attn_varlen_func
        self._paged: Callable[..., Any] = flash.flash_attn_with_kvcache
        self.calls = 0
        """Of flash-attn's functions; those that a graph replays are not counted."""

    def plan(self, rows: Ragged) -> _Plan:
        starts, size = rows.starts, self.shape.page_size
        masks = np.zeros(rows.tokens, np.bool_) if rows.mask_of is None else rows.mask_of >= 0
        plain = ~np.logical_or.reduceat(masks[: rows.query_lens.sum()], starts)
        several = plain & (rows.query_lens > 1)
        several &= np.cumsum(np.where(several, rows.seq_lens, 0)) <= GATHERED_ENTRIES
        alone = plain & (rows.query_lens == 1) & (size % PAGE == 0)
        taken = several | alone
        window = _window(rows, taken)
        rest = self._planner.plan(replace(rows, firsts=None) if window is None else rows, ~taken)
        windowed = self._planner.plan(rows, np.ones_like(taken)) if window is None else rest
        return _Plan(
            self._prefill(rows, np.flatnonzero(several)) if several.any() else None,
            self._decodes(rows, np.flatnonzero(alone)) if alone.any() else None,
            window,
            rest,
            windowed,
        )

    def decode_plan(
        self,
        entries: torch.Tensor,
        block_table: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        firsts: torch.Tensor,
    ) -> _Plan:
        """See `interface.DecodePlanner`. What windowed layers see is not known before the plan runs: Triton's work."""
        triton = super().decode_plan(entries, block_table, positions, slots, firsts)
        if self.shape.page_size % PAGE:
            return _Plan(None, None, None, triton, triton)
        rest = Plan(positions, slots, len(entries), Work(None, [], Hidden()), None)
        return _Plan(None, _Decodes(None, entries, block_table), None, rest, triton)

    def write(self, layer: int, qkv: torch.Tensor, plan: Any) -> None:
        super().write(layer, qkv, plan.rest)

    def attend(self, layer: int, qkv: torch.Tensor, plan: Any, windowed: bool = False) -> torch.Tensor:
        if windowed and plan.window is None:
            return super().attend(layer, qkv, plan.windowed, True)
        out = torch.empty(qkv.shape[0], self.shape.heads, self.shape.head_dim, dtype=qkv.dtype, device=qkv.device)
        out[plan.rest.real :] = 0
        window = (plan.window - 1, 0) if windowed and plan.window else (-1, -1)
        if plan.prefill is not None:
            self._attend_prefill(layer, qkv, plan.prefill, window, out)
        if plan.decodes is not None:
            self._attend_decodes(layer, qkv, plan.decodes, window, out)
        self._attend(layer, qkv, out, self._planner.work(plan.rest, windowed))
        return out.flatten(1)

    # ---- planning --------------------------------------------------------------------------------------------------

    def _prefill(self, rows: Ragged, which: IntArray) -> _Prefill:
        queries, entries, size = rows.query_lens[which], rows.seq_lens[which], self.shape.page_size
        row = np.repeat(which, entries)
        within = np.arange(len(row)) - np.repeat(np.cumsum(entries) - entries, entries)
        slots = rows.block_table[row, within // size] * size + within % size
        together = bool((which == np.arange(len(which))).all())
        return _Prefill(
            None if together else self._to(_queries(rows, which)),
            int(queries.sum()),
            self._narrow(np.append(0, np.cumsum(queries))),
            self._narrow(np.append(0, np.cumsum(entries))),
            int(queries.max()),
            int(entries.max()),
            self._to(slots),
        )

    def _decodes(self, rows: Ragged, which: IntArray) -> _Decodes:
        entries, table = self._narrow(rows.seq_lens[which]), self._narrow(rows.block_table[which])
        return _Decodes(self._to(rows.starts[which]), entries, table)

    def _narrow(self, array: IntArray) -> torch.Tensor:
        return self._to(array).int()

    # ---- layers ----------------------------------------------------------------------------------------------------

    def _attend_prefill(
        self, layer: int, qkv: torch.Tensor, work: _Prefill, window: tuple[int, int], out: torch.Tensor
    ) -> None:
        q = qkv[:, : self.shape.heads]
        q = q[: work.queries] if work.index is None else q.index_select(0, work.index)
        keys, values = pages.gather(self.pool[:, layer], work.slots)
        self.calls += 1
        found = self._varlen(
            q, keys, values, work.query_ends, work.entry_ends, work.most_queries, work.most_entries,
            softmax_scale=self.scale, causal=True, window_size=window,
        )  # fmt: skip
        if work.index is None:
            out[: work.queries] = found
        else:
            out.index_copy_(0, work.index, found)

    def _attend_decodes(
        self, layer: int, qkv: torch.Tensor, work: _Decodes, window: tuple[int, int], out: torch.Tensor
    ) -> None:
        q = qkv[:, : self.shape.heads]
        q = q if work.index is None else q.index_select(0, work.index)
        self.calls += 1
        found = self._paged(
            q[:, None], self.pool[:, layer, 0], self.pool[:, layer, 1],
            cache_seqlens=work.entries, block_table=work.table,
            softmax_scale=self.scale, causal=True, window_size=window,
        )[:, 0]  # fmt: skip
        if work.index is None:
            out[:] = found
        else:
            out.index_copy_(0, work.index, found)


def _queries(rows: Ragged, which: IntArray) -> IntArray:
    """Of these rows, one after another."""
    spans = np.stack([rows.starts, rows.starts + rows.query_lens], 1)[which]
    return np.concatenate([np.arange(a, b) for a, b in spans.tolist()])


def _window(rows: Ragged, taken: npt.NDArray[np.bool_]) -> int | None:
    """The one distance that `firsts` is of these rows' queries; 0: they see all; None: it is no such distance."""
    if rows.firsts is None:
        return 0
    row = np.repeat(np.arange(len(taken)), rows.query_lens)
    context = np.repeat(rows.seq_lens - rows.query_lens - rows.starts, rows.query_lens)
    seen_all = (np.arange(len(row)) + context + 1)[taken[row]]  # entries that a query would see without a window
    first = rows.firsts[: len(row)][taken[row]]
    if not first.any():
        return 0
    window = int((seen_all - first)[first > 0][0])
    fits = np.where(first > 0, seen_all - first == window, seen_all <= window)
    return window if bool(fits.all()) else None
