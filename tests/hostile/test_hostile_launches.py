"""Floods of launches: they wait or are refused, and take nothing from another tenant."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from hostile_host import HEALTHY, QUESTION, Host, lip, until
from hostile_host import host as boot

from symphony.errors import Cancelled, InternalError, LimitExceeded, SymphonyError, TimedOut, Unavailable
from symphony.process.process import LaunchOptions, Process
from symphony.sched.admission import AdmissionLimits

SPIN = lip("while True: pass")
SLEEP = lip("await sleep(3600)")
LIMITS = AdmissionLimits(live=1000, live_per_tenant=10, waiting=24, waiting_per_tenant=12)
"""The sandbox of these tests holds 16 instances, so that there are 16 places in all."""


@pytest.fixture(scope="module")
def module_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with boot(tmp_path_factory.mktemp("home"), admission=LIMITS) as running:
        running.result(HEALTHY, question=QUESTION)
        running.result(lip("pass"))
        yield running


@pytest.fixture
def host(module_host: Host) -> Iterator[Host]:
    yield module_host
    module_host.check()


async def flood(host: Host, program: str, tenant: str, count: int, **options: float) -> list[Process]:
    """Those that were not refused."""
    taken: list[Process] = []
    for _ in range(count):
        with contextlib.suppress(LimitExceeded, Unavailable):
            taken.append(await host.runtime.launch(program, {}, LaunchOptions(tenant=tenant, **options)))
    return taken


def states(host: Host, processes: list[Process]) -> list[str]:
    return [host.runtime.view(process).state for process in processes]


async def kill_all(host: Host, processes: list[Process]) -> None:
    for process in reversed(processes):  # the youngest first: nobody begins any more
        await host.runtime.kill(process)


@pytest.mark.parametrize("program", [SPIN, SLEEP])
def test_a_flood_leaves_places_to_others(program: str, host: Host) -> None:
    async def scenario() -> None:
        taken = await flood(host, program, "flood", 2000)
        assert len(taken) == 10 + 12
        assert states(host, taken).count("new") == 12
        assert host.runtime.view(taken[-1]).waits_for == ["admission"]
        assert host.instances == 10
        options = LaunchOptions(tenant="honest")
        process = await host.runtime.launch(HEALTHY, {"question": QUESTION}, options)
        assert await process.wait() == host.answer()
        await kill_all(host, taken)

    host.run(scenario())


def test_one_who_waits_among_floods_is_next(host: Host) -> None:
    """All places are taken by two tenants; whoever has none gets the first that falls free."""

    async def scenario() -> None:
        first = await flood(host, SLEEP, "x", 2000)
        second = await flood(host, SLEEP, "y", 11)
        assert states(host, second).count("new") == 5
        options = LaunchOptions(tenant="honest")
        process = await host.runtime.launch(HEALTHY, {"question": QUESTION}, options)
        assert host.runtime.view(process).waits_for == ["admission"]
        await host.runtime.kill(first[0])
        assert await process.wait() == host.answer()
        await kill_all(host, [*first, *second])

    host.run(scenario())


def test_the_queues_of_all_can_be_full(host: Host) -> None:
    async def scenario() -> None:
        taken: list[Process] = []
        for tenant in "pqrst":
            taken += await flood(host, SLEEP, tenant, 40)
        assert states(host, taken).count("new") == LIMITS.waiting
        with pytest.raises(Unavailable, match="launches wait"):
            await host.runtime.launch(SLEEP, {}, LaunchOptions(tenant="late"))
        await kill_all(host, taken)

    host.run(scenario())


def test_time_limits_and_kills_end_those_that_wait(host: Host) -> None:
    async def scenario() -> None:
        holders = await flood(host, SLEEP, "a", 10)
        waiting = await flood(host, SPIN, "a", 12, wall_seconds=0.05)
        for process in waiting[:4]:
            await process.kill()
        for n, process in enumerate(waiting):
            with pytest.raises(Cancelled if n < 4 else TimedOut):
                await process.wait()
            usage = process.usage
            assert (usage.cpu_us, usage.forwards, usage.pages) == (0, 0, 0)
        assert host.instances == 10, "none of them ran"
        await kill_all(host, holders)

    host.run(scenario())


def test_a_storm_of_launches_and_kills_loses_no_place(host: Host) -> None:
    """Everybody launches, runs, fails, is killed or times out at once, in places and in queues."""

    async def one(n: int) -> None:
        body = ("return 1", "await sleep(0.001)", "raise ValueError", "while True: pass", "await sleep(3600)")[n % 5]
        options = LaunchOptions(tenant="uvw"[n % 3], wall_seconds=0.3, nice=n % 40 - 20)
        try:
            process = await host.runtime.launch(lip(body), {}, options)
            if n % 7 == 0:
                await process.kill()
            await process.wait()
        except InternalError:
            raise
        except SymphonyError:
            pass

    async def scenario() -> None:
        await asyncio.gather(*(one(n) for n in range(300)))
        await until(lambda: not host.runtime._processes.live)
        admission = host.runtime._processes._admission
        assert (admission.live, admission.waiting) == (0, 0)

    host.run(scenario())


def test_a_client_that_leaves_while_its_run_waits(host: Host) -> None:
    async def scenario() -> None:
        holders = [await host.runtime.spawn(SLEEP) for _ in range(10)]
        run = asyncio.ensure_future(host.runtime.run(SPIN))
        await until(lambda: host.runtime._processes._admission.waiting == 1)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert host.runtime._processes._admission.waiting == 0
        await kill_all(host, holders)

    host.run(scenario())
