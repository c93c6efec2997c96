"""From logits to readings: draws, log-probabilities, the most probable tokens, entropy. All rows together, on device.

Rows are sorted by what they ask for, so that nobody pays for his neighbour: greedy rows take an argmax; rows with
penalties or a temperature get a copy of their logits; only top-k and top-p rows are put in order. Results cross to the
host once. (A top-p row whose nucleus is wider than NUCLEUS tokens is the exception: whether it is must be known before
the draw, one more crossing.)

Order of a draw: allowed tokens; repetition, presence, frequency penalty; bias; temperature; top-k; top-p of what is
left; min-p; Gumbel noise. Everything is ordered by value, ties by ascending id. It knows nothing of sequences or pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from symphony.engine.messages import Reading, Readings, Sampling
from symphony.engine.noise import log_exponential, row_keys

NUCLEUS = 256
"""Tokens that are put in order for a top-p row at first."""


@dataclass(slots=True)
class Request:
    """What is asked of one row of logits."""

    readings: Readings
    entry: int
    """Index of the entry that a draw is for."""
    history: Sequence[int] = ()
    """Tokens that the repetition penalty looks at..."""
    generated: int = 0
    """...of which the last ones count for presence and frequency."""
    allowed: bytes | None = None
    """The tokens that there are for this row, one bit each, as in `Readings.allowed`."""


class Sampler:
    """Stateless but for constants on the device."""

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self._vocab = vocab_size
        self._device = device
        self._ids = torch.arange(vocab_size, dtype=torch.int32, device=device)
        self._low = (vocab_size - 1 - self._ids).long()
        self._word, self._bit = self._ids // 32, self._ids % 32

    def read(self, logits: torch.Tensor, requests: Sequence[Request]) -> list[Reading | str]:
        """Readings of each row, or what is wrong with it.

        `logits`: [len(requests), vocab] fp32; of rows that are restricted the other tokens are set to -infinity, the
        rest is not modified. Waits for the device.
        """
        return self.queue(logits, requests, Parcel(self._device)).open()

    def queue(self, logits: torch.Tensor, requests: Sequence[Request], parcel: Parcel) -> Queued:
        """The same, but queued on the device only (a top-p row may have to wait all the same): open it later. What is
        in the parcel already crosses along."""
        healthy = parcel.add(logits.sum(-1))
        self._restrict(logits, requests)
        asked = [r.readings for r in requests]
        drawing = any(a.sample is not None for a in asked)
        sampled = self._sample(logits, requests) if drawing else None
        ids = parcel.add(sampled) if sampled is not None else None
        analysed = [i for i, a in enumerate(asked) if a.top_k or a.logprobs or a.sampled_logprob or a.entropy]
        analysis = _Analysis(self, parcel, logits, sampled, asked, analysed) if analysed else None
        parcel.send()
        return Queued(asked, parcel, healthy, ids, analysis, sampled)

    def _restrict(self, logits: torch.Tensor, requests: Sequence[Request]) -> None:
        """Take the tokens that are not allowed out of the rows that say so, in place."""
        rows = [i for i, request in enumerate(requests) if request.allowed is not None]
        if not rows:
            return
        given = np.frombuffer(b"".join([requests[i].allowed or b"" for i in rows]), np.uint8).reshape(len(rows), -1)
        if self._device.type == "cpu":
            array = logits.numpy()
            for i, bits in zip(rows, given, strict=True):
                array[i][np.unpackbits(bits, count=self._vocab, bitorder="little") == 0] = -np.inf
            return
        words = torch.from_numpy(given.view(np.int32).copy()).to(self._device)
        bits = words.index_select(1, self._word).bitwise_right_shift_(self._bit).bitwise_and_(1)
        index = self._rows(rows)
        logits[index] = logits.index_select(0, index).masked_fill_(bits == 0, -math.inf)

    # ---- drawing ---------------------------------------------------------------------------------------------------

    def _sample(self, logits: torch.Tensor, requests: Sequence[Request]) -> torch.Tensor:
        """[rows] int32; rows that asked for no draw get anything, rows that cannot draw a negative number."""
        groups: dict[Callable[[torch.Tensor, list[Request]], torch.Tensor], list[int]] = {}
        greedy = False
        for i, request in enumerate(requests):
            sample = request.readings.sample
            if sample is None:
                continue
            kind = self._kind(sample) or (self._draw_greedy if request.allowed is not None else None)
            if kind is None:
                greedy = True
            else:
                groups.setdefault(kind, []).append(i)
        out = self._argmax(logits) if greedy else torch.zeros(len(requests), dtype=torch.int32, device=self._device)
        for draw, rows in groups.items():
            index = self._rows(rows)
            chosen = [requests[i] for i in rows]
            adjusted = self._adjust(logits.index_select(0, index), chosen)
            out.index_copy_(0, index, draw(adjusted, chosen).int())
        return out

    def _kind(self, s: Sampling) -> Callable[[torch.Tensor, list[Request]], torch.Tensor] | None:
        if s.temperature <= 0:
            return self._draw_greedy if s.needs_history or s.logit_bias else None
        return self._draw_ordered if 0 < s.top_k < self._vocab or s.top_p < 1 else self._draw_any

    def _argmax(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type == "cpu":  # numpy's is vectorised, torch's is not
            return torch.from_numpy(x.numpy().argmax(-1)).int()
        return x.argmax(-1).int()

    def _draw_greedy(self, x: torch.Tensor, _requests: list[Request]) -> torch.Tensor:
        return self._checked(x, self._argmax(x))

    def _draw_any(self, x: torch.Tensor, requests: list[Request]) -> torch.Tensor:
        """Rows that draw from all tokens, or from those above min-p."""
        floors = [_log(_sampling(r).min_p) for r in requests]
        if max(floors) > -math.inf:
            x.masked_fill_(x < x.amax(-1, keepdim=True) + self._column(floors), -math.inf)
        x.sub_(log_exponential(self._keys(requests), self._ids))
        return self._checked(x, self._argmax(x))

    def _draw_ordered(self, x: torch.Tensor, requests: list[Request]) -> torch.Tensor:
        """Rows that draw from their most probable tokens."""
        samples = [_sampling(r) for r in requests]
        counts = [s.top_k if 0 < s.top_k < self._vocab else self._vocab for s in samples]
        width = max([k for k in counts if k < self._vocab], default=0)
        open_rows = [i for i, k in enumerate(counts) if k == self._vocab]  # top-p alone
        if open_rows:
            width = min(max(width, NUCLEUS), self._vocab)
        total = torch.logsumexp(x, -1, keepdim=True)
        while True:
            best, ids = self.most_probable(x, width)
            kept = torch.arange(width, device=self._device) < self._column(counts, torch.int64)
            within = torch.logsumexp(best.masked_fill(~kept, -math.inf), -1, keepdim=True)
            alone = self._column([k == self._vocab for k in counts], torch.bool)
            p = (best - torch.where(alone, total, within)).exp()
            before = p.cumsum(-1) - p
            top_p = self._column([s.top_p if s.top_p < 1 else 2.0 for s in samples])
            if not open_rows or width == self._vocab:
                break
            reached = (before[:, -1:] + p[:, -1:] >= top_p)[open_rows]
            if bool(reached.all()):
                break
            width = self._vocab
        floor = best[:, :1] + self._column([_log(s.min_p) for s in samples])
        kept &= (before < top_p) & (best >= floor)
        kept[:, 0] = True
        scores = best - log_exponential(self._keys(requests), ids.int())
        scores.masked_fill_(~kept, -math.inf)
        place = self._argmax(scores)
        return self._checked(scores, place, ids.gather(1, place.long()[:, None])[:, 0])

    def _checked(self, x: torch.Tensor, place: torch.Tensor, ids: torch.Tensor | None = None) -> torch.Tensor:
        """The ids drawn; -1 where nothing was left to draw from."""
        found = x.gather(1, place.long()[:, None])[:, 0]
        chosen = place if ids is None else ids
        return torch.where(found.isfinite(), chosen, torch.full_like(chosen, -1))

    def most_probable(self, x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and ids [rows, count] of the largest, descending, ties by ascending id: exact on every device."""
        bits = (x + 0.0).view(torch.int32)  # adding 0 makes -0 and 0 one value
        ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
        best = torch.topk(ordered * (1 << 32) + self._low, count, -1).values
        ids = self._vocab - 1 - (best & 0xFFFFFFFF)
        return x.gather(1, ids), ids

    def _adjust(self, x: torch.Tensor, requests: list[Request]) -> torch.Tensor:
        """Penalties, bias and temperature, in place."""
        rows: list[int] = []
        ids: list[np.ndarray] = []
        factors: list[np.ndarray] = []
        minus: list[np.ndarray] = []
        bias: list[tuple[int, int, float]] = []
        for i, request in enumerate(requests):
            s = _sampling(request)
            if s.needs_history and len(request.history):
                tokens, counts = _counted(request)
                rows += [i] * len(tokens)
                ids.append(tokens)
                factors.append(np.full(len(tokens), s.repetition_penalty, np.float32))
                minus.append((s.presence_penalty * (counts > 0) + s.frequency_penalty * counts).astype(np.float32))
            bias += [(i, token, value) for token, value in s.logit_bias]
        if rows:
            at = (self._rows(rows), self._to(np.concatenate(ids)))
            factor, less = self._to(np.concatenate(factors)), self._to(np.concatenate(minus))
            old = x[at]
            x.index_put_(at, torch.where(old > 0, old / factor, old * factor) - less)
        if bias:
            where, tokens, values = zip(*bias, strict=True)
            at = (self._rows(where), self._rows(tokens))
            x.index_put_(at, self._to(np.array(values, np.float32)), accumulate=True)
        temperatures = [s.temperature if s.temperature > 0 else 1.0 for s in map(_sampling, requests)]
        return x.div_(self._column(temperatures))

    def _keys(self, requests: list[Request]) -> torch.Tensor:
        return row_keys([(_sampling(r).seed, r.entry) for r in requests], self._device)

    def _column(self, values: Sequence[float], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype).to(self._device, non_blocking=True)[:, None]

    def _rows(self, numbers: Sequence[int]) -> torch.Tensor:
        return self._to(np.array(numbers, np.int64))

    def _to(self, array: np.ndarray) -> torch.Tensor:
        """Without waiting for what is queued on the device."""
        return torch.from_numpy(array).to(self._device, non_blocking=True)


