"""The order of turns: a guest that computes, beside guests that wait for the model. No guest and no clock is real."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from symphony.core.core import Core
from symphony.engine.fake import FakeEngine
from symphony.errors import Cancelled
from symphony.outside.grants import NOTHING
from symphony.process import table
from symphony.process.process import LaunchOptions, Process
from symphony.process.table import ProcessTable
from symphony.sandbox.config import InstanceLimits
from symphony.sandbox.outcome import Turn

MICROSECOND = 1_000


class Guest:
    """Stands in for a `sandbox.Instance`: each turn costs `ns` and logs itself."""

    def __init__(
        self, stage: Stage, caller: Process, on_wake: Callable[[Any], None], name: str, computes: bool
    ) -> None:
        self.stage, self.caller, self.on_wake, self.name, self.computes = stage, caller, on_wake, name, computes
        self.used_slice = False
        self.outcome: Any = None

    def start(self, argument: str) -> None:
        pass

    def turn(self) -> Turn:
        stage = self.stage
        stage.log.append(self.name)
        stage.now += 1000 * MICROSECOND if self.computes else 40 * MICROSECOND
        self.used_slice = self.computes
        if self.computes:
            stage.slices -= 1
            if not stage.slices:
                stage.over.set()
            return Turn.YIELDED
        stage.asked.append(self)
        if len(stage.asked) == stage.rows:  # the core's loop sleeps until all rows are there
            asyncio.get_running_loop().call_soon(stage.begin_step)
        return Turn.BLOCKED

    def kill(self, error: Exception) -> None:
        self.outcome = error


class Stage:
    """A table whose guests are scripted; the sandbox and the clock of `process.table` at once."""

    def __init__(self, rows: int, slices: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.rows = rows
        self.slices = slices
        self.length = length
        """Turns of the event loop that a step takes."""
        self.log: list[str] = []
        self.asked: list[Guest] = []
        self.over = asyncio.Event()
        monkeypatch.setattr(
            table, "time", SimpleNamespace(thread_time_ns=lambda: self.now, monotonic_ns=lambda: self.now)
        )

    def instantiate(self, program: Any, caller: Process, limits: Any, on_wake: Callable[[Any], None]) -> Guest:
        return Guest(self, caller, on_wake, caller.program, caller.program == "spinner")

    def begin_step(self) -> None:
        self.log.append("step")
        self.wait(self.length)

    def wait(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self.wait, turns - 1)
            return
        self.log.append("over")
        self.tell(2)

    def tell(self, turns: int) -> None:
        """From the end of the step to those who wait: a future's callback, and a task's turn."""
        if turns:
            asyncio.get_running_loop().call_soon(self.tell, turns - 1)
            return
        self.log.append("answers")
        asked, self.asked = self.asked, []
        for guest in asked:
            guest.on_wake(guest)


def play(rows: int, slices: int, length: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened until the spinner had its slices."""

    async def scenario() -> list[str]:
        stage = Stage(rows, slices, length, monkeypatch)
        core = Core([FakeEngine()])
        processes = ProcessTable(stage, core, InstanceLimits())  # type: ignore[arg-type]
        options = LaunchOptions(wall_seconds=float("inf"), cpu_seconds=float("inf"))
        for name in ["spinner", *["row"] * rows]:
            processes.launch(None, name, "", options, NOTHING)  # type: ignore[arg-type]
        await stage.over.wait()
        for process in processes.all():
            processes.kill(process, Cancelled("the test is over"))
        await processes.close()
        return stage.log

    return asyncio.run(scenario())


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_step_begins_before_a_guest_that_computes_goes_on(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = play(rows, 40, 3, monkeypatch)
    rounds = log.count("step") - 1
    assert rounds > 5
    for _ in range(rounds):
        log = log[log.index("answers") + 1 :]
        turns = log[: log.index("step")]
        assert turns.count("row") == rows
        spun = [i for i, name in enumerate(turns) if name == "spinner"]
        assert len(spun) <= 1, "at most the slice that was its turn when the answers came"
        assert not spun or spun[0] == 0, "and never between the rows and their step"
        assert "spinner" in log[log.index("step") :], "it is not starved either"


def test_a_turn_that_was_put_off_does_not_make_the_others_older(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that take no time: the rows are there again before the spinner has its turn, and have used less than it."""
    log = play(4, 20, 0, monkeypatch)
    slices = [i for i, name in enumerate(log) if name == "spinner"]
    steps = [log[a:b].count("step") for a, b in itertools.pairwise(slices)]
    assert min(steps[1:]) >= 20, "a slice is as long as 25 turns of each row"


@pytest.mark.parametrize("length", range(1, 12))
def test_the_end_of_a_step_waits_for_one_slice_at_most(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the turns of the loop that a step takes fall between the slices."""
    log = play(3, 40, length, monkeypatch)
    rounds = log.count("answers") - 1
    assert rounds > 5
    for _ in range(rounds):
        log = log[log.index("over") + 1 :]
        assert log[: log.index("row")].count("spinner") <= 1
