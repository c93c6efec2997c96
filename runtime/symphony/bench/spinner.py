"""What one program in an endless loop takes from its neighbours.

Two hundred programs choose tokens by hand over a fake engine with a real step time; the same again beside a spinner.
The two alternate and each pair is compared by itself, because the machine may be faster or slower a second later; what
is reported are medians over the pairs.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

from symphony.bench.report import Report
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.host import Config, Runtime
from symphony.process.process import LaunchOptions
from symphony.sandbox.config import SandboxConfig

SPIN_PY = "from lip import main\n\n\n@main\ndef spin() -> None:\n    while True:\n        pass\n"
STEP_SECONDS = 0.005
PAIRS = 7
"""Rounds alone and beside; an odd number."""


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
    """Adds the share of tokens/s that is left, and what p99 grows by."""
    rows, steps = (10, 10) if quick else (200, 200)
    engine = TimingEngine(rows)
    config = Config(sandbox=SandboxConfig(max_instances=rows + 8))
    shares: list[float] = []
    alone_p99: list[float] = []
    added: list[float] = []
    async with Runtime([engine], home=home, config=config) as rt:
        await _round(rt, engine, tokens, rows, steps)  # warms up
        for _ in range(2 if quick else PAIRS):
            alone = await _round(rt, engine, tokens, rows, steps)
            options = LaunchOptions(wall_seconds=float("inf"), cpu_seconds=float("inf"))
            spinner = await rt.launch(SPIN_PY, {}, options)
            await asyncio.sleep(0.1)
            beside = await _round(rt, engine, tokens, rows, steps)
            await rt.kill(spinner)
            shares.append(beside[0] / alone[0])
            alone_p99.append(alone[1] * 1e3)
            added.append((beside[1] - alone[1]) * 1e3)
    report.add("tokens/s beside a spinner", median(shares), "of alone", at_least=0.95)
    report.add("p99 between tokens, alone", median(alone_p99), "ms")
    report.add("p99 added by a spinner", median(added), "ms", at_most=2)


async def _round(rt: Runtime, engine: TimingEngine, tokens: bytes, rows: int, steps: int) -> tuple[float, float]:
    """Tokens per second, and the 99th percentile of seconds between a program's tokens."""
    engine.start_over()
    start = time.perf_counter()
    processes = [await rt.spawn(tokens, {"n": steps}) for _ in range(rows)]
    for process in processes:
        await process.wait()
    seconds = time.perf_counter() - start
    gaps = sorted(engine.gaps)
    return rows * steps / seconds, gaps[int(len(gaps) * 0.99)]
