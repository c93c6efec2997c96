"""Guests that choose every token, beside a device that takes its time: what the host adds to a step, and what it hides.

The device is faked: a step begins when it is launched, or when the one before it is over, and a thread sleeps until it
is over, so that the host has its core for itself meanwhile, as beside a GPU. Every answer is the same: guests say
the expected token every time.
"""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import time
from collections.abc import Awaitable
from pathlib import Path

from symphony.bench.report import Report
from symphony.core.config import CoreConfig
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import InternalError
from symphony.host import Config, Runtime
from symphony.sandbox.config import SandboxConfig

ROWS = 64
STEP_SECONDS = 0.0023
"""A decode step of the 1B shape at 64 rows on one H200 (docs/log.md)."""
FEW, MANY = 40, 240
"""Tokens of the two runs of a round, whose difference counts."""

Flying = tuple[float, asyncio.AbstractEventLoop, "asyncio.Future[list[RowResult]]", list[RowResult]]
"""When it is over, and whom to tell what."""


class SlowDevice(FakeEngine):
    """Steps of `STEP_SECONDS`, whatever is in them."""

    def __init__(self, rows: int) -> None:
        super().__init__(check=False, pages=32 * rows + 64, page_size=64, pipelined=True)
        self._over = 0.0
        """When the step launched last is."""
        self._queue: queue.SimpleQueue[Flying | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def launch(self, batch: Batch) -> Awaitable[list[RowResult]]:
        self.steps += 1
        self.rows += len(batch.rows)
        results = [RowResult([self._fixed_reading(row.readings)] * len(row.outputs)) for row in batch.rows]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[RowResult]] = loop.create_future()
        self._over = max(self._over, time.perf_counter()) + STEP_SECONDS
        self._queue.put((self._over, loop, future, results))
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        super().close()

    def _work(self) -> None:
        while (flying := self._queue.get()) is not None:
            over, loop, future, results = flying
            time.sleep(max(over - time.perf_counter(), 0.0))
            loop.call_soon_threadsafe(future.set_result, results)


async def measure_ahead(report: Report, program: bytes, home: Path, *, quick: bool) -> None:
    """Adds tokens a second of guests that choose each token, with guesses and without, and of a device that waits for
    nobody."""
    rows, rounds = (8, 1) if quick else (ROWS, 5)
    for guesses in (False, True):
        engine = SlowDevice(rows)
        config = Config(SandboxConfig(max_instances=rows + 8), core=CoreConfig(guesses=guesses))
        async with Runtime([engine], home=home, config=config) as rt:
            await _run(rt, program, rows, 2)
            gc.collect()
            gc.freeze()
            found: list[tuple[float, float, float]] = []
            for _ in range(rounds):
                found.append(await _round(rt, engine, program, rows))
            gc.unfreeze()
        rate, share, filled = max(found)
        what = "guesses" if guesses else "no guesses"
        report.add(f"{rows} wasm LIPs beside a device of {STEP_SECONDS * 1e3:g} ms a step, {what}", rate, "tok/s")
        report.add(f"  of the device's own, {what}", share, "")
        report.add(f"  rows of a step, {what}", filled, "")


async def _round(rt: Runtime, engine: SlowDevice, program: bytes, rows: int) -> tuple[float, float, float]:
    short = await _run(rt, program, rows, FEW)
    steps, ran = engine.steps, engine.rows
    long = await _run(rt, program, rows, MANY)
    rate = rows * (MANY - FEW) / (long - short)
    return rate, rate * STEP_SECONDS / rows, (engine.rows - ran) / (engine.steps - steps)


async def _run(rt: Runtime, program: bytes, rows: int, tokens: int) -> float:
    begin = time.perf_counter()
    processes = [await rt.spawn(program, {"n": tokens, "prompt": [row]}) for row in range(rows)]
    for process in processes:
        if len(await process.wait()) != tokens:
            raise InternalError("a program of the benchmark did not choose its tokens")
    return time.perf_counter() - begin
