"""Launches beyond the places there are: they wait, fairly between tenants, and end like others. No guest is real."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from symphony.core.core import Core
from symphony.core.inspect import Inspector
from symphony.engine.fake import FakeEngine
from symphony.errors import Cancelled, InternalError, LimitExceeded, TimedOut, Unavailable
from symphony.outside.grants import NOTHING
from symphony.param import MAX_FINISHED_PROCESSES
from symphony.process.process import LaunchOptions, Process, State
from symphony.process.table import ProcessTable
from symphony.process.view import view
from symphony.sandbox.config import InstanceLimits
from symphony.sandbox.outcome import Returned, Turn
from symphony.sched.admission import AdmissionLimits
from symphony.syscall.values import Ok


class Guest:
    """Stands in for a `sandbox.Instance`: it waits until the test lets it return."""

    used_slice = False
    awaited = None

    def __init__(self, stage: Stage, caller: Process, on_wake: Callable[[Any], None]) -> None:
        self.stage, self.caller, self.on_wake = stage, caller, on_wake
        self.outcome: Any = None

    def start(self, argument: str) -> None:
        if argument == "cannot start":
            raise InternalError("it cannot start")

    def turn(self) -> Turn:
        return Turn.DONE if self.outcome else Turn.BLOCKED

    def finish(self) -> None:
        self.stage.alive.discard(self)
        self.outcome = Returned(Ok("null"))
        self.on_wake(self)

    def kill(self, error: Exception) -> None:
        self.stage.alive.discard(self)


class Stage:
    """A table over scripted guests; it is the sandbox, too."""

    def __init__(self, admission: AdmissionLimits, weights: dict[str, float] | None = None) -> None:
        self.core = Core([FakeEngine()])
        self.alive: set[Guest] = set()
        self.begun: list[int] = []
        """Pids in the order in which they began."""
        self.broken = False
        """Whether no instance can be made."""
        self.table = ProcessTable(self, self.core, InstanceLimits(), admission, weights)  # type: ignore[arg-type]

    def instantiate(self, program: Any, caller: Process, limits: Any, on_wake: Callable[[Any], None]) -> Guest:
        if self.broken:
            raise Unavailable("there is no instance")
        guest = Guest(self, caller, on_wake)
        self.alive.add(guest)
        self.begun.append(caller.pid)
        return guest

    def launch(self, tenant: str = "a", argument: str = "", **options: Any) -> Process:
        launch = LaunchOptions(tenant=tenant, **options)
        return self.table.launch(None, "program", argument, launch, NOTHING)  # type: ignore[arg-type]

    async def finish(self, process: Process) -> None:
        await asyncio.sleep(0)  # it has had its turn
        guest: Any = process.instance
        guest.finish()
        assert await process.wait() is None

    def view(self, process: Process) -> tuple[str, list[str]]:
        found = view(process, Inspector(self.core))
        return found.state, found.waits_for

    def check_empty(self) -> None:
        assert not self.alive
        assert not self.table.live
        assert not self.core._sessions
        assert not self.table._waiting
        assert (self.table._admission.live, self.table._admission.waiting) == (0, 0)
        assert not len(self.table._scheduler)


def play(scenario: Callable[[Stage], Awaitable[None]], weights: dict[str, float] | None = None, **limits: int) -> None:
    async def body() -> None:
        stage = Stage(AdmissionLimits(**limits), weights)
        async with asyncio.timeout(60):
            await scenario(stage)
            await stage.table.close()
        stage.check_empty()

    asyncio.run(body())


def test_what_waits_begins_when_another_ends_in_its_order() -> None:
    async def scenario(stage: Stage) -> None:
        first, second, third = [stage.launch() for _ in range(3)]
        assert stage.begun == [first.pid]
        assert stage.view(first)[0] == "ready"
        assert stage.view(second) == stage.view(third) == ("new", ["admission"])
        assert stage.table.all() == [first, second, third]
        assert stage.table.get(third.pid) is third
        usage = second.usage._asdict()
        assert usage.pop("wall_us") > 0
        assert set(usage.values()) == {0}
        event = await anext(second.events())
        assert (event.kind, event.data) == ("start", {"pid": second.pid}), "so that it can be killed"
        await stage.finish(first)
        assert stage.begun == [first.pid, second.pid]
        assert stage.view(third) == ("new", ["admission"])
        await stage.finish(second)
        await stage.finish(third)
        assert third.state is State.DONE

    play(scenario, live=1)


def test_a_flood_of_one_tenant_does_not_hold_up_another() -> None:
    async def scenario(stage: Stage) -> None:
        flood = [stage.launch("flood") for _ in range(40)]
        few = [stage.launch("few") for _ in range(4)]
        assert stage.begun == [process.pid for process in flood[:4]]
        for process in flood[:2]:
            await stage.finish(process)
        assert stage.begun[4:] == [process.pid for process in few[:2]], "whoever has fewer is next"
        for process in few[:2]:
            await stage.finish(process)
        assert set(stage.begun[6:]) == {process.pid for process in few[2:]}, "and stays at its half"

    play(scenario, live=4)


def test_a_tenant_keeps_to_its_limit_while_there_are_places() -> None:
    async def scenario(stage: Stage) -> None:
        mine = [stage.launch("a") for _ in range(5)]
        other = stage.launch("b")
        assert stage.begun == [mine[0].pid, mine[1].pid, other.pid]
        await stage.finish(other)
        assert len(stage.begun) == 3, "the end of another tenant's makes no room for it"
        await stage.finish(mine[0])
        assert stage.begun[3:] == [mine[2].pid]

    play(scenario, live=10, live_per_tenant=2)


def test_weights_of_tenants_count() -> None:
    async def scenario(stage: Stage) -> None:
        plain = [stage.launch("plain") for _ in range(12)]
        gold = [stage.launch("gold") for _ in range(12)]
        for process in plain[:3]:
            await stage.finish(process)
        assert stage.begun[4:] == [process.pid for process in gold[:3]], "three of four places are its due"
        for process in gold[:6]:
            await stage.finish(process)
        assert stage.begun[7:] == [process.pid for process in gold[3:9]]

    play(scenario, weights={"gold": 3.0}, live=4)


@pytest.mark.parametrize("how", ["kill", "time limit"])
def test_one_that_waits_can_end(how: str) -> None:
    async def scenario(stage: Stage) -> None:
        first = stage.launch()
        doomed = stage.launch(wall_seconds=0.001 if how == "time limit" else 60.0)
        last = stage.launch()
        assert len(stage.core._sessions) == 3
        if how == "kill":
            await doomed.kill()
            await doomed.kill()
        with pytest.raises(Cancelled if how == "kill" else TimedOut, match=r"killed|no other process ended"):
            await doomed.wait()
        assert (doomed.state, doomed.cpu_ns, doomed.instance) == (State.KILLED, 0, None)
        assert [event.kind async for event in doomed.events()] == ["start", "error"]
        assert stage.view(doomed) == ("killed", [])
        assert stage.table.get(doomed.pid) is doomed
        assert len(stage.core._sessions) == 2
        await stage.finish(first)
        assert stage.begun == [first.pid, last.pid]

    play(scenario, live=1)


def test_the_time_limit_counts_from_the_launch_and_goes_on_after_the_wait() -> None:
    async def scenario(stage: Stage) -> None:
        first, second = stage.launch(), stage.launch(wall_seconds=0.5)
        await stage.finish(first)
        assert second.pid in stage.begun
        with pytest.raises(TimedOut, match="the program ran longer than"):
            await second.wait()

    play(scenario, live=1)


def test_none_of_those_that_wait_begins_at_the_end_of_the_host() -> None:
    async def scenario(stage: Stage) -> None:
        processes = [stage.launch(tenant) for tenant in "abcabcabc"]
        await stage.table.close()
        assert len(stage.begun) == 2
        for process in processes:
            with pytest.raises(Cancelled, match="shutting down"):
                await process.wait()

    play(scenario, live=2)


def test_full_queues() -> None:
    async def scenario(stage: Stage) -> None:
        for _ in range(3):
            stage.launch("a")
        with pytest.raises(LimitExceeded, match="1 processes of a are running and 2 launches wait"):
            stage.launch("a")
        stage.launch("b")
        with pytest.raises(Unavailable, match="3 launches wait"):
            stage.launch("c")
        assert stage.table.live == len(stage.core._sessions) == 4, "nothing of the refused is left"

    play(scenario, live=1, waiting=3, waiting_per_tenant=2)


def test_ten_thousand_launches_take_no_more_room_than_those_that_may_wait() -> None:
    async def scenario(stage: Stage) -> None:
        refused = 0
        for n in range(10_000):
            try:
                stage.launch(f"t{n % 50}")
            except (LimitExceeded, Unavailable):
                refused += 1
        assert refused == 10_000 - 20 - 100
        assert stage.table.live == len(stage.core._sessions) == len(stage.table.all()) == 120
        for process in stage.table.all():
            await process.kill()
        for _ in range(10_000):
            process = stage.launch("t0")
            waiting = stage.launch("t0")
            await waiting.kill()
            await process.kill()
        assert len(stage.table.all()) == MAX_FINISHED_PROCESSES

    play(scenario, live=20, live_per_tenant=1, waiting=100, waiting_per_tenant=8)


def test_launches_that_cannot_begin_after_their_wait_make_room_for_others() -> None:
    """All of a thousand: one after the other, not one inside the other."""

    async def scenario(stage: Stage) -> None:
        first = stage.launch("a")
        waiting = [stage.launch("ab"[n % 2]) for n in range(1000)]
        stage.broken = True
        await stage.finish(first)
        for process in waiting:
            with pytest.raises(Unavailable, match="there is no instance"):
                await process.wait()
        stage.broken = False
        await stage.finish(stage.launch("a"))

    play(scenario, live=1, waiting=1000, waiting_per_tenant=1000)


def test_a_launch_that_cannot_begin_takes_no_place() -> None:
    async def scenario(stage: Stage) -> None:
        for _ in range(3):
            with pytest.raises(InternalError, match="cannot start"):
                stage.launch(argument="cannot start")
            stage.broken = True
            with pytest.raises(Unavailable):
                stage.launch()
            stage.broken = False
            stage.check_empty()
        first, bad, good = stage.launch(), stage.launch(argument="cannot start"), stage.launch()
        await stage.finish(first)
        with pytest.raises(InternalError, match="cannot start"):
            await bad.wait()
        assert [guest.caller for guest in stage.alive] == [good]

    play(scenario, live=1)
