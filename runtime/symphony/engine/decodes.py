"""Steps in which every row runs one token, as arrays: what the buffers of a captured step take.

Rows that ask for nothing but a greedy or a plain warm draw, as most do, are packed here without a look at each other
row's options (`pack_decodes`); all others come from `batch.pack`, which checks everything and knows what is wrong
(`decodes_of`). It knows nothing of weights or devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from symphony.engine.batch import Limits, Packed
from symphony.engine.messages import Reading, Readings, Row
from symphony.engine.noise import entry_keys, mixed
from symphony_kernels.interface import IntArray

KNOWN = 4096
"""Different readings that are remembered."""


@dataclass(slots=True)
class Decodes:
    """n rows of one token each. `[n]` each; the rows' own order need not be the batch's."""

    ids: IntArray
    """Of rows that follow: anything."""
    positions: IntArray
    slots: IntArray
    entries: IntArray
    """With the new one."""
    table: IntArray
    """[n, pages]"""
    firsts: IntArray | None
    """See `Ragged.firsts`."""
    follows: IntArray
    """The row of the step before whose draw is the token, or -1."""
    places: IntArray
    """Where the row stands in the batch."""
    temperatures: npt.NDArray[np.float32]
    """0 is greedy. Of rows that are not drawn by the step itself: anything."""
    keys: npt.NDArray[np.int32]
    """[n, 2]: of the noise."""
    kinds: Sequence[Kind] = ()
    """Of rows that the step itself draws for, if it does so for all."""


@dataclass(slots=True)
class Kind:
    """What a captured step needs to know of readings that it can answer by itself."""

    temperature: float
    seed: int
    sampled: bool
    logprob: bool
    """The log-probability of what is drawn."""
    top: bool
    """The most probable token, with its log-probability."""
    plain: bool = False
    """Just the token."""

    def reading(self, token: int, logprob: float) -> Reading:
        """Of the token that was drawn."""
        if self.plain:
            return Reading(token)
        found = Reading(token if self.sampled else None, logprob if self.logprob else None)
        if self.top:
            found.top_ids, found.top_logprobs = (token,), (logprob,)
        return found


class DecodePacker:
    """Remembers readings: a generation asks for the same ones in each of its steps."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known: dict[int, Kind] = {}
        self._kept: list[Readings] = []
        """Keeps what is known by its identity."""

    def kind(self, readings: Readings) -> Kind | None:
        """None: these readings take more than a plain draw."""
        known = self._known.get(id(readings))
        if known is None and (known := _kind(readings)) is not None:  # others may be large, and are soon told
            if len(self._kept) >= KNOWN:
                self._known.clear()
                self._kept.clear()
            self._kept.append(readings)
            self._known[id(readings)] = known
        return known

    def pack(self, rows: Sequence[Row]) -> Decodes | None:
        """None: not a step of such rows, or something is wrong with one."""
        limits, size = self._limits, self._limits.page_size
        if limits.window is not None:
            return None
        known = self._known
        kinds: list[Kind] = []
        flat: list[int] = []
        for row in rows:
            kind = known.get(id(row.readings)) or self.kind(row.readings)
            if kind is None or len(row.tokens) != 1 or len(row.outputs) != 1 or not row.write:
                return None
            if row.masks is not None or row.positions is not None or row.keep:
                return None
            kinds.append(kind)
            flat += row.block_table
        ids = np.array([row.tokens[0] for row in rows], np.int64)
        starts = np.array([row.start for row in rows], np.int64)
        positions = np.array([row.position for row in rows], np.int64)
        positions = np.where(positions < 0, starts, positions)
        lengths = np.array([len(row.block_table) for row in rows], np.int64)
        pages = np.array(flat, np.int64)
        good = ids.min() >= 0 and ids.max() < limits.vocab_size and starts.min() >= 0
        good = good and positions.max() < limits.context_limit and (lengths * size > starts).all()
        if not good or pages.min() < 1 or pages.max() >= limits.pages or any(row.outputs[0] for row in rows):
            return None
        table = _square(pages, lengths)
        seeds = np.array([kind.seed for kind in kinds], np.uint64)
        return Decodes(
            ids,
            positions,
            table[np.arange(len(rows)), starts // size] * size + starts % size,
            starts + 1,
            table,
            None,
            np.array([row.follows for row in rows], np.int64),
            np.arange(len(rows)),
            np.array([kind.temperature for kind in kinds], np.float32),
            entry_keys(seeds, starts + 1),
            kinds,
        )


def decodes_of(packed: Packed) -> Decodes | None:
    """The same of a batch that was packed with all its errors and options; None: some rows run several tokens, or under
    masks."""
    ragged = packed.rows
    n = len(packed.order)
    if ragged.tokens != n or ragged.masks is not None or packed.kept:
        return None
    return Decodes(
        packed.ids,
        ragged.positions,
        ragged.slots,
        ragged.seq_lens,
        ragged.block_table,
        ragged.firsts,
        packed.follows if packed.follows is not None else np.full(n, -1),
        np.array(packed.order, np.int64),
        np.zeros(n, np.float32),
        np.zeros((n, 2), np.int32),
    )


def _kind(readings: Readings) -> Kind | None:
    sample = readings.sample
    if readings.logprobs or readings.entropy or readings.allowed is not None or readings.top_k > 1:
        return None
    if sample is None:
        return Kind(0.0, 0, False, False, True) if readings.top_k else None
    warm = sample.temperature > 0
    if sample.needs_history or sample.logit_bias or (warm and readings.top_k):
        return None
    if warm and (sample.top_k or sample.top_p < 1 or sample.min_p > 0):
        return None
    seed = mixed(sample.seed)
    logprob, top = readings.sampled_logprob, readings.top_k == 1
    return Kind(max(sample.temperature, 0.0), seed, True, logprob, top, not (logprob or top))


def _square(pages: IntArray, lengths: IntArray) -> IntArray:
    """[rows, most pages]; short rows repeat their first page."""
    width = int(lengths.max())
    if len(pages) == width * len(lengths):
        return pages.reshape(len(lengths), width)
    ends = lengths.cumsum()
    table = np.repeat(pages[ends - lengths], width).reshape(len(lengths), width)
    within = np.arange(len(pages)) - np.repeat(ends - lengths, lengths)
    table[np.repeat(np.arange(len(lengths)), lengths), within] = pages
    return table
