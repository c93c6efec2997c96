"""Files on an engine, kept by hand: page tables, extract, append-from; and what transformers says of the same.

The reference takes semantics 6 literally: each text is computed in a context of its own; the kept entries' keys, turned
to their new positions, become the cache of whatever follows, which sees nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, EntryCopy, Readings, Row

PROBE = tuple(range(0, 4096, 7))
ASK = Readings(sample=GREEDY, logprobs=PROBE)


class Pool:
    """Hands out an engine's pages, neighbours apart, and runs batches on it."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine
        self.size = engine.info.page_size
        ids = range(1, engine.info.pages)
        self._free = iter([*ids[::2], *ids[1::2]])

    def page(self) -> int:
        return next(self._free)

    def run(self, rows: Sequence[Row], **parts: Any) -> list[Any]:
        results = self.engine.run(Batch(list(rows), **parts))
        assert [r.error for r in results] == [None] * len(rows)
        return [list(r.readings) for r in results]


class File:
    """One file. `next`: the position of the next entry; a file is derived once it got entries from elsewhere."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.pages: list[int] = []
        self.length = 0
        self.next = 0
        self.derived = False

    def row(self, tokens: Sequence[int], outputs: Sequence[int] = ()) -> Row:
        start, position = self.length, self.next
        self._grow(len(tokens))
        self.next += len(tokens)
        return Row(tokens, start, list(self.pages), outputs, ASK, position=position if self.derived else -1)

    def pred(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append; the log-probabilities [tokens, PROBE] after each."""
        [readings] = self.pool.run([self.row(tokens, range(len(tokens)))])
        return torch.tensor([r.logprobs for r in readings])

    def greedy(self, token: int, count: int) -> tuple[list[int], torch.Tensor]:
        """Append `token`, then `count` most probable ones; and the log-probabilities behind the choices."""
        out: list[int] = []
        logprobs: list[Sequence[float]] = []
        for _ in range(count):
            [[reading]] = self.pool.run([self.row([token], (0,))])
            token = reading.sampled
            out.append(token)
            logprobs.append(reading.logprobs)
        return out, torch.tensor(logprobs)

    def take(self, other: File, ranges: Sequence[tuple[int, int]], shifts: Sequence[int]) -> list[EntryCopy]:
        """Append ranges of another plain file's entries, each moved on by a shift; the copies for the next batch."""
        copies: list[EntryCopy] = []
        size = self.pool.size
        for (start, end), shift in zip(ranges, shifts, strict=True):
            at = self.length
            self._grow(end - start)
            while start < end:
                count = min(end - start, size - start % size, size - at % size)
                copies.append(
                    EntryCopy(other.pages[start // size], start % size, self.pages[at // size], at % size, count, shift)
                )
                start, at = start + count, at + count
            self.next = max(self.next, end + shift)
        self.derived = True
        return copies

    def _grow(self, count: int) -> None:
        self.length += count
        while len(self.pages) * self.pool.size < self.length:
            self.pages.append(self.pool.page())


class Reference:
    """transformers on the same weights, its cache edited by hand."""

    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import LlamaForCausalLM

            self._model = LlamaForCausalLM.from_pretrained(str(directory), dtype=torch.float32).eval()
        self._frequencies = self._model.model.rotary_emb.inv_freq.double()

    @torch.inference_mode()
    def cache(self, tokens: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each layer's keys and values, [1, kv_heads, tokens, head_dim], of a text of its own."""
        found = self._model(torch.tensor([tokens]), use_cache=True).past_key_values
        return [(layer.keys, layer.values) for layer in found.layers]

    def part(
        self, cache: list[tuple[torch.Tensor, torch.Tensor]], start: int, end: int, shift: int
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Entries of a cache, `shift` positions on."""
        angles = torch.cat([self._frequencies * shift] * 2)  # this format pairs the halves of a head
        cos, sin = angles.cos().float(), angles.sin().float()

        def turn(keys: torch.Tensor) -> torch.Tensor:
            first, second = keys.chunk(2, -1)
            return keys * cos + torch.cat([-second, first], -1) * sin

        return [(turn(k[:, :, start:end]), v[:, :, start:end]) for k, v in cache]

    @torch.inference_mode()
    def after(
        self, parts: Sequence[list[tuple[torch.Tensor, torch.Tensor]]], tokens: Sequence[int], position: int
    ) -> torch.Tensor:
        """Log-probabilities [tokens, vocab] of a text that sees the parts, in this order, and itself."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, pairs in enumerate(zip(*parts, strict=True)):
            cache.update(torch.cat([k for k, _ in pairs], 2), torch.cat([v for _, v in pairs], 2), layer)
        before, count = cache.get_seq_length(), len(tokens)
        hidden = torch.full((count, before + count), torch.finfo(torch.float32).min).triu(before + 1)
        ids = torch.arange(position, position + count)[None]
        with warnings.catch_warnings():  # newer releases call the argument `cache`
            warnings.simplefilter("ignore")
            out = self._model(
                torch.tensor([tokens]), attention_mask=hidden[None, None], position_ids=ids, past_key_values=cache
            )
        return out.logits[0].log_softmax(-1)

    @torch.inference_mode()
    def masked(
        self, texts: Sequence[Sequence[int]], kept: Sequence[Sequence[tuple[int, int]]], tokens: Sequence[int], at: int
    ) -> torch.Tensor:
        """The same at kept positions without touching a cache: all in one run, under a mask.

        Each text sees itself only; `tokens`, from position `at` on, see the kept ranges of the texts and themselves.
        """
        lengths = [len(text) for text in texts]
        total = sum(lengths) + len(tokens)
        sees = torch.zeros(total, total, dtype=torch.bool)
        first = 0
        for length, ranges in zip(lengths, kept, strict=True):
            sees[first : first + length, first : first + length] = torch.ones(length, length).tril().bool()
            for start, end in ranges:
                sees[-len(tokens) :, first + start : first + end] = True
            first += length
        sees[-len(tokens) :, -len(tokens) :] = torch.ones(len(tokens), len(tokens)).tril().bool()
        mask = torch.zeros(total, total).masked_fill(~sees, torch.finfo(torch.float32).min)
        positions = torch.cat([torch.arange(n) for n in lengths] + [torch.arange(at, at + len(tokens))])
        everything = [token for text in texts for token in text] + list(tokens)
        out = self._model(torch.tensor([everything]), attention_mask=mask[None, None], position_ids=positions[None])
        return out.logits[0, -len(tokens) :].log_softmax(-1)
