"""What one program in an endless loop takes from its neighbours.

Two hundred programs choose tokens by hand over a fake engine with a real step time, for as long as the measurement
takes; a spinner comes and goes beside them. Windows with and without it alternate and are short, because the machine,
and the rhythm in which the programs fall into batches, may be others a second later. A window has too few steps for a
99th percentile of its own, so those of all windows are taken together, and the interval says how far to trust the
difference.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from symphony.bench.report import Report
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import InternalError
from symphony.host import Config, Runtime
from symphony.process.process import LaunchOptions
from symphony.sandbox.config import SandboxConfig

SPIN_PY = "from lip import main\n\n\n@main\ndef spin() -> None:\n    while True:\n        pass\n"
STEP_SECONDS = 0.005
PAIRS = 60
"""Windows alone and beside."""
SETTLE_SECONDS, WINDOW_SECONDS = 0.1, 0.25
TOKENS = 8000
"""More than a program chooses meanwhile; they fit into a context."""
RESAMPLES = 400
"""Of the pairs, for the interval."""

Gaps = npt.NDArray[np.float64]
"""Seconds between a program's tokens, of all programs in a window."""


class TimingEngine(FakeEngine):
    """Notes the time between the tokens of each row; a row is known by its first page."""

    def __init__(self, rows: int) -> None:
        super().__init__(check=False, pages=32 * rows + 64, page_size=256, step_seconds=STEP_SECONDS)
        self.gaps: list[float] = []
        self._last: dict[int, float] = {}

    async def step(self, batch: Batch) -> list[RowResult]:
        results = await super().step(batch)
        now = time.perf_counter()
        for row in batch.rows:
            page = row.block_table[0]
            if page in self._last:
                self.gaps.append(now - self._last[page])
            self._last[page] = now
        return results

    def start_over(self) -> None:
        self.gaps = []
        self._last = {}


async def measure_spinner(report: Report, tokens: bytes, home: Path, *, quick: bool) -> None:
    """Adds the share of tokens/s that is left, and what p99 grows by, with the ends of its 95 % interval."""
    rows, pairs = (10, 4) if quick else (200, PAIRS)
    engine = TimingEngine(rows)
    config = Config(sandbox=SandboxConfig(max_instances=rows + 8))
    options = LaunchOptions(wall_seconds=float("inf"), cpu_seconds=float("inf"))
    alone: list[Gaps] = []
    beside: list[Gaps] = []
    async with Runtime([engine], home=home, config=config) as rt:
        await rt.kill(await rt.launch(SPIN_PY, {}, options))
        # Each has a prompt of its own: those of the same one would share their pages, by which the engine knows them.
        programs = [await rt.launch(tokens, {"n": TOKENS, "prompt": [row]}, options) for row in range(rows)]
        await asyncio.sleep(10 * SETTLE_SECONDS)
        gc.freeze()  # as `symphony serve` does; else the longest gaps are the collector's
        for _ in range(pairs):
            alone.append(await _window(engine))
            spinner = await rt.launch(SPIN_PY, {}, options)
            beside.append(await _window(engine))
            await rt.kill(spinner)
        gc.unfreeze()
        if any(program.state.ended for program in programs):
            raise InternalError("a program of the benchmark ended before the measurement did")
        for program in programs:
            await rt.kill(program)
    low, high = _interval(alone, beside)
    shares = [len(with_it) / len(without) for without, with_it in zip(alone, beside, strict=True)]
    report.add("tokens/s beside a spinner", median(shares), "of alone", at_least=0.95)
    report.add("p99 between tokens, alone", 1e3 * _p99(alone), "ms")
    report.add("p99 added by a spinner", 1e3 * (_p99(beside) - _p99(alone)), "ms", at_most=2)
    report.add("  at least, with 95 %", 1e3 * low, "ms")
    report.add("  at most, with 95 %", 1e3 * high, "ms")


async def _window(engine: TimingEngine) -> Gaps:
    await asyncio.sleep(SETTLE_SECONDS)
    engine.start_over()
    await asyncio.sleep(WINDOW_SECONDS)
    return np.array(engine.gaps)


def _p99(rounds: Sequence[Gaps]) -> float:
    return float(np.quantile(np.concatenate(rounds), 0.99))


def _interval(alone: Sequence[Gaps], beside: Sequence[Gaps]) -> tuple[float, float]:
    """The middle 95 % of the differences of p99 that other draws of as many pairs would have shown (bootstrap)."""
    random = np.random.default_rng(0)
    draws = random.integers(0, len(alone), (RESAMPLES, len(alone)))
    differences = [_p99([beside[i] for i in draw]) - _p99([alone[i] for i in draw]) for draw in draws]
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)
