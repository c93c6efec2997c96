"""Turns in a worker, with guests that are scripts and a clock that is set; and what of a guest's end crosses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from symphony.param import MAX_ERROR_CHARS, MAX_RESULT_BYTES
from symphony.process.told import guest_error
from symphony.sandbox.outcome import Returned, Turn
from symphony.syscall.values import Err, Ok
from symphony.workers import guests as module
from symphony.workers.guests import Guests, _plain
from symphony.workers.protocol import FAILED, OK, RETURNED


class Scripted:
    """A guest: computes for a whole slice each time, or makes a syscall after a tenth of one."""

    outcome = None

    def __init__(self, sandbox: Scripts, caller: Any, on_wake: Callable[[Any], None]) -> None:
        self.caller = caller
        self.turns = 0
        self.used_slice = self.computes = caller.environment == [("computes", "yes")]
        self._sandbox = sandbox
        self._on_wake = on_wake

    def start(self, argument: str) -> None: ...

    def turn(self) -> Turn:
        self.turns += 1
        self._sandbox.now += 1_000_000 if self.computes else 100_000
        if self.computes:
            return Turn.YIELDED
        self.caller.call = self
        return Turn.BLOCKED

    def arrived(self, status: int, value: object) -> None:
        self._on_wake(self)


class Scripts:
    """In place of a sandbox."""

    def __init__(self) -> None:
        self.now = 0
        self.made: list[Scripted] = []

    def instantiate(self, program: object, caller: Any, limits: object, on_wake: Callable[[Any], None]) -> Scripted:
        self.made.append(Scripted(self, caller, on_wake))
        return self.made[-1]


def test_what_the_host_spent_is_charged_and_takes_nothing_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nice guests that ask often get the share of nice guests, beside one that computes."""

    async def scenario() -> None:
        sandbox = Scripts()
        monkeypatch.setattr(module, "_cpu", lambda: sandbox.now)
        guests = Guests(sandbox, {}, lambda message: None)  # type: ignore[arg-type]
        guests._programs["code"] = object()  # type: ignore[assignment]
        for pid, nice, computes in ((1, 0, "yes"), (2, 19, "no"), (3, 19, "no")):
            guests.begin(pid, "code", "", "tenant", nice, [["computes", computes]], [0, 0, 0], 0, False)
        plain, *nice = sandbox.made
        while plain.turns < 1000:
            await asyncio.sleep(0)
            for pid in (2, 3):
                guests.answer(pid, 20_000, OK, None)
        assert sum(guest.turns for guest in nice) < 400, "it was 600 where an answer moved the clock of all"
        assert min(guest.turns for guest in nice) > 50

    asyncio.run(scenario())


def test_no_more_of_an_end_crosses_than_the_host_keeps() -> None:
    assert _plain(Returned(Ok("1"))) == (RETURNED, (True, "1"))
    how, error = _plain(Returned(Ok("x" * (MAX_RESULT_BYTES + 1))))
    assert how == FAILED
    assert error[0] == "program-error"
    assert error[1].startswith(f"the result has {MAX_RESULT_BYTES + 1} characters")
    for size in (0, 1, MAX_ERROR_CHARS - 1, MAX_ERROR_CHARS, MAX_ERROR_CHARS + 1, MAX_ERROR_CHARS * 3):
        text = "".join(chr(97 + i % 26) for i in range(size))
        how, (good, sent) = _plain(Returned(Err(text)))
        assert (how, good) == (RETURNED, False)
        assert len(sent) <= MAX_ERROR_CHARS + 1
        assert guest_error(sent).message == guest_error(text).message