@dataclass(slots=True)
class Queued:
    """Readings that the device computes."""

    _asked: Sequence[Readings]
    _parcel: Parcel
    _healthy: int
    _ids: int | None
    _analysis: _Analysis | None
    sampled: torch.Tensor | None
    """[rows] int32, on the device: what was drawn; negative where nothing could be. None: nobody draws."""

    def open(self) -> list[Reading | str]:
        """Waits for the device."""
        parcel = self._parcel
        parcel.open()
        out: list[Reading | str] = []
        fine = np.isfinite(parcel[self._healthy]).tolist()
        drawn = parcel[self._ids].tolist() if self._ids is not None else []
        for i, a in enumerate(self._asked):
            if not fine[i]:
                out.append("the model computed a value that is not finite")
            elif a.sample is not None and drawn[i] < 0:
                out.append("the sampling options leave no token")
            else:
                out.append(Reading(sampled=drawn[i] if a.sample is not None else None))
        if self._analysis is not None:
            self._analysis.fill(out)
        return out


class _Analysis:
    """Readings that need the distribution itself, at temperature 1 and before penalties, for the rows that ask."""

    def __init__(
        self,
        sampler: Sampler,
        parcel: Parcel,
        logits: torch.Tensor,
        sampled: torch.Tensor | None,
        asked: Sequence[Readings],
        rows: list[int],
    ) -> None:
        """Queues the computation; `fill` is for after the parcel was opened."""
        self._parcel, self._asked, self._rows = parcel, asked, rows
        device = logits.device
        x = logits if len(rows) == len(asked) else logits.index_select(0, torch.tensor(rows, device=device))
        total = torch.logsumexp(x, -1, keepdim=True)
        self._top = self._ids = self._drawn = self._asked_for = self._entropy = None
        if widest := min(max(asked[i].top_k for i in rows), x.shape[-1]):
            values, ids = sampler.most_probable(x, widest)
            self._top, self._ids = parcel.add(values - total), parcel.add(ids.int())
        if any(asked[i].logprobs for i in rows):
            where = [n for n, i in enumerate(rows) for _ in asked[i].logprobs]
            tokens = [t for i in rows for t in asked[i].logprobs]
            at = (torch.tensor(where, device=device), torch.tensor(tokens, device=device))
            self._asked_for = parcel.add(x[at] - total[at[0], 0])
        if sampled is not None and any(asked[i].sampled_logprob for i in rows):
            chosen = sampled[torch.tensor(rows, device=device)].long().clamp_(min=0)[:, None]
            self._drawn = parcel.add((x.gather(1, chosen) - total)[:, 0])
        if any(asked[i].entropy for i in rows):
            logp = x - total
            self._entropy = parcel.add(-(logp.exp() * logp.clamp(min=-1e4)).sum(-1))  # 0 * -infinity is no number

    def fill(self, out: list[Reading | str]) -> None:
        """Put the results into the readings of healthy rows."""
        get = self._parcel
        at = 0
        for n, i in enumerate(self._rows):
            asked, reading = self._asked[i], out[i]
            given = slice(at, at + len(asked.logprobs))
            at = given.stop
            if isinstance(reading, str):
                continue
            if asked.top_k and self._top is not None and self._ids is not None:
                count = asked.top_k if asked.allowed is None else np.isfinite(get[self._top][n, : asked.top_k]).sum()
                reading.top_logprobs = get[self._top][n, :count].tolist()
                reading.top_ids = get[self._ids][n, :count].tolist()
            if asked.logprobs and self._asked_for is not None:
                reading.logprobs = get[self._asked_for][given].tolist()
            if asked.sampled_logprob and self._drawn is not None:
                reading.sampled_logprob = float(get[self._drawn][n])
            if asked.entropy and self._entropy is not None:
                reading.entropy = float(get[self._entropy][n])


