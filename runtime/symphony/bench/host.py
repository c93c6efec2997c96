"""`symphony bench host`: what the host costs by itself, the engine faked.

CPU figures are of the whole process (`time.process_time`), as the difference between a long and a short run of the same
guests, so that launch and teardown cancel out. Memory is the proportional set size, before and after.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from symphony.bench.ahead import measure_ahead
from symphony.bench.calls import calls_per_token
from symphony.bench.report import Report
from symphony.bench.spinner import measure_spinner
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.host import Config, Runtime
from symphony.process.process import Process
from symphony.sandbox.config import SandboxConfig
from symphony.sched.admission import AdmissionLimits

TOKENS_PY = '''
from lip import Context, main


@main
async def tokens(n: int = 16) -> int:
    """Choose n tokens by hand, one prediction each."""
    async with Context() as ctx:
        ctx.feed("benchmark")
        token = (await ctx.pred()).argmax()
        for _ in range(n):
            token = (await ctx.pred(token)).argmax()
        return token
'''
Program = str | bytes
NOTHING_PY = "from lip import main\n\n\n@main\ndef nothing() -> None:\n    pass\n"


class GatedEngine(FakeEngine):
    """Holds every step until the gate opens."""

    def __init__(self, **options: Any) -> None:
        super().__init__(check=False, **options)
        self.gate = asyncio.Event()

    async def step(self, batch: Batch) -> list[RowResult]:
        await self.gate.wait()
        return await super().step(batch)


@asynccontextmanager
async def host(engine: FakeEngine, instances: int, home: Path) -> AsyncGenerator[Runtime]:
    """A runtime over a fake engine with room for that many instances."""
    room = instances + 8
    config = Config(SandboxConfig(max_instances=room), admission=AdmissionLimits(live=room, live_per_tenant=room))
    async with Runtime([engine], home=home, config=config) as rt:
        yield rt


def fast_engine(instances: int) -> FakeEngine:
    return FakeEngine(check=False, pages=64 * instances + 64, page_size=64)


async def run_many(rt: Runtime, program: Program, n: int, args: Mapping[str, Any]) -> float:
    """Launch n processes at once and wait for all; CPU seconds."""
    gc.collect()
    start = time.process_time()
    processes = [await rt.spawn(program, args) for _ in range(n)]
    for process in processes:
        await process.wait()
    return time.process_time() - start


async def per_call(rt: Runtime, program: Program, instances: int, calls: int, **args: Any) -> float:
    """Microseconds of CPU per unit of the guest's `n`, over that many live instances; best of three."""
    await rt.run(program, {**args, "n": 1})
    best = float("inf")
    for _ in range(3):
        short = await run_many(rt, program, instances, {**args, "n": 1})
        long = await run_many(rt, program, instances, {**args, "n": 1 + calls})
        best = min(best, (long - short) / (instances * calls) * 1e6)
    return best


async def per_launch(rt: Runtime, program: Program, n: int, args: Mapping[str, Any]) -> float:
    """Microseconds of CPU for launch, run and teardown; one after the other."""
    await rt.run(program, args)
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for _ in range(n):
            await rt.run(program, args)
        best = min(best, (time.process_time() - start) / n * 1e6)
    return best


def resident_mb() -> float:
    """Memory that this process holds, MB: its proportional set size, so that pages which many instances map count once.
    Pages of files are left out: the kernel can drop them, and our share of them grows when another process lets go."""
    held = 0
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
            held += int(line.split()[1]) * 1024
    return held / 1e6


async def suspended_mb(program: Program, n: int, home: Path) -> float:
    """MB that n instances take, all suspended in a prediction."""
    engine = GatedEngine(pages=4 * n + 64, page_size=64)
    async with host(engine, n, home) as rt:
        first = await rt.spawn(program, {"n": 1})  # compiles and loads what all share
        await all_blocked([first])
        gc.collect()
        before = resident_mb()
        processes = [await rt.spawn(program, {"n": 1}) for _ in range(n)]
        await all_blocked(processes)
        gc.collect()
        used = resident_mb() - before
        engine.gate.set()
        for process in [first, *processes]:
            await process.wait()
        return used


async def all_blocked(processes: list[Process]) -> None:
    """Wait until each of them waits for the engine."""
    while any(process.state.value != "blocked" for process in processes):  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(0.01)


async def bench_host(report: Report, guests: Path, home: Path, *, quick: bool) -> None:
    """Fill the report; `quick` measures over fewer instances (for tests), where bounds mean little."""
    guest = (guests / "guest.wasm").read_bytes()
    live, some = (50, 20) if quick else (1000, 200)
    async with host(fast_engine(live), max(live, 64), home) as rt:
        report.add("no-op syscall", await per_call(rt, guest, live, 200, syscalls=True), "us CPU", at_most=12)
        report.add("token chosen by guest, wasm", await per_call(rt, guest, 64, 50), "us CPU", at_most=40)
        calls = await calls_per_token(rt, guest, 64)
        report.add("Python functions called a token, wasm", sum(calls.values()), "calls", at_most=60)
        report.add("token chosen by guest, Python", await per_call(rt, TOKENS_PY, 64, 50), "us CPU", at_most=120)
        report.add(
            "launch + run + end, wasm",
            await per_launch(rt, guest, some, {"n": 0, "syscalls": True}),
            "us CPU",
            at_most=150,
        )
        launch = await per_launch(rt, NOTHING_PY, some, {})
        report.add("launch + run + end, Python source", launch, "us CPU", at_most=5000)
    await measure_ahead(report, guest, home, quick=quick)
    many, pythons = (100, 20) if quick else (10_000, 3_000)
    used = await suspended_mb((guests / "pred_loop.wasm").read_bytes(), many, home)
    report.add(f"{many} tiny wasm instances suspended", used, "MB", at_most=None if quick else 500)
    used = await suspended_mb(guest, many, home)
    report.add(f"{many} Rust instances suspended", used, "MB")
    used = await suspended_mb(TOKENS_PY, pythons, home)
    report.add(f"{pythons} Python LIPs suspended", used, "MB", at_most=None if quick else 8000)
    await measure_spinner(report, guest, home, quick=quick)
