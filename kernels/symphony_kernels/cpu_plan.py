"""What the CPU's attention in torch computes in a layer: rows sorted into the four kinds of `torch_cpu`.

Knows lengths, block tables, windows and masks; no key, no layer. Windowed layers have work of their own, over rows
without the pages that no query sees any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from symphony_kernels.interface import IntArray, PoolShape, Ragged

HIDDEN = -1e30
"""Added to the scores of entries that a query must not see."""
GATHER_BYTES = 8 << 20
"""Most bytes of gathered keys and values at a time."""
IN_PLACE_ENTRIES = 320
"""From this length on, a decoding row with consecutive pages is read in place."""
SHARED_ENTRIES = 64
"""Fewest common entries that rows attend to together."""
APPEND_QUERIES = 64
"""Most queries of a row that is gathered together with others."""
FRESH_QUERIES = 320
"""Most queries of a row for torch's fused attention: beyond it two oneDNN products are faster."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Keys:
    """Entries `[0, entries)` of a sequence, in place or from pages."""

    entries: int
    start: int | None
    """First key's place in a head's matrix, if the pages are consecutive."""
    blocks: torch.Tensor | None
    """[2 * kv_heads * pages]: places in the pool's list of blocks, otherwise."""


@dataclass(slots=True)
class Gathered:
    """Rows whose keys are gathered from pages: decodes and appends."""

    first: int
    """Decodes: their queries are `[first, first + rows)`."""
    rows: int
    queries: int
    """Queries a row; 1 for decodes."""
    entries: int
    """Keys a row, padded to whole pages."""
    blocks: torch.Tensor
    """[2 * rows * kv_heads * pages]: places in the pool's list of blocks."""
    mask: torch.Tensor
    """[rows, 1, queries, 1, entries], 0 or HIDDEN."""
    index: torch.Tensor | None = None
    """Appends: [rows * queries], which of the T queries."""
    valid: torch.Tensor | None = None
    """Appends: places of the true queries in `index`, if some are padding."""
    prefix: Keys | None = None
    """Entries that all rows have in common, and all queries see; `entries` are those after them."""


@dataclass(slots=True)
class InPlace:
    """A long decoding row with consecutive pages."""

    query: int
    start: int
    """First key's place in a head's matrix."""
    entries: int


@dataclass(slots=True)
class Fresh:
    """Rows without context."""

    first: int
    rows: int
    queries: int
    index: torch.Tensor | None
    """[rows * queries] if they do not lie one after another with equal lengths."""
    valid: torch.Tensor | None


@dataclass(slots=True)
class Long:
    """One row with many queries."""

    first: int
    queries: int
    keys: Keys
    firsts: torch.Tensor | None
    """[queries]: the first entry that each one sees; None: the first there is."""
    hidden: torch.Tensor | None
    """[queries, entries]: what masks hide; None: nothing."""


@dataclass(slots=True)
class Work:
    """What to compute in a layer."""

    gathered: list[Gathered] = field(default_factory=list[Gathered])
    in_place: list[InPlace] = field(default_factory=list[InPlace])
    fresh: list[Fresh] = field(default_factory=list[Fresh])
    long: list[Long] = field(default_factory=list[Long])


def full(shape: PoolShape, rows: Ragged) -> Work:
    """The work of layers without a window."""
    return _Planner(shape, replace(rows, firsts=None), np.zeros_like(rows.seq_lens)).work()


