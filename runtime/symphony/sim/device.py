"""The simulated device: how long a step takes, and a record of the steps.

The engine on it is `engine.fake.FakeEngine`, unchecked; this module gives it its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from symphony.engine.messages import Batch

Moves = Sequence[tuple[int, int]]


@dataclass(slots=True, frozen=True)
class StepModel:
    """Seconds of a step: `base + row * rows + token * tokens of prefill + context * entries that are attended to`;
    seconds of a move between the tiers: `move * pages`.

    A row of one token is a decode, any other prefill.
    """

    base: float = 5e-3
    row: float = 1e-5
    token: float = 1e-5
    context: float = 0.0
    move: float = 1e-5

    def move_seconds(self, out: Moves, back: Moves) -> float:
        return self.move * (len(out) + len(back))

    def seconds(self, batch: Batch) -> float:
        prefill = context = 0
        for row in batch.rows:
            tokens = len(row.tokens)
            context += row.start
            if tokens > 1:
                prefill += tokens
        return self.base + self.row * len(batch.rows) + self.token * prefill + self.context * context


class Device:
    """Called by the engine at the beginning of every step; answers how long it takes."""

    def __init__(self, model: StepModel) -> None:
        self.model = model
        self.steps = 0
        self.start = 0.0
        """When the last step began."""
        self.end = 0.0
        """When it ends, or ended."""
        self.rows = 0
        self.busy = 0.0
        """Seconds of all steps."""
        self.sizes: dict[int, int] = {}
        """How many steps had so many rows."""

    def __call__(self, batch: Batch) -> float:
        seconds = self.model.seconds(batch)
        rows = len(batch.rows)
        self.steps += 1
        self.rows += rows
        self.busy += seconds
        self.sizes[rows] = self.sizes.get(rows, 0) + 1
        self.start = asyncio.get_running_loop().time()
        self.end = self.start + seconds
        return seconds
