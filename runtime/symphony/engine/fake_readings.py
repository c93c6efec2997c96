"""The fake engine's distribution, and what is read of it.

It is geometric: the tokens stand in a row that begins with the most probable one, counts up and wraps around; token
number d of that row has probability 2^-(d+1). Where only some tokens are allowed, the row is of those alone. Knows
nothing of pages or contexts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from symphony.engine.messages import Reading, Readings, mask_bytes


def read(best: int, noise: int, vocab: int, readings: Readings, allowed: bytes | None = None) -> Reading:
    """`best`: the most probable token of all. `noise`: what a draw with a temperature depends on. `allowed`: the mask
    of this output, which allows a token."""
    row = _All(best, vocab) if allowed is None else _Some(best, vocab, allowed)
    reading = Reading()
    sample = readings.sample
    if sample is not None:
        distance = 0
        if sample.temperature > 0:
            distance = (noise & -noise).bit_length() - 1 if noise else 0
            distance = min(distance, (sample.top_k or vocab) - 1, row.size - 1)
        reading.sampled = row.token(distance)
        if readings.sampled_logprob:
            reading.sampled_logprob = _logprob(distance)
    if readings.top_k:
        count = min(readings.top_k, row.size)
        reading.top_ids = [row.token(distance) for distance in range(count)]
        reading.top_logprobs = [_logprob(distance) for distance in range(count)]
    reading.logprobs = [_logprob(row.place(token)) for token in readings.logprobs]
    if readings.entropy:
        reading.entropy = 2 * math.log(2)
    return reading


def masks_of(allowed: bytes | None, outputs: int, vocab: int) -> Sequence[bytes | None] | str:
    """The mask of each output, or what is wrong with them."""
    size = mask_bytes(vocab)
    if allowed is None:
        return [None] * outputs
    if len(allowed) not in (size, size * outputs):
        return f"a mask of {len(allowed)} bytes for {outputs} outputs"
    masks = [allowed[size * i : size * (i + 1)] or allowed for i in range(outputs)]
    return masks if all(any(mask) for mask in masks) else "a mask allows no token"


class _All:
    """Every token of the vocabulary."""

    def __init__(self, best: int, vocab: int) -> None:
        self._best = best
        self.size = vocab

    def token(self, distance: int) -> int:
        return (self._best + distance) % self.size

    def place(self, token: int) -> int:
        return (token - self._best) % self.size


class _Some:
    """Those of a mask."""

    def __init__(self, best: int, vocab: int, allowed: bytes) -> None:
        bits = np.unpackbits(np.frombuffer(allowed, np.uint8), count=vocab, bitorder="little")
        ids = np.flatnonzero(bits)
        self._ids: list[int] = np.roll(ids, -int(np.searchsorted(ids, best))).tolist()
        self.size = len(self._ids)

    def token(self, distance: int) -> int:
        return self._ids[distance]

    def place(self, token: int) -> float:
        return self._ids.index(token) if token in self._ids else math.inf


def _logprob(distance: float) -> float:
    return -(distance + 1) * math.log(2)