def windowed(shape: PoolShape, rows: Ragged, firsts: IntArray) -> Work:
    """The work of windowed layers."""
    size = shape.page_size
    pages = firsts[rows.starts] // size
    seq_lens = rows.seq_lens - pages * size
    places = np.arange(-(-int(seq_lens.max()) // size)) + pages[:, None]
    table = np.take_along_axis(rows.block_table, np.minimum(places, rows.block_table.shape[1] - 1), 1)
    firsts = firsts[: rows.query_lens.sum()] - np.repeat(pages * size, rows.query_lens)
    trimmed = replace(rows, seq_lens=seq_lens, block_table=table, firsts=firsts if firsts.any() else None)
    return _Planner(shape, trimmed, pages * size).work()


class _Planner:
    def __init__(self, shape: PoolShape, rows: Ragged, skips: IntArray) -> None:
        """`skips`: [B], entries at each row's beginning that are not among `rows`, though masks count them."""
        self._shape, self._rows, self._skips = shape, rows, skips
        self._starts = rows.starts
        self._head_of_page = np.arange(2 * shape.kv_heads).reshape(2, 1, shape.kv_heads, 1) * shape.pages
        self._seen: BoolArray | None = None
        self._masked = np.zeros(len(rows.seq_lens), np.bool_)
        if rows.masks is not None and rows.mask_of is not None:
            bits = np.unpackbits(rows.masks.astype("<u4").view(np.uint8), axis=1, bitorder="little")
            self._seen = bits.view(np.bool_)
            self._masked = np.maximum.reduceat(rows.mask_of[: rows.query_lens.sum()], self._starts) >= 0

    def work(self) -> Work:
        work, rows = Work(), self._rows
        queries, entries = rows.query_lens, rows.seq_lens
        decodes = (queries == 1) & ~self._masked
        fresh = (queries > 1) & (queries == entries) & (queries <= FRESH_QUERIES) & ~self._masked & self._see_first()
        appends = ~decodes & ~fresh & (queries <= APPEND_QUERIES)
        self._decodes(work, np.flatnonzero(decodes))
        self._appends(work, np.flatnonzero(appends))
        self._fresh(work, np.flatnonzero(fresh))
        work.long = [self._long(i) for i in np.flatnonzero(~decodes & ~fresh & ~appends).tolist()]
        return work

    def _see_first(self) -> BoolArray:
        """[B]: whether the windows of all of a row's queries reach its first entry."""
        rows = self._rows
        if rows.firsts is None:
            return np.ones(len(rows.query_lens), np.bool_)
        return rows.firsts[self._starts + rows.query_lens - 1] == 0

    def _decodes(self, work: Work, which: IntArray) -> None:
        which = self._shared(work, which)
        rows, together = self._rows, list[int]()
        for i in which.tolist():
            entries = int(rows.seq_lens[i])
            start = None
            if entries > IN_PLACE_ENTRIES or len(which) <= 2:
                start = self._consecutive(rows.block_table[i], entries)
            if start is not None:
                hidden = 0 if rows.firsts is None else int(rows.firsts[self._starts[i]])
                work.in_place.append(InPlace(int(self._starts[i]), start + hidden, entries - hidden))
            else:
                together.append(i)
        work.gathered += [self._gather(np.array(group), 0) for group in self._groups(together, 0)]

    def _appends(self, work: Work, which: IntArray) -> None:
        which = self._shared(work, which)
        rows = self._rows
        order = which[np.lexsort((-rows.seq_lens[which], -rows.query_lens[which]))]
        work.gathered += [self._gather(np.array(group), 0) for group in self._groups(order.tolist(), 0)]

    def _shared(self, work: Work, which: IntArray) -> IntArray:
        """Plan the rows that begin with common pages; the others are returned."""
        rows, size = self._rows, self._shape.page_size
        able = self._see_first()[which]
        first_pages, counts = np.unique(rows.block_table[which[able], 0], return_counts=True)
        alone = np.ones(len(which), np.bool_)
        for page in first_pages[counts > 1].tolist():
            group = which[able & (rows.block_table[which, 0] == page)]
            pages = self._common_pages(group)
            if pages * size < SHARED_ENTRIES:
                continue
            alone[np.isin(which, group)] = False
            prefix = self._keys(rows.block_table[group[0]], pages * size)
            order = group[np.lexsort((-rows.seq_lens[group], -rows.query_lens[group]))]
            for part in self._groups(order.tolist(), pages):
                gathered = self._gather(np.array(part), pages)
                gathered.prefix = prefix
                work.gathered.append(gathered)
        return which[alone]

    def _common_pages(self, group: IntArray) -> int:
        """Full pages that all of these rows begin with, before any of their queries, and that all of them see."""
        rows, size = self._rows, self._shape.page_size
        context = int((rows.seq_lens[group] - rows.query_lens[group]).min())
        for i in group[self._masked[group]].tolist():
            hidden = self._hidden(i, 0, context).any(0)
            context = int(hidden.argmax()) if hidden.any() else context
        table = rows.block_table[group, : context // size]
        return int((table == table[0]).all(0).cumprod().sum())

    def _hidden(self, i: int, begin: int, end: int) -> BoolArray:
        """[queries, end - begin]: which of these entries the masks of a row hide."""
        rows, seen = self._rows, self._seen
        assert seen is not None
        assert rows.mask_of is not None
        queries, first, skip = int(rows.query_lens[i]), int(self._starts[i]), int(self._skips[i])
        masks = rows.mask_of[first : first + queries]
        hidden = np.zeros((queries, end - begin), np.bool_)
        known = seen[masks[masks >= 0], skip + begin : skip + end]
        hidden[masks >= 0] = True
        hidden[masks >= 0, : known.shape[1]] = ~known
        own = int(rows.seq_lens[i]) - queries + np.arange(queries) - begin
        inside = np.flatnonzero((own >= 0) & (own < end - begin))
        hidden[inside, own[inside]] = False
        return hidden

    def _fresh(self, work: Work, which: IntArray) -> None:
        rows, starts = self._rows, self._starts
        order = which[np.argsort(-rows.query_lens[which], kind="stable")].tolist()
        while order:
            longest = int(rows.query_lens[order[0]])
            group = [i for i in order if rows.query_lens[i] * 4 >= longest * 3]  # at most a quarter is padding
            order = order[len(group) :]
            first, n = int(starts[group[0]]), len(group)
            packed = starts[group].tolist() == list(range(first, first + n * longest, longest))
            if packed and int(rows.query_lens[group[-1]]) == longest:
                work.fresh.append(Fresh(first, n, longest, None, None))
            else:
                work.fresh.append(Fresh(0, n, longest, *_padded(starts[group], rows.query_lens[group])))

    def _groups(self, which: list[int], skip: int) -> list[list[int]]:
        """Neighbours of similar size whose gathered keys and values, without `skip` pages, stay within GATHER_BYTES."""
        s, rows = self._shape, self._rows
        groups: list[list[int]] = []
        widest, last = 0, -2
        for i in which:
            pages, queries = -(-int(rows.seq_lens[i]) // s.page_size) - skip, int(rows.query_lens[i])
            group = groups[-1] if groups else []
            wider = max(widest, pages)
            size = (len(group) + 1) * wider * s.page_size * s.kv_heads * s.head_dim * 8
            adjacent = queries > 1 or skip > 0 or last == i - 1
            even = 2 * pages >= widest and (
                queries == 1 or 2 * queries > int(rows.query_lens[group[0]]) if group else True
            )
            if group and size <= GATHER_BYTES and adjacent and even:
                group.append(i)
                widest = wider
            else:
                groups.append([i])
                widest = pages
            last = i
        return groups

    def _gather(self, which: IntArray, skip: int) -> Gathered:
        """`skip`: pages at the rows' beginning that are not gathered."""
        rows, size = self._rows, self._shape.page_size
        queries, entries = rows.query_lens[which], rows.seq_lens[which] - skip * size
        pages = -(-int(entries.max()) // size)
        most, width = int(queries.max()), pages * size
        table = rows.block_table[which, skip : skip + pages]
        blocks = torch.from_numpy((self._head_of_page + table[None, :, None, :]).reshape(-1))
        at = (entries - queries)[:, None] + np.arange(most)  # each query's own entry
        hidden = np.arange(width) > at[:, :, None]
        if rows.firsts is not None:
            cells = self._starts[which][:, None] + np.minimum(np.arange(most), queries[:, None] - 1)
            hidden |= np.arange(width) < rows.firsts[cells][:, :, None]  # 0 if pages are skipped
        masked = self._masked[which]
        for n in np.flatnonzero(masked).tolist():
            hidden[n, : queries[n]] |= self._hidden(which[n], skip * size, skip * size + width)
        mask = torch.from_numpy(hidden)[:, None, :, None].float().mul_(HIDDEN)
        first = int(self._starts[which[0]])
        group = Gathered(first, len(which), most, width, blocks, mask)
        if most > 1 or skip or masked.any():
            group.index, group.valid = _padded(self._starts[which], queries)
        return group

    def _long(self, i: int) -> Long:
        rows, entries = self._rows, int(self._rows.seq_lens[i])
        keys = self._keys(rows.block_table[i], entries)
        first, queries = int(self._starts[i]), int(rows.query_lens[i])
        firsts = None if rows.firsts is None else torch.from_numpy(rows.firsts[first : first + queries])
        hidden = torch.from_numpy(self._hidden(i, 0, entries)) if self._masked[i] else None
        return Long(first, queries, keys, firsts, hidden)

    def _keys(self, pages: IntArray, entries: int) -> Keys:
        start = self._consecutive(pages, entries)
        if start is not None:
            return Keys(entries, start, None)
        table = pages[: -(-entries // self._shape.page_size)]
        return Keys(entries, None, torch.from_numpy((self._head_of_page + table[None, None, None, :]).reshape(-1)))

    def _consecutive(self, pages: IntArray, entries: int) -> int | None:
        """Where the entries begin in a head's matrix, if their pages follow one another."""
        size = self._shape.page_size
        used = pages[: -(-entries // size)]
        return int(used[0]) * size if bool((np.diff(used) == 1).all()) else None


def _padded(starts: IntArray, lengths: IntArray) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Places of ragged queries in a rectangle: the query for each cell (the row's last where there is none), and which
    cells are true ones, if not all."""
    longest = int(lengths.max())
    column = np.arange(longest)
    index = starts[:, None] + np.minimum(column, lengths[:, None] - 1)
    true = (column < lengths[:, None]).reshape(-1)
    valid = None if bool(true.all()) else torch.from_numpy(np.flatnonzero(true))
    return torch.from_numpy(index.reshape(-1)), valid
