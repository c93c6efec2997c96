"""Paged attention on a CPU, in torch, without a Python loop a token or a decoding sequence.

Rows are sorted into four kinds, each computed the way that measured best:

    decodes   one query           gathered pages, one batched product for many rows
    appends   few queries         the same, padded to the longest
    fresh     no context, short   torch's fused attention on the new keys themselves, padded to the longest
    long      anything else       a row at a time: blocks of queries against the row's keys, oneDNN products

Decodes and appends that begin with the same pages read those once, for all of them, and merge the two parts by their
log-sum-exp. A row whose pages are consecutive is read in place. Windowed layers have a plan of their own, over rows
without the pages that no query sees any more. Bounded temporaries: above some MiB page faults cost more than a second
product. fp32 only. Layout and words: `interface`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit

from symphony_kernels.entries import parts
from symphony_kernels.interface import IntArray, PoolShape, Ragged
from symphony_kernels.onednn import product

HIDDEN = -1e30
"""Added to the scores of entries that a query must not see."""
GATHER_BYTES = 8 << 20
"""Most bytes of gathered keys and values at a time."""
MOVED_PAGES = 64
"""Most pages that are saved or loaded at a time."""
IN_PLACE_ENTRIES = 320
"""From this length on, a decoding row with consecutive pages is read in place."""
SHARED_ENTRIES = 64
"""Fewest common entries that rows attend to together."""
APPEND_QUERIES = 64
"""Most queries of a row that is gathered together with others."""
FRESH_QUERIES = 320
"""Most queries of a row for torch's fused attention: beyond it two oneDNN products are faster."""
BLOCK_QUERIES = 256
"""Queries of a long row that are computed at a time."""


@dataclass(slots=True)
class _Keys:
    """Entries `[0, entries)` of a sequence, in place or from pages."""

    entries: int
    start: int | None
    """First key's place in a head's matrix, if the pages are consecutive."""
    blocks: torch.Tensor | None
    """[2 * kv_heads * pages]: places in the pool's list of blocks, otherwise."""


@dataclass(slots=True)
class _Gathered:
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
    prefix: _Keys | None = None
    """Entries that all rows have in common, and all queries see; `entries` are those after them."""


@dataclass(slots=True)
class _InPlace:
    """A long decoding row with consecutive pages."""

    query: int
    start: int
    """First key's place in a head's matrix."""
    entries: int


@dataclass(slots=True)
class _Fresh:
    """Rows without context."""

    first: int
    rows: int
    queries: int
    index: torch.Tensor | None
    """[rows * queries] if they do not lie one after another with equal lengths."""
    valid: torch.Tensor | None


@dataclass(slots=True)
class _Long:
    """One row with many queries."""

    first: int
    queries: int
    keys: _Keys
    firsts: torch.Tensor | None
    """[queries]: the first entry that each one sees; None: the first there is."""


@dataclass(slots=True)
class _Work:
    """What to compute in a layer."""

    gathered: list[_Gathered] = field(default_factory=list)
    in_place: list[_InPlace] = field(default_factory=list)
    fresh: list[_Fresh] = field(default_factory=list)
    long: list[_Long] = field(default_factory=list)


@dataclass(slots=True)
class _Plan:
    rope: torch.Tensor
    """[T, 1, head_dim / 2], complex."""
    slots: torch.Tensor
    """[T * 2 * kv_heads]: places in the pool's list of entries."""
    full: _Work
    windowed: _Work | None


