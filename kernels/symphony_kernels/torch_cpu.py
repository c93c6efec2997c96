"""Paged attention on a CPU: by the native operation where that can be had (`native/`), else in torch.

In torch, rows are sorted into four kinds, each computed the way that measured best:

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
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit

from symphony_kernels import cpu_plan
from symphony_kernels.cpu_plan import HIDDEN, Fresh, Gathered, InPlace, Keys, Long, Work
from symphony_kernels.entries import parts
from symphony_kernels.interface import IntArray, PoolShape, Ragged
from symphony_kernels.native.operation import NativePlan, open_native
from symphony_kernels.onednn import product

MOVED_PAGES = 64
"""Most pages that are saved or loaded at a time."""
BLOCK_QUERIES = 256
"""Queries of a long row that are computed at a time."""


@dataclass(slots=True)
class _Plan:
    rope: torch.Tensor
    """[T, 1, head_dim / 2], complex."""
    slots: torch.Tensor
    """[T * 2 * kv_heads]: places in the pool's list of entries."""
    full: Work
    windowed: Work | None


class CpuAttention:
    """See `interface.PagedAttention`."""

    def __init__(self, shape: PoolShape, rope: torch.Tensor, scale: float, native: bool = True) -> None:
        """`rope`: [positions, head_dim / 2, 2] fp32, cosine and sine. `scale` multiplies the scores. `native`: use the
        native operation if it can be had."""
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
        self._native = open_native(shape, rope, scale) if native else None
        self.name = "torch" if self._native is None else "torch, native"

    def plan(self, rows: Ragged) -> _Plan | NativePlan:
        if self._native is not None:
            return self._native.plan(rows)
        slots = torch.from_numpy(rows.slots)[:, None] + self._head_of_slot
        windowed = None if rows.firsts is None else cpu_plan.windowed(self.shape, rows, rows.firsts)
        full = cpu_plan.full(self.shape, rows)
        return _Plan(self.rope[torch.from_numpy(rows.positions)], slots.flatten(), full, windowed)

    # ---- a layer ---------------------------------------------------------------------------------------------------

    def write(self, layer: int, qkv: torch.Tensor, plan: _Plan | NativePlan) -> None:
        if isinstance(plan, NativePlan):
            assert self._native is not None
            self._native.write(self.pool[layer], qkv, plan)
            return
        s = self.shape
        turned = qkv[:, : s.heads + s.kv_heads].unflatten(-1, (s.head_dim // 2, 2))
        torch.view_as_complex(turned).mul_(plan.rope)
        self._entries[layer].index_copy_(0, plan.slots, qkv[:, s.heads :].reshape(-1, s.head_dim))

    def attend(self, layer: int, qkv: torch.Tensor, plan: _Plan | NativePlan, windowed: bool = False) -> torch.Tensor:
        if isinstance(plan, NativePlan):
            assert self._native is not None
            return self._native.attend(self.pool[layer], qkv, plan, windowed)
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

    def _attend_gathered(self, layer: int, qkv: torch.Tensor, g: Gathered) -> torch.Tensor:
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
        self, layer: int, q: torch.Tensor, prefix: Keys, scores: torch.Tensor, values: torch.Tensor
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

    def _read(self, layer: int, keys: Keys) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, [kv_heads, entries, head_dim] each."""
        s = self.shape
        if keys.blocks is None:
            assert keys.start is not None
            both = self._heads[layer][:, :, keys.start : keys.start + keys.entries]
        else:
            both = self._blocks[layer].index_select(0, keys.blocks).view(2, s.kv_heads, -1, s.head_dim)
        return both[0, :, : keys.entries], both[1, :, : keys.entries]

    def _attend_in_place(self, layer: int, qkv: torch.Tensor, row: InPlace, out: torch.Tensor) -> None:
        s = self.shape
        keys, values = self._heads[layer][:, :, row.start : row.start + row.entries]
        q = qkv[row.query, : s.heads].view(s.kv_heads, s.group, s.head_dim)
        weights = torch.softmax(torch.bmm(q, keys.transpose(1, 2)), -1)
        torch.bmm(weights, values, out=out[row.query].view(s.kv_heads, s.group, s.head_dim))

    def _attend_fresh(self, qkv: torch.Tensor, rows: Fresh) -> torch.Tensor:
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

    def _scatter(self, out: torch.Tensor, result: torch.Tensor, group: Gathered | Fresh) -> None:
        count = group.rows * group.queries
        if group.index is None:
            out[group.first : group.first + count].view_as(result).copy_(result)
        elif group.valid is None:
            out.index_copy_(0, group.index, result.reshape(count, *out.shape[1:]))
        else:
            kept = result.reshape(count, *out.shape[1:]).index_select(0, group.valid)
            out.index_copy_(0, group.index.index_select(0, group.valid), kept)

    def _attend_long(self, layer: int, qkv: torch.Tensor, row: Long, out: torch.Tensor) -> None:
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
                if row.hidden is not None:
                    by_query.masked_fill_(row.hidden[a : a + n, None, begin:end], HIDDEN)
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
        for part in parts(sources, targets, cpu_plan.GATHER_BYTES // (8 * s.kv_heads * s.head_dim)):
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


def _before(firsts: torch.Tensor) -> torch.Tensor:
    """[n, 1, last of `firsts`]: HIDDEN before each query's first entry."""
    hidden = torch.arange(int(firsts[-1])) < firsts[:, None]
    return hidden.float().mul_(HIDDEN)[:, None]


def _upper(n: int) -> torch.Tensor:
    """[n, 1, n]: HIDDEN above the diagonal."""
    return torch.full((n, n), HIDDEN).triu_(1)[:, None]
