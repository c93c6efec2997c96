"""What one program in an endless loop takes from its neighbours.

Two hundred programs choose tokens by hand over a fake engine with a real step time; the same again beside a spinner.
The two alternate, because the machine may be faster or slower a second later. A round has too few steps for a 99th
percentile of its own (it would be the second longest of 200), so those of all rounds are taken together, and the
interval says how far to trust the difference.
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
from symphony.host import Config, Runtime
from symphony.process.process import LaunchOptions
from symphony.sandbox.config import SandboxConfig

SPIN_PY = "from lip import main\n\n\n@main\ndef spin() -> None:\n    while True:\n        pass\n"
STEP_SECONDS = 0.005
PAIRS = 9
"""Rounds alone and beside; an odd number."""
RESAMPLES = 400
"""Of the pairs, for the interval."""

Gaps = npt.NDArray[np.float64]
"""Seconds between a program's tokens, of all programs of a round."""


class TimingEngine(FakeEngine):
    """Notes the time between the tokens of each row; a row is known by its first page."""

    def __init__(self, rows: int) -> None:
        super().__init__(check=False, pages=64 * rows + 64, page_size=64, step_seconds=STEP_SECONDS)
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
    rows, steps = (10, 10) if quick else (200, 200)
    engine = TimingEngine(rows)
    config = Config(sandbox=SandboxConfig(max_instances=rows + 8))
    shares: list[float] = []
    alone: list[Gaps] = []
    beside: list[Gaps] = []
    async with Runtime([engine], home=home, config=config) as rt:
        await _round(rt, engine, tokens, rows, steps)  # warms up
        gc.freeze()  # as `symphony serve` does; else the longest gaps are the collector's
        for _ in range(2 if quick else PAIRS):
            rate = await _round(rt, engine, tokens, rows, steps)
            alone.append(np.array(engine.gaps))
            options = LaunchOptions(wall_seconds=float("inf"), cpu_seconds=float("inf"))
            spinner = await rt.launch(SPIN_PY, {}, options)
            await asyncio.sleep(0.1)
            shares.append(await _round(rt, engine, tokens, rows, steps) / rate)
            beside.append(np.array(engine.gaps))
            await rt.kill(spinner)
        gc.unfreeze()
    low, high = _interval(alone, beside)
    report.add("tokens/s beside a spinner", median(shares), "of alone", at_least=0.95)
    report.add("p99 between tokens, alone", 1e3 * _p99(alone), "ms")
    report.add("p99 added by a spinner", 1e3 * (_p99(beside) - _p99(alone)), "ms", at_most=2)
    report.add("  at least, with 95 %", 1e3 * low, "ms")
    report.add("  at most, with 95 %", 1e3 * high, "ms")


def _p99(rounds: Sequence[Gaps]) -> float:
    return float(np.quantile(np.concatenate(rounds), 0.99))


def _interval(alone: Sequence[Gaps], beside: Sequence[Gaps]) -> tuple[float, float]:
    """The middle 95 % of the differences of p99 that other draws of as many pairs would have shown (bootstrap)."""
    random = np.random.default_rng(0)
    draws = random.integers(0, len(alone), (RESAMPLES, len(alone)))
    differences = [_p99([beside[i] for i in draw]) - _p99([alone[i] for i in draw]) for draw in draws]
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


async def _round(rt: Runtime, engine: TimingEngine, tokens: bytes, rows: int, steps: int) -> float:
    """Tokens per second; the engine has the gaps. Each program has a prompt of its own: those of the same one would
    share their pages, by which the engine knows them."""
    engine.start_over()
    start = time.perf_counter()
    processes = [await rt.spawn(tokens, {"n": steps, "prompt": [row]}) for row in range(rows)]
    for process in processes:
        await process.wait()
    return rows * steps / (time.perf_counter() - start)