class CpuAttention:
    """See `interface.PagedAttention`."""

    name = "torch"

    def __init__(self, shape: PoolShape, rope: torch.Tensor, scale: float) -> None:
        """`rope`: [positions, head_dim / 2, 2] fp32, cosine and sine. `scale` multiplies the scores."""
        self.shape = shape
        self.scale = scale
        self.rope = torch.view_as_complex(rope.contiguous())[:, None]
        s = shape
        size = (2, s.kv_heads, s.pages, s.page_size, s.head_dim)
        # numpy's zeros are untouched memory of the operating system's: a page costs nothing until it is used.
        self.pool = [torch.from_numpy(np.zeros(size, np.float32)) for _ in range(s.layers)]
        self._entries = [p.view(-1, s.head_dim) for p in self.pool]
        self._blocks = [p.view(-1, s.page_size * s.head_dim) for p in self.pool]
        self._heads = [p.view(2, s.kv_heads, s.pages * s.page_size, s.head_dim) for p in self.pool]
        self._head_of_slot = torch.arange(2 * s.kv_heads) * (s.pages * s.page_size)
        self._head_of_page = np.arange(2 * s.kv_heads).reshape(2, 1, s.kv_heads, 1) * s.pages

    # ---- planning --------------------------------------------------------------------------------------------------

    def plan(self, rows: Ragged) -> _Plan:
        slots = torch.from_numpy(rows.slots)[:, None] + self._head_of_slot
        full = self._work(replace(rows, firsts=None))
        windowed = None if rows.firsts is None else self._work(self._trimmed(rows, rows.firsts))
        return _Plan(self.rope[torch.from_numpy(rows.positions)], slots.flatten(), full, windowed)

    def _trimmed(self, rows: Ragged, firsts: IntArray) -> Ragged:
        """The rows without the pages that none of their queries sees."""
        size = self.shape.page_size
        pages = firsts[rows.starts] // size
        seq_lens = rows.seq_lens - pages * size
        places = np.arange(-(-int(seq_lens.max()) // size)) + pages[:, None]
        table = np.take_along_axis(rows.block_table, np.minimum(places, rows.block_table.shape[1] - 1), 1)
        firsts = firsts[: rows.query_lens.sum()] - np.repeat(pages * size, rows.query_lens)
        return replace(rows, seq_lens=seq_lens, block_table=table, firsts=firsts if firsts.any() else None)

    def _work(self, rows: Ragged) -> _Work:
        plan = _Work()
        queries, entries = rows.query_lens, rows.seq_lens
        decodes = queries == 1
        fresh = ~decodes & (queries == entries) & (queries <= FRESH_QUERIES) & self._see_all(rows)
        appends = ~decodes & ~fresh & (queries <= APPEND_QUERIES)
        self._plan_decodes(plan, rows, np.flatnonzero(decodes))
        self._plan_appends(plan, rows, np.flatnonzero(appends))
        self._plan_fresh(plan, rows, np.flatnonzero(fresh))
        for i in np.flatnonzero(~decodes & ~fresh & ~appends).tolist():
            plan.long.append(self._long(rows, i))
        return plan

    def _see_all(self, rows: Ragged) -> npt.NDArray[np.bool_]:
        """[B]: whether all of a row's queries see its first entry."""
        if rows.firsts is None:
            return np.ones(len(rows.query_lens), np.bool_)
        return rows.firsts[rows.starts + rows.query_lens - 1] == 0

    def _plan_decodes(self, plan: _Work, rows: Ragged, which: IntArray) -> None:
        which = self._plan_shared(plan, rows, which)
        together: list[int] = []
        starts = rows.starts
        for i in which.tolist():
            entries = int(rows.seq_lens[i])
            start = None
            if entries > IN_PLACE_ENTRIES or len(which) <= 2:
                start = self._consecutive(rows.block_table[i], entries)
            if start is not None:
                hidden = 0 if rows.firsts is None else int(rows.firsts[starts[i]])
                plan.in_place.append(_InPlace(int(starts[i]), start + hidden, entries - hidden))
            else:
                together.append(i)
        for group in self._groups(rows, together, 0):
            plan.gathered.append(self._gather(rows, np.array(group), 0))

    def _plan_appends(self, plan: _Work, rows: Ragged, which: IntArray) -> None:
        which = self._plan_shared(plan, rows, which)
        order = which[np.lexsort((-rows.seq_lens[which], -rows.query_lens[which]))]
        for group in self._groups(rows, order.tolist(), 0):
            plan.gathered.append(self._gather(rows, np.array(group), 0))

    def _plan_shared(self, plan: _Work, rows: Ragged, which: IntArray) -> IntArray:
        """Plan the rows that begin with common pages; the others are returned."""
        see_all = self._see_all(rows)[which]
        alone, which = which[~see_all].tolist(), which[see_all]
        first_pages = rows.block_table[which, 0]
        for page in np.unique(first_pages).tolist():
            group = which[first_pages == page]
            pages = self._common_pages(rows, group) if len(group) > 1 else 0
            if pages * self.shape.page_size < SHARED_ENTRIES:
                alone += group.tolist()
                continue
            prefix = self._keys(rows.block_table[group[0]], pages * self.shape.page_size)
            order = group[np.lexsort((-rows.seq_lens[group], -rows.query_lens[group]))]
            for part in self._groups(rows, order.tolist(), pages):
                gathered = self._gather(rows, np.array(part), pages)
                gathered.prefix = prefix
                plan.gathered.append(gathered)
        return np.sort(np.array(alone, np.int64))

    def _common_pages(self, rows: Ragged, group: IntArray) -> int:
        """Full pages that all of these rows begin with, before any of their queries."""
        context = int((rows.seq_lens[group] - rows.query_lens[group]).min()) // self.shape.page_size
        table = rows.block_table[group, :context]
        return int((table == table[0]).all(0).cumprod().sum())

    def _plan_fresh(self, plan: _Work, rows: Ragged, which: IntArray) -> None:
        starts, order = rows.starts, which[np.argsort(-rows.query_lens[which], kind="stable")].tolist()
        while order:
            longest = int(rows.query_lens[order[0]])
            group = [i for i in order if rows.query_lens[i] * 4 >= longest * 3]  # at most a quarter is padding
            order = order[len(group) :]
            first, n = int(starts[group[0]]), len(group)
            packed = starts[group].tolist() == list(range(first, first + n * longest, longest))
            if packed and int(rows.query_lens[group[-1]]) == longest:
                plan.fresh.append(_Fresh(first, n, longest, None, None))
            else:
                plan.fresh.append(_Fresh(0, n, longest, *_padded(starts[group], rows.query_lens[group])))

    def _groups(self, rows: Ragged, which: list[int], skip: int) -> list[list[int]]:
        """Neighbours of similar size whose gathered keys and values, without `skip` pages, stay within GATHER_BYTES."""
        s = self.shape
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

    def _gather(self, rows: Ragged, which: IntArray, skip: int) -> _Gathered:
        """`skip`: pages at the rows' beginning that are not gathered."""
        queries, entries = rows.query_lens[which], rows.seq_lens[which] - skip * self.shape.page_size
        pages = -(-int(entries.max()) // self.shape.page_size)
        most, width = int(queries.max()), pages * self.shape.page_size
        table = rows.block_table[which, skip : skip + pages]
        blocks = torch.from_numpy((self._head_of_page + table[None, :, None, :]).reshape(-1))
        at = (entries - queries)[:, None] + np.arange(most)  # each query's own entry
        hidden = np.arange(width) > at[:, :, None]
        if rows.firsts is not None:
            cells = rows.starts[which][:, None] + np.minimum(np.arange(most), queries[:, None] - 1)
            hidden |= np.arange(width) < rows.firsts[cells][:, :, None]  # 0 if pages are skipped
        mask = torch.from_numpy(hidden)[:, None, :, None].float().mul_(HIDDEN)
        first = int(rows.starts[which[0]])
        group = _Gathered(first, len(which), most, width, blocks, mask)
        if most > 1 or skip:
            group.index, group.valid = _padded(rows.starts[which], queries)
        return group

    def _long(self, rows: Ragged, i: int) -> _Long:
        keys = self._keys(rows.block_table[i], int(rows.seq_lens[i]))
        first, queries = int(rows.starts[i]), int(rows.query_lens[i])
        firsts = None if rows.firsts is None else torch.from_numpy(rows.firsts[first : first + queries])
        return _Long(first, queries, keys, firsts)

    def _keys(self, table: IntArray, entries: int) -> _Keys:
        start = self._consecutive(table, entries)
        if start is not None:
            return _Keys(entries, start, None)
        pages = table[: -(-entries // self.shape.page_size)]
        return _Keys(entries, None, torch.from_numpy((self._head_of_page + pages).reshape(-1)))

    def _consecutive(self, table: IntArray, entries: int) -> int | None:
        pages = table[: -(-entries // self.shape.page_size)]
        if pages[-1] - pages[0] == len(pages) - 1 and bool((np.diff(pages) == 1).all()):
            return int(pages[0]) * self.shape.page_size
        return None

    # ---- a layer ---------------------------------------------------------------------------------------------------

    def write(self, layer: int, qkv: torch.Tensor, plan: _Plan) -> None:
        s = self.shape
        turned = qkv[:, : s.heads + s.kv_heads].unflatten(-1, (s.head_dim // 2, 2))
        torch.view_as_complex(turned).mul_(plan.rope)
        self._entries[layer].index_copy_(0, plan.slots, qkv[:, s.heads :].reshape(-1, s.head_dim))

    def attend(self, layer: int, qkv: torch.Tensor, plan: _Plan, windowed: bool = False) -> torch.Tensor:
        s = self.shape
        work = plan.windowed if windowed and plan.windowed is not None else plan.full
        tokens = qkv.shape[0]
        if self.scale != 1.0:
            qkv[:, : s.heads].mul_(self.scale)
        if len(work.gathered) == 1 and work.gathered[0].rows == tokens and work.gathered[0].index is None:
            return self._attend_gathered(layer, qkv, work.gathered[0]).view(tokens, -1)
        out = qkv.new_zeros(tokens, s.heads, s.head_dim)
        for group in work.gathered:
            self._scatter(out, self._attend_gathered(layer, qkv, group), group)
        for row in work.in_place:
            self._attend_in_place(layer, qkv, row, out)
        for rows in work.fresh:
            self._scatter(out, self._attend_fresh(qkv, rows), rows)
        for row in work.long:
            self._attend_long(layer, qkv, row, out[row.first : row.first + row.queries])
        return out.flatten(1)

    def _attend_gathered(self, layer: int, qkv: torch.Tensor, g: _Gathered) -> torch.Tensor:
        """[rows, queries, heads, head_dim]"""
        s = self.shape
        keys, values = self._blocks[layer].index_select(0, g.blocks).view(2, -1, g.entries, s.head_dim)
        if g.index is None:
            q = qkv[g.first : g.first + g.rows, : s.heads].reshape(-1, s.group, s.head_dim)
        else:
            q = qkv.index_select(0, g.index)[:, : s.heads].view(g.rows, g.queries, s.kv_heads, s.group, s.head_dim)
            q = q.transpose(1, 2).reshape(-1, g.queries * s.group, s.head_dim)
        scores = torch.bmm(q, keys.transpose(1, 2))
        scores.view(g.rows, s.kv_heads, g.queries, s.group, g.entries).add_(g.mask)
        if g.prefix is None:
            out = torch.bmm(torch.softmax(scores, -1), values)
        else:
            out = self._merge_prefix(layer, q, g.prefix, scores, values)
        if g.queries == 1:
            return out.view(g.rows, 1, s.heads, s.head_dim)
        out = out.view(g.rows, s.kv_heads, g.queries, s.group, s.head_dim).transpose(1, 2)
        return out.reshape(g.rows, g.queries, s.heads, s.head_dim)

    def _merge_prefix(
        self, layer: int, q: torch.Tensor, prefix: _Keys, scores: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """[rows * kv_heads, queries * group, head_dim]: attention to own entries and to a common prefix."""
        s = self.shape
        weights = torch.softmax(scores, -1)
        # the largest weight is exp(largest score - log-sum-exp)
        own = scores.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log_()
        out = torch.bmm(weights, values)
        keys, values = self._read(layer, prefix)
        by_head = [x.view(-1, s.kv_heads, *x.shape[1:]) for x in (q, own, out)]
        for h in range(s.kv_heads):
            q_h, own_h, out_h = (x[:, h] for x in by_head)
            scores = product(q_h.reshape(-1, s.head_dim), keys[h])
            weights = torch.softmax(scores, -1)
            common = scores.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log_()
            share = torch.sigmoid(common.view_as(own_h) - own_h)
            out_h.lerp_(product(weights, values[h].t()).view(out_h.shape), share)
        return out

    def _read(self, layer: int, keys: _Keys) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, [kv_heads, entries, head_dim] each."""
        s = self.shape
        if keys.blocks is None:
            assert keys.start is not None
            both = self._heads[layer][:, :, keys.start : keys.start + keys.entries]
        else:
            both = self._blocks[layer].index_select(0, keys.blocks).view(2, s.kv_heads, -1, s.head_dim)
        return both[0, :, : keys.entries], both[1, :, : keys.entries]

    def _attend_in_place(self, layer: int, qkv: torch.Tensor, row: _InPlace, out: torch.Tensor) -> None:
        s = self.shape
        keys, values = self._heads[layer][:, :, row.start : row.start + row.entries]
        q = qkv[row.query, : s.heads].view(s.kv_heads, s.group, s.head_dim)
        weights = torch.softmax(torch.bmm(q, keys.transpose(1, 2)), -1)
        torch.bmm(weights, values, out=out[row.query].view(s.kv_heads, s.group, s.head_dim))

    def _attend_fresh(self, qkv: torch.Tensor, rows: _Fresh) -> torch.Tensor:
        """[rows, queries, heads, head_dim]"""
        s = self.shape
        if rows.index is None:
            packed = qkv[rows.first : rows.first + rows.rows * rows.queries]
        else:
            packed = qkv.index_select(0, rows.index)
        x = packed.view(rows.rows, rows.queries, -1, s.head_dim).transpose(1, 2)
        q, k, v = x[:, : s.heads], x[:, s.heads : s.heads + s.kv_heads], x[:, s.heads + s.kv_heads :]
        grouped = s.group > 1
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0, enable_gqa=grouped)
        return out.transpose(1, 2)

    def _scatter(self, out: torch.Tensor, result: torch.Tensor, group: _Gathered | _Fresh) -> None:
        count = group.rows * group.queries
        if group.index is None:
            out[group.first : group.first + count].view_as(result).copy_(result)
        elif group.valid is None:
            out.index_copy_(0, group.index, result.reshape(count, *out.shape[1:]))
        else:
            kept = result.reshape(count, *out.shape[1:]).index_select(0, group.valid)
            out.index_copy_(0, group.index.index_select(0, group.valid), kept)

    def _attend_long(self, layer: int, qkv: torch.Tensor, row: _Long, out: torch.Tensor) -> None:
        s = self.shape
        keys, values = self._read(layer, row.keys)
        queries = qkv[row.first : row.first + row.queries, : s.heads]
        context = row.keys.entries - row.queries
        for a in range(0, row.queries, BLOCK_QUERIES):
            n = min(BLOCK_QUERIES, row.queries - a)
            begin, end = 0 if row.firsts is None else int(row.firsts[a]), context + a + n
            hidden = _upper(n)
            before = None if row.firsts is None else _before(row.firsts[a : a + n] - begin)
            for h in range(s.kv_heads):
                block = slice(h * s.group, (h + 1) * s.group)
                scores = product(queries[a : a + n, block].reshape(n * s.group, -1), keys[h, begin:end])
                by_query = scores.view(n, s.group, end - begin)
                by_query[:, :, -n:].add_(hidden)
                if before is not None:
                    by_query[:, :, : before.shape[2]].add_(before)
                weighted = product(torch.softmax(scores, -1), values[h, begin:end].t())
                out[a : a + n, block] = weighted.view(n, s.group, -1)

    # ---- pages -----------------------------------------------------------------------------------------------------

    def copy_pages(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        source, destination = torch.tensor(sources), torch.tensor(destinations)
        for pool in self.pool:
            pages = pool.flatten(0, 1)
            pages.index_copy_(1, destination, pages.index_select(1, source))

    def copy_entries(self, sources: IntArray, targets: IntArray, shifts: IntArray) -> None:
        s = self.shape
        turn = self.rope[torch.from_numpy(np.abs(shifts))]  # [N, 1, head_dim / 2]
        turn = torch.where(torch.from_numpy(shifts < 0)[:, None, None], turn.conj(), turn)
        for part in parts(sources, targets, GATHER_BYTES // (8 * s.kv_heads * s.head_dim)):
            source, target = (
                (torch.from_numpy(x[part])[:, None] + self._head_of_slot).flatten() for x in (sources, targets)
            )
            turned = torch.from_numpy(np.flatnonzero(shifts[part]))
            turns = turn[part].index_select(0, turned)
            for entries in self._entries:
                kv = entries.index_select(0, source)
                if len(turned):
                    keys = kv.view(-1, 2, s.kv_heads, s.head_dim)[:, 0]
                    moved = keys.index_select(0, turned)
                    torch.view_as_complex(moved.unflatten(-1, (-1, 2))).mul_(turns)
                    keys.index_copy_(0, turned, moved)
                entries.index_copy_(0, target, kv)

    def fill_pages(self, pages: Sequence[int], value: float) -> None:
        at = torch.tensor(pages)
        for pool in self.pool:
            pool.index_fill_(2, at, value)

    def clear_slots(self, slots: Sequence[int]) -> None:
        at = (torch.tensor(slots)[:, None] + self._head_of_slot).flatten()
        for entries in self._entries:
            entries.index_fill_(0, at, 0.0)

    def save_pages(self, pages: Sequence[int], host: torch.Tensor, places: Sequence[int]) -> None:
        for a in range(0, len(pages), MOVED_PAGES):
            source, target = torch.tensor(pages[a : a + MOVED_PAGES]), torch.tensor(places[a : a + MOVED_PAGES])
            for layer, pool in enumerate(self.pool):
                host[target, layer] = pool.index_select(2, source).permute(2, 0, 3, 1, 4)

    def load_pages(self, pages: Sequence[int], host: torch.Tensor, places: Sequence[int]) -> None:
        for a in range(0, len(pages), MOVED_PAGES):
            source, target = torch.tensor(places[a : a + MOVED_PAGES]), torch.tensor(pages[a : a + MOVED_PAGES])
            for layer, pool in enumerate(self.pool):
                pool.index_copy_(2, target, host[source, layer].permute(1, 3, 0, 2, 4))


def _padded(starts: IntArray, lengths: IntArray) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Places of ragged queries in a rectangle: the query for each cell (the row's last where there is none), and which
    cells are true ones, if not all."""
    longest = int(lengths.max())
    column = np.arange(longest)
    index = starts[:, None] + np.minimum(column, lengths[:, None] - 1)
    true = (column < lengths[:, None]).reshape(-1)
    valid = None if bool(true.all()) else torch.from_numpy(np.flatnonzero(true))
    return torch.from_numpy(index.reshape(-1)), valid


def _before(firsts: torch.Tensor) -> torch.Tensor:
    """[n, 1, last of `firsts`]: HIDDEN before each query's first entry."""
    hidden = torch.arange(int(firsts[-1])) < firsts[:, None]
    return hidden.float().mul_(HIDDEN)[:, None]


def _upper(n: int) -> torch.Tensor:
    """[n, 1, n]: HIDDEN above the diagonal."""
    return torch.full((n, n), HIDDEN).triu_(1)[:, None]
