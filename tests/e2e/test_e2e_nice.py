"""Nice values and time limits of real programs: who gets how much CPU, and whose rows come first. No clock is real."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from symphony import Config, Runtime
from symphony.core.config import CoreConfig
from symphony.engine.fake import FakeEngine
from symphony.errors import Invalid
from symphony.process import table
from symphony.process.process import LaunchOptions, Process
from symphony.sched.batch import BatchLimits
from symphony.sched.dispatch import Eager

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"
MILLISECOND = 1_000_000
ONE_CLOCK = "CPU is shared by weight within a worker, each of which has a clock of its own"
MEANWHILE = "a step lasts until guests had their turns, which workers give in their own time"
SPIN = "from lip import main\n@main\ndef spin() -> None:\n    while True: pass\n"
CHOOSE = """
from lip import Context, main

@main
async def choose(n: int) -> None:
    async with Context() as ctx:
        for _ in range(n):
            await ctx.pred(7)
"""


class Ticks:
    """A clock of CPU time by which every turn takes as long."""

    def __init__(self, ns: int) -> None:
        self.now = 0
        self.ns = ns

    def thread_time_ns(self) -> int:
        self.now += self.ns
        return self.now

    def monotonic_ns(self) -> int:
        return self.now


async def until_used(processes: list[Process], ns: int) -> None:
    async with asyncio.timeout(60):
        while sum(process.cpu_ns for process in processes) < ns:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0)


@pytest.mark.without_workers(ONE_CLOCK)
@pytest.mark.parametrize(("nice", "ratio"), [(0, 1.0), (3, 1.25**3), (10, 1.25**10), (-5, 1.25**-5)])
def test_cpu_time_is_shared_by_nice_values(
    nice: int, ratio: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with Runtime([FakeEngine()], home=tmp_path, config=Config(cache=CACHE)) as rt:
            await rt.upload(SPIN.encode(), "spin")
            monkeypatch.setattr(table, "time", Ticks(MILLISECOND))
            no_limit = float("inf")
            kinds = [LaunchOptions(nice=n, cpu_seconds=no_limit, wall_seconds=no_limit) for n in (0, nice)]
            plain, other = [await rt.launch("spin", {}, options) for options in kinds]
            await until_used([plain, other], 1000 * MILLISECOND)
            assert plain.cpu_ns / other.cpu_ns == pytest.approx(ratio, rel=0.08)
            for process in (plain, other):
                await process.kill()

    asyncio.run(scenario())


@pytest.mark.without_workers(ONE_CLOCK)
def test_a_tenant_gains_nothing_by_nice_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with Runtime([FakeEngine()], home=tmp_path, config=Config(cache=CACHE)) as rt:
            for tenant in ("greedy", "meek"):
                await rt.upload(SPIN.encode(), "spin", tenant=tenant)
            monkeypatch.setattr(table, "time", Ticks(MILLISECOND))
            greedy = [await rt.launch("spin", {}, LaunchOptions(tenant="greedy", nice=-20)) for _ in range(3)]
            meek = await rt.launch("spin", {}, LaunchOptions(tenant="meek", nice=19))
            await until_used([*greedy, meek], 600 * MILLISECOND)
            used = sum(process.cpu_ns for process in greedy)
            assert used / meek.cpu_ns == pytest.approx(1.0, rel=0.05)
            for process in (*greedy, meek):
                await process.kill()

    asyncio.run(scenario())


def order_of_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launches: list[tuple[str, LaunchOptions]]
) -> list[str]:
    """Run them in steps of one row, of one token, on a core whose clock stands still; the order in which they end. The
    first step, whosever it is, goes on until all of them have a row. CPU time is free: the rows alone decide."""
    monkeypatch.setattr(table, "time", Ticks(0))

    async def scenario() -> list[str]:
        limits = BatchLimits(tokens=16, rows=1, max_wait=1000.0)
        core = CoreConfig(batch=limits, dispatch=Eager, clock=lambda: 0.0)
        ended: list[str] = []
        ready = asyncio.Event()

        async def sleep(seconds: float) -> None:
            await ready.wait()
            for _ in range(20):  # guests have turns meanwhile
                await asyncio.sleep(0)

        async def wait(name: str, process: Process) -> None:
            await process.wait()
            ended.append(name)

        engine = FakeEngine(step_seconds=1.0, sleep=sleep)
        async with Runtime([engine], home=tmp_path, config=Config(cache=CACHE, core=core)) as rt:
            await rt.upload(CHOOSE.encode(), "choose")
            processes = [(name, await rt.launch("choose", {"n": 20}, options)) for name, options in launches]
            async with asyncio.timeout(60):
                while any(not rt.view(process).activity.operations for _, process in processes):  # noqa: ASYNC110 - nor this
                    await asyncio.sleep(0.001)
                ready.set()
                await asyncio.gather(*(wait(name, process) for name, process in processes))
        return ended

    return asyncio.run(scenario())


@pytest.mark.without_workers(MEANWHILE)
def test_rows_of_a_nice_process_come_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"nice": 10, "a": 0, "first": -10}
    launches = [(name, LaunchOptions(nice=nice, wall_seconds=1e6)) for name, nice in values.items()]
    assert order_of_ends(tmp_path, monkeypatch, launches) == ["first", "a", "nice"]


@pytest.mark.without_workers(MEANWHILE)
def test_rows_of_a_process_whose_time_is_nearly_over_come_sooner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So near that it would be late if it waited as long as rows may wait."""
    seconds = {"patient": 1e6, "as patient": 1e6, "urgent": 500.0}
    launches = [(name, LaunchOptions(wall_seconds=wall)) for name, wall in seconds.items()]
    assert order_of_ends(tmp_path, monkeypatch, launches)[0] == "urgent"


def test_there_are_forty_nice_values() -> None:
    for nice in (-21, 20, 10**9):
        with pytest.raises(Invalid, match="nice value"):
            LaunchOptions(nice=nice)
    assert [LaunchOptions(nice=nice).nice for nice in (-20, 19)] == [-20, 19]
