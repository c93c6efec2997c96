"""Files on an engine, kept by hand: page tables, extract, append-from; and what transformers says of the same.

The reference takes semantics 6 literally: each text is computed in a context of its own; the kept entries' keys, turned
to their new positions, become the cache of whatever follows, which sees nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
        self.positions: list[int] = []
        """Of the entries up to the last copied one."""

    def row(self, tokens: Sequence[int], outputs: Sequence[int] = ()) -> Row:
        start, position = self.length, self.next
        self._grow(len(tokens))
        self.next += len(tokens)
        if not self.derived:
            return Row(tokens, start, list(self.pages), outputs, ASK)
        return Row(tokens, start, list(self.pages), outputs, ASK, position=position, earlier=self.positions)

    def position(self, entry: int) -> int:
        """Of an entry that is there."""
        return self.positions[entry] if entry < len(self.positions) else self.next - (self.length - entry)

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
        """Append ranges of another file's entries, each moved on by a shift; the copies for the next batch."""
        copies: list[EntryCopy] = []
        size = self.pool.size
        for (start, end), shift in zip(ranges, shifts, strict=True):
            at = self.length
            self.positions = [self.position(i) for i in range(at)]
            self.positions += [other.position(i) + shift for i in range(start, end)]
            self.next = self.positions[-1] + 1
            self._grow(end - start)
            while start < end:
                count = min(end - start, size - start % size, size - at % size)
                copies.append(
                    EntryCopy(other.pages[start // size], start % size, self.pages[at // size], at % size, count, shift)
                )
                start, at = start + count, at + count
        self.derived = True
        return copies

    def _grow(self, count: int) -> None:
        self.length += count
        while len(self.pages) * self.pool.size < self.length:
            self.pages.append(self.pool.page())


class Part(NamedTuple):
    """Entries of each layer: keys and values, [1, kv_heads, entries, head_dim]; and the position of the first."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    position: int = 0


class Reference:
    """transformers on the same weights, its cache edited by hand. All layers have the same window, or none has."""

    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import AutoModelForCausalLM

            self._model = AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32).eval()
        self._window = getattr(self._model.config, "sliding_window", None)
        self._frequencies = self._model.model.rotary_emb.inv_freq.double()

    @torch.inference_mode()
    def cache(self, tokens: Sequence[int]) -> Part:
        """A text of its own."""
        from transformers import DynamicCache

        found = DynamicCache()  # keeps everything, whatever the window
        self._run([tokens], past_key_values=found)
        return Part([(layer.keys, layer.values) for layer in found.layers])

    def _run(self, ids: Sequence[Sequence[int]], **more: Any) -> Any:
        with warnings.catch_warnings():  # newer releases call the argument `cache`
            warnings.simplefilter("ignore")
            return self._model(torch.tensor(ids), use_cache=True, **more)

    def part(self, cache: Part, start: int, end: int, shift: int) -> Part:
        """Entries of a cache, `shift` positions on."""
        angles = torch.cat([self._frequencies * shift] * 2)  # this format pairs the halves of a head
        cos, sin = angles.cos().float(), angles.sin().float()

        def turn(keys: torch.Tensor) -> torch.Tensor:
            first, second = keys.chunk(2, -1)
            return keys * cos + torch.cat([-second, first], -1) * sin

        return Part([(turn(k[:, :, start:end]), v[:, :, start:end]) for k, v in cache.layers], start + shift)

    @torch.inference_mode()
    def after(self, parts: Sequence[Part], tokens: Sequence[int], position: int) -> torch.Tensor:
        """Log-probabilities [tokens, vocab] of a text that sees the parts, in this order, and itself."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, pairs in enumerate(zip(*(part.layers for part in parts), strict=True)):
            cache.update(torch.cat([k for k, _ in pairs], 2), torch.cat([v for _, v in pairs], 2), layer)
        before, count = cache.get_seq_length(), len(tokens)
        at = torch.arange(position, position + count)
        earlier = [torch.arange(part.position, part.position + part.layers[0][0].shape[2]) for part in parts]
        sees = torch.ones(count, before + count).tril(before).bool() & self._near(at, torch.cat([*earlier, at]))
        out = self._run([tokens], attention_mask=_hidden(sees), position_ids=at[None], past_key_values=cache)
        return out.logits[0].log_softmax(-1)

    def _near(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """[queries, keys], of positions: what the window lets see."""
        return queries[:, None] - keys < (self._window or 1 << 40)

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
        positions = torch.cat([torch.arange(n) for n in lengths] + [torch.arange(at, at + len(tokens))])
        everything = [token for text in texts for token in text] + list(tokens)
        sees &= self._near(positions, positions)
        out = self._run([everything], attention_mask=_hidden(sees), position_ids=positions[None])
        return out.logits[0, -len(tokens) :].log_softmax(-1)


def _hidden(sees: torch.Tensor) -> torch.Tensor:
    """[1, 1, queries, keys], added to scores."""
    return torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]
