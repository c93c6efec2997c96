"""What the layers of a step have in common, made on the host: which rows go to which kernel.

Rows with one query and no mask are decodes, whose work the device divides (`decode`). The others are launched together;
those of them with few queries that begin with the same pages attend to these together. Windowed layers have a plan of
their own, without anything shared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from symphony_kernels.interface import IntArray, PoolShape, Ragged
from symphony_kernels.triton import division
from symphony_kernels.triton.attention import Hidden, Launch, block, tile

RESIDENT = 2
"""Programs that a multiprocessor runs at a time."""
SPLIT_ENTRIES = 256
"""Fewest keys that are worth a program of their own."""
MOST_SPLITS = 64
SPLIT_COST = 0.02
"""What a split costs in writing and merging, as a share of the whole."""
SHARED_ENTRIES = 256
"""Fewest common entries that rows attend to together."""
SHARED_WIDTH = 64
"""Most query heads a key head of such rows: wider ones fill a block of their own."""


@dataclass(slots=True)
class Work:
    """The layers of one kind."""

    decodes: division.Work | None
    launches: list[Launch]
    hidden: Hidden


@dataclass(slots=True)
class Plan:
    """A step."""

    positions: torch.Tensor
    slots: torch.Tensor
    real: int
    """Queries that belong to a row; the rest is padding."""
    full: Work
    windowed: Work | None
    firsts: torch.Tensor | None = None
    """[B]: what windowed layers see of a plan made on the device; their work is divided if there are any."""


class Planner:
    """Plans for one pool."""

    def __init__(self, shape: PoolShape, dtype: torch.dtype, device: torch.device) -> None:
        self._shape = shape
        self._dtype = dtype
        self._bn = tile(dtype, device.type != "cuda")
        self._device = device
        cuda = device.type == "cuda"
        self._processors = torch.cuda.get_device_properties(device).multi_processor_count if cuda else 4

    def plan(self, rows: Ragged, which: npt.NDArray[np.bool_] | None = None) -> Plan:
        """A plan for any step. `which`: [B], the rows to attend; None: all."""
        plain = np.ones(rows.tokens, np.bool_) if rows.mask_of is None else rows.mask_of < 0
        which = np.ones(len(rows.query_lens), np.bool_) if which is None else which
        alone = (rows.query_lens == 1) & plain[rows.starts]
        decodes, others = np.flatnonzero(alone & which), np.flatnonzero(~alone & which)
        real = int(rows.query_lens.sum())
        masked = rows.masks is not None and not bool(plain[:real].all())
        bits, mask_of = self._masks(rows) if masked else None, rows.mask_of
        mask_of = None if mask_of is None or bits is None else self._to(mask_of)
        launches = self._shared(rows, others, plain) if len(others) else []
        full = Work(self._decodes(rows, decodes, None), launches, Hidden(None, bits, mask_of))
        windowed = None
        if rows.firsts is not None:
            launches = [self._launch(rows, others, None)] if len(others) else []
            firsts = Hidden(self._to(rows.firsts), bits, mask_of)
            windowed = Work(self._decodes(rows, decodes, rows.firsts), launches, firsts)
        return Plan(self._wide(rows.positions), self._wide(rows.slots), real, full, windowed)

    def decodes(
        self,
        entries: torch.Tensor,
        table: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        firsts: torch.Tensor,
    ) -> Plan:
        """A plan for one query a row, from tensors on the device."""
        full = Work(self._divide(division.Rows(entries, table, None, None)), [], Hidden())
        return Plan(positions, slots, len(entries), full, None, firsts)

    def work(self, plan: Plan, windowed: bool) -> Work:
        """What layers of this kind do."""
        if windowed and plan.firsts is not None and plan.windowed is None and plan.full.decodes is not None:
            rows = plan.full.decodes.rows
            plan.windowed = Work(self._divide(division.Rows(rows.entries, rows.table, plan.firsts, None)), [], Hidden())
        return plan.windowed if windowed and plan.windowed is not None else plan.full

    def _divide(self, rows: division.Rows) -> division.Work:
        s = self._shape
        return division.divide(rows, s.group, s.kv_heads, s.page_size, self._bn, self._processors)

    def _decodes(self, rows: Ragged, which: IntArray, firsts: IntArray | None) -> division.Work | None:
        if not len(which):
            return None
        starts = rows.starts[which]
        columns = [rows.seq_lens[which], starts, starts if firsts is None else firsts[starts]]
        control, table = self._packed(np.stack(columns), rows.block_table[which])
        return self._divide(division.Rows(control[0], table, None if firsts is None else control[2], control[1]))

    # ---- rows with several queries, or masks -----------------------------------------------------------------------

    def _shared(self, rows: Ragged, which: IntArray, plain: npt.NDArray[np.bool_]) -> list[Launch]:
        """All of these rows; what some of them begin with is a launch before them."""
        s = self._shape
        depth = -(-SHARED_ENTRIES // s.page_size) - 1
        clear = self._clear(rows, which)
        context = np.minimum(rows.seq_lens[which] - rows.query_lens[which], clear)
        few = (rows.query_lens[which] * s.group <= SHARED_WIDTH) & (context // s.page_size > depth)
        begin = np.zeros(len(which), np.int64)
        groups: list[IntArray] = []
        if few.sum() > 1:
            page = np.where(few, rows.block_table[which, depth], -1)
            for one in np.unique(page[few]).tolist():
                group = np.flatnonzero(page == one)
                table = rows.block_table[which[group], : int(context[group].min()) // s.page_size]
                common = int((table == table[0]).all(0).cumprod().sum()) * s.page_size
                common -= common % max(self._bn, s.page_size)
                if len(group) > 1 and common >= SHARED_ENTRIES:
                    begin[group] = common
                    groups.append(group)
        own = self._launch(rows, which, clear, begin)
        return [self._prefixes(rows, which, groups, begin), own] if groups else [own]

    def _prefixes(self, rows: Ragged, which: IntArray, groups: list[IntArray], begin: IntArray) -> Launch:
        """What groups of rows begin with, for all of their queries together."""
        starts = rows.starts
        spans = np.stack([starts, starts + rows.query_lens], 1)[which]
        each = [np.concatenate([np.arange(a, b) for a, b in spans[group].tolist()]) for group in groups]
        queries = np.array([len(x) for x in each])
        ends = np.array([begin[group[0]] for group in groups])
        control = np.stack([np.cumsum(queries) - queries, queries, ends, ends, np.zeros_like(ends), ends])
        table = rows.block_table[which[[group[0] for group in groups]]]
        return self._sent(control, table, np.concatenate(each))

    def _launch(self, rows: Ragged, which: IntArray, clear: IntArray | None, begin: IntArray | None = None) -> Launch:
        queries, entries = rows.query_lens[which], rows.seq_lens[which]
        clear = self._clear(rows, which) if clear is None else clear
        begin = np.zeros_like(queries) if begin is None else begin
        control = np.stack([rows.starts[which], queries, entries, entries - queries, begin, clear])
        return self._sent(control, rows.block_table[which], None)

    def _sent(self, control: IntArray, table: IntArray, index: IntArray | None) -> Launch:
        most = int(control[1].max())
        splits = self._splits(control.shape[1], most, int((control[2] - control[4]).max()))
        parts = self._packed(control, table)
        return Launch(*parts, None if index is None else self._to(index), most, splits)

    def _splits(self, rows: int, most_queries: int, most_entries: int) -> int:
        """Parts of the keys: those for which whole waves of programs waste least."""
        s = self._shape
        width = most_queries * s.group
        blocks = -(-width // block(width, self._dtype)[0]) * rows * s.kv_heads
        resident = RESIDENT * self._processors

        def cost(splits: int) -> float:
            return -(-blocks * splits // resident) / splits + SPLIT_COST * (splits - 1) * blocks / resident

        return min(range(1, max(1, min(MOST_SPLITS, most_entries // SPLIT_ENTRIES)) + 1), key=cost)

    # ---- masks -----------------------------------------------------------------------------------------------------

    def _masks(self, rows: Ragged) -> torch.Tensor:
        assert rows.masks is not None
        return torch.from_numpy(np.ascontiguousarray(rows.masks).view(np.int32)).to(self._device)

    def _clear(self, rows: Ragged, which: IntArray) -> IntArray:
        """[rows]: entries that all queries of a row see before its masks hide the first one, or all of them."""
        if rows.masks is None or rows.mask_of is None:
            return rows.seq_lens[which]
        all_set = np.append(rows.masks == 0xFFFFFFFF, np.zeros((len(rows.masks), 1), np.bool_), 1)
        first = np.append(all_set.argmin(1) * 32, np.iinfo(np.int32).max)  # by mask; -1 hides nothing
        by_query = first[rows.mask_of[: rows.query_lens.sum()]]
        return np.minimum(rows.seq_lens, np.minimum.reduceat(by_query, rows.starts))[which]

    # ---- transfers -------------------------------------------------------------------------------------------------

    def _packed(self, control: IntArray, table: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        """Both as int32 on the device, in one transfer."""
        flat = self._to(np.concatenate([control.reshape(-1), table.reshape(-1)]))
        return flat[: control.size].view(control.shape), flat[control.size :].view(table.shape)

    def _to(self, array: IntArray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int32)).to(self._device, non_blocking=True)

    def _wide(self, array: IntArray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, non_blocking=True)
