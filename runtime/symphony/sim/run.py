"""Runs LIPs on virtual time: the real core and both real schedulers, over a device that only takes its time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator

from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.inspect import Inspector
from symphony.engine.fake import FakeEngine
from symphony.sched.batch import BatchLimits
from symphony.sched.dispatch import Dispatch
from symphony.sim import clock
from symphony.sim.cpu import Cpu
from symphony.sim.device import Device
from symphony.sim.lip import Lip, World
from symphony.sim.mix import Group, Mix
from symphony.sim.programs import PROGRAMS
from symphony.sim.records import Records, Summary, summarise

_WATCH_SECONDS = 30.0
"""Virtual seconds without any progress after which the LIPs are stuck."""

Work = Callable[[World, asyncio.TaskGroup], Awaitable[None]]
"""Starts LIPs in the task group."""


def simulate(mix: Mix, policy: str, dispatch: Callable[[], Dispatch], seed: int = 0) -> Summary:
    """The same arguments give the same summary. Raises clock.Stuck if LIPs block each other, and what a LIP raises."""
    seconds, world = run_world(mix, dispatch, _Arrivals(mix, seed).start)
    [gauge] = Inspector(world.core).gauges()
    counters = {
        "tokens computed": world.engine.tokens,
        "entries dropped": gauge.dropped_tokens,
        "pages out": gauge.moved_out,
        "pages back": gauge.moved_back,
        "preemptions": gauge.preemptions,
    }
    return summarise(mix.name, policy, seed, seconds, world.records, world.device, counters)


def run_world(mix: Mix, dispatch: Callable[[], Dispatch], work: Work, *, check: bool = False) -> tuple[float, World]:
    """Run LIPs to their end (or the mix's, if it is cut) and close everything; the seconds that it took.

    `check`: the engine checks all K/V. Raises clock.Stuck, the first error of a LIP, or what is wrong with the books.
    """
    try:
        return clock.run(_run(mix, dispatch, work, check))
    except BaseExceptionGroup as group:
        raise _first(group) from group


async def _run(mix: Mix, dispatch: Callable[[], Dispatch], work: Work, check: bool) -> tuple[float, World]:
    loop = asyncio.get_running_loop()
    world = _world(mix, dispatch, check, loop.time)
    steps = asyncio.create_task(world.core.run())
    lips = asyncio.create_task(_lips(mix, world, work))
    watch = asyncio.create_task(_watch(world))
    await asyncio.wait({steps, lips, watch}, return_when=asyncio.FIRST_COMPLETED)
    for task in (watch, lips, steps):
        if task.done():
            task.result()
    seconds = loop.time()
    world.core.check_integrity()
    await world.core.close()
    await steps
    world.core.check_integrity()
    return seconds, world


def _world(mix: Mix, dispatch: Callable[[], Dispatch], check: bool, now: Callable[[], float]) -> World:
    pool, device = mix.pool, Device(mix.device)
    engine = FakeEngine(
        pages=pool.pages,
        page_size=pool.page_size,
        host_pages=pool.host_pages,
        context_limit=1 << 20,
        check=check,
        step_seconds=device,
        move_seconds=mix.device.move_seconds,
    )
    config = CoreConfig(
        batch=BatchLimits(mix.step_tokens, mix.step_rows),
        tenant_weights=mix.weights,
        dispatch=dispatch,
        clock=now,
        wall_clock=now,
        timer_resolution=0.0,
    )
    world = World(Core([engine], config), engine, Cpu(dict(mix.weights)), device, Records())
    world.core.connect(world.inbox.deliver)
    return world


async def _lips(mix: Mix, world: World, work: Work) -> None:
    try:
        async with asyncio.timeout(mix.seconds if mix.cut else None), asyncio.TaskGroup() as tasks:
            await work(world, tasks)
    except TimeoutError:
        pass


async def _watch(world: World) -> None:
    """Raises Stuck when nobody gets on any more. (The core has timers of its own, so time never stands still.)"""
    before = None
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        now = (world.device.steps, world.cpu.turns, world.ops, world.engine.moved)
        if now == before and not world.asleep:
            raise clock.Stuck(
                f"nothing happened for {_WATCH_SECONDS:g} s, and nobody sleeps: the LIPs block each other"
            )
        before = now


class _Arrivals:
    """Starts the LIPs of a mix."""

    def __init__(self, mix: Mix, seed: int) -> None:
        self._mix = mix
        self._seed = seed

    async def start(self, world: World, tasks: asyncio.TaskGroup) -> None:
        for number, group in enumerate(self._mix.group):
            tasks.create_task(self._group(world, tasks, group, number))

    async def _group(self, world: World, tasks: asyncio.TaskGroup, group: Group, number: int) -> None:
        loop, rng = asyncio.get_running_loop(), random.Random(f"{self._seed} {number} arrivals")
        world.asleep += 1  # this task is not stuck while it waits
        await asyncio.sleep(group.start)
        if group.at_once:
            left = iter(range(group.lips))
            for _ in range(min(group.at_once, group.lips)):
                tasks.create_task(self._client(world, group, number, left))
        else:
            for index in range(group.lips):
                if loop.time() >= self._mix.seconds:
                    break
                tasks.create_task(self._live(world, group, number, index))
                if index + 1 == group.lips:
                    break
                if group.rate:
                    await asyncio.sleep(rng.expovariate(group.rate))
                elif (index + 1) % group.burst == 0:
                    await asyncio.sleep(group.every)
        world.asleep -= 1

    async def _client(self, world: World, group: Group, number: int, left: Iterator[int]) -> None:
        """One of a closed loop."""
        loop = asyncio.get_running_loop()
        for index in left:
            if loop.time() >= self._mix.seconds:
                return
            await self._live(world, group, number, index)

    async def _live(self, world: World, group: Group, number: int, index: int) -> None:
        rng = random.Random(f"{self._seed} {number} {index}")
        lip = Lip(world, group, group.tenant_of(index), rng)
        completed = False
        try:
            await PROGRAMS[group.kind](lip)
            completed = True
        finally:
            await lip.end(completed)


def _first(error: BaseException) -> BaseException:
    """What went wrong first, out of all that the LIPs raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