class Parcel:
    """Tensors that cross to the host together: int32 and fp32, as one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._tensors: list[torch.Tensor] = []
        self._arrays: list[np.ndarray] = []
        self._flat: torch.Tensor | None = None
        self._event: torch.cuda.Event | None = None

    def add(self, tensor: torch.Tensor) -> int:
        """Its number."""
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def send(self) -> None:
        """Nothing more is added."""
        if self._device.type == "cpu":
            return
        flat = torch.cat([t.contiguous().view(torch.int32).flatten() for t in self._tensors])
        self._flat = torch.empty(len(flat), dtype=torch.int32, pin_memory=True)
        self._flat.copy_(flat, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()

    def open(self) -> None:
        """Wait for the device; the arrays are there afterwards."""
        if self._event is None or self._flat is None:
            self._arrays = [t.numpy() for t in self._tensors]
            return
        self._event.synchronize()
        flat = self._flat.numpy()
        at = 0
        for t in self._tensors:
            part = flat[at : at + t.numel()]
            at += t.numel()
            self._arrays.append((part.view(np.float32) if t.dtype == torch.float32 else part).reshape(t.shape))

    def __getitem__(self, number: int) -> np.ndarray:
        return self._arrays[number]


def _sampling(request: Request) -> Sampling:
    assert request.readings.sample is not None
    return request.readings.sample


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _counted(request: Request) -> tuple[np.ndarray, np.ndarray]:
    """The distinct tokens of a history, and how often each was generated."""
    history = np.asarray(request.history, np.int64)
    tokens, place = np.unique(history, return_inverse=True)
    generated = place[len(history) - request.generated :] if request.generated else place[:0]
    return tokens, np.bincount(generated, minlength=len(tokens))
