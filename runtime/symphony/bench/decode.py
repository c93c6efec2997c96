"""Decode steps of a model on a GPU, without guests and without the core: what the engine's own path takes, beside what
the memory allows.

Rows stand behind texts of the same length, and each step is launched before the one before it is over, as the step loop
does. The bound: weights and K/V are read once a step, at the speed at which this device reads.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

from symphony.bench.report import Report
from symphony.engine.bandwidth import read_speed
from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, Readings, Row, RowResult, Sampling

KINDS = {
    "greedy": Readings(sample=GREEDY),
    "Gumbel": Readings(sample=Sampling(temperature=1.0, seed=7)),
    "top-k 50, top-p 0.9": Readings(sample=Sampling(temperature=1.0, top_k=50, top_p=0.9, seed=7)),
}
PROMISED = {1: 1.25, 64: 2.4, 256: 6.0}
"""Milliseconds of a step at 1,024 entries on one H200, of the 1B shape."""
PREFILL_ROWS = 8
"""Texts that are computed at once."""


async def bench_decode(
    report: Report, engine: LocalEngine, *, batches: Sequence[int] = (1, 64, 256), context: int = 1024, steps: int = 50
) -> None:
    """Adds the step of each batch for each kind of draw, and what the bound is."""
    speed = read_speed()
    report.add("read bandwidth", speed / 1e9, "GB/s")
    info = engine.info
    weights = _weights(engine)
    for rows in batches:
        per_row = -(-(context + steps + 16) // info.page_size)
        if rows * per_row >= info.pages:
            continue
        tables = [list(range(1 + i * per_row, 1 + (i + 1) * per_row)) for i in range(rows)]
        _prefill(engine, tables, context)
        kv = rows * context * info.bytes_per_page / info.page_size
        report.add(f"decode, {rows} rows: bound", (weights + kv) / speed * 1e3, "ms")
        for name, readings in KINDS.items():
            await _decode(engine, tables, context, 8, readings)  # captures, compiles
            seconds = await _decode(engine, tables, context, steps, readings)
            promised = PROMISED.get(rows) if context == 1024 and name != "top-k 50, top-p 0.9" else None
            report.add(f"decode, {rows} rows: {name}", seconds * 1e3, "ms", at_most=promised)


async def _decode(
    engine: LocalEngine, tables: Sequence[list[int]], context: int, steps: int, readings: Readings
) -> float:
    """Seconds a step, the median of those between two results."""
    size = engine.info.page_size
    used = [table[: (context + steps) // size + 1] for table in tables]
    flight = engine.launch(Batch([Row((20,), context, table, (0,), readings) for table in used]))
    ends: list[float] = []
    for step in range(1, steps + 1):
        rows = [Row((0,), context + step, table, (0,), readings, follows=i) for i, table in enumerate(used)]
        following = engine.launch(Batch(rows))
        _check(await flight)
        ends.append(time.perf_counter())
        flight = following
    _check(await flight)
    gaps = sorted(b - a for a, b in itertools.pairwise(ends))
    return gaps[len(gaps) // 2]


def _weights(engine: LocalEngine) -> int:
    """Bytes."""
    return sum(file.stat().st_size for file in Path(engine.describe()["model"]).glob("*.safetensors"))


def _check(results: Sequence[RowResult]) -> None:
    for result in results:
        if result.error is not None:
            raise RuntimeError(result.error)


def _prefill(engine: LocalEngine, tables: Sequence[list[int]], context: int) -> None:
    vocab, needed = engine.info.vocab_size, -(-context // engine.info.page_size)
    for first in range(0, len(tables), PREFILL_ROWS):
        rows = [
            Row([1 + (i * 7919 + j * 104729) % (vocab - 1) for j in range(context)], 0, table[:needed])
            for i, table in enumerate(tables[first : first + PREFILL_ROWS], first)
        ]
        _check(engine.run(Batch(rows)))
