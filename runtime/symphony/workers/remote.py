"""A guest that runs in a worker, as the host sees it: an instance whose turns are taken elsewhere.

    NEW ──start──> AWAY ──CALL──> HERE ──ANSWER──> AWAY ──END──> DONE
                                   │  └─ waits (BLOCKED) ─┘
    any state ──kill──> DONE

Its syscalls are answered here, by the same handlers as those of a guest in this process, against the same `Process`:
so files, locks, channels, children, tools and output stay those of one host. `sandbox.Instance` is the original; what
a coroutine or a suspension waits for wakes this one, and the syscall goes on in the fleet's next round, which answers a
whole step at once. Guarded by: everything is the event loop's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol, cast

from symphony.errors import Cancelled, InternalError, SymphonyError
from symphony.sandbox.drive import attach
from symphony.sandbox.instance import drop_object
from symphony.sandbox.outcome import Exited, Failed, Outcome, Returned, Trapped, Turn
from symphony.sandbox.timeline import Timeline
from symphony.syscall.model import open_model
from symphony.syscall.pollable import Suspension
from symphony.syscall.values import Err, Ok
from symphony.workers.packing import pack_all, packed_error, unpacked_error
from symphony.workers.protocol import (
    ANSWER,
    BEGIN,
    CROSSINGS,
    ERROR,
    EXITED,
    FATAL,
    KILL,
    OK,
    RETURNED,
    TRAPPED,
    Crossing,
)

if TYPE_CHECKING:
    from symphony.process.process import Process
    from symphony.sandbox.config import InstanceLimits
    from symphony.sandbox.sandbox import LoadedProgram

_log = logging.getLogger(__name__)
_clock = time.thread_time_ns


class Place(Protocol):
    """Where a guest is: a worker, or the lobby in which it waits for one."""

    @property
    def serving(self) -> bool:
        """Whether guests run here."""
        ...

    def send(self, message: Sequence[Any]) -> None: ...
    def forget(self, pid: int) -> None:
        """That guest has ended. No-op the second time."""
        ...


class Remote:
    """Of one process. `Crew.instantiate` makes it; the process table treats it as any instance."""

    used_slice = False
    """It never computes here."""

    def __init__(
        self,
        place: Place,
        program: LoadedProgram,
        caller: Process,
        limits: InstanceLimits,
        on_wake: Callable[[Any], None],
        on_ready: Callable[[Remote], None],
    ) -> None:
        """`on_ready`: a syscall can begin, or go on: `go_on` will do it."""
        self.place = place
        self.caller = caller
        self.outcome: Outcome | None = None
        self.timeline: Timeline | None = None
        self._code = str(program.code)
        self._limits = limits
        self._on_wake = on_wake
        self._on_ready = on_ready
        self._things: dict[int, Any] = {}
        """The objects behind the guest's handles."""
        self._last = 0
        self._crossing: Crossing | None = None
        """The syscall that is not answered yet..."""
        self._values: list[Any] | None = None
        """...and its arguments, until it begins;"""
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        """its handler, where that is a coroutine;"""
        self._awaited: Any = None
        """what it waits for;"""
        self._spent = self._began = 0
        """and nanoseconds of CPU that it has cost here, but for what it costs since then."""
        self._woken = False
        self._ended = False

    # ---- what the process table sees
    def start(self, argument: str) -> None:
        """Have the worker run it. Does not block. Raises LimitExceeded."""
        process, limits = self.caller, self._limits
        head = (BEGIN, process.pid, self._code, argument, process.tenant, process.options.nice, process.environment)
        bounds = (limits.memory_bytes, limits.fuel, limits.handles)
        self.place.send((*head, bounds, process.started_ns, self.timeline is not None))

    def turn(self) -> Turn:
        """Harmless: says whether it has ended."""
        return Turn.BLOCKED if self.outcome is None else Turn.DONE

    def kill(self, error: SymphonyError) -> None:
        """End it now, in any state; releases everything."""
        if not self._ended:
            self.place.send((KILL, self.caller.pid))
            self._end(Failed(error))

    @property
    def awaited(self) -> Any:
        """What its syscall waits for; None: it has none that waits."""
        return self._awaited

    @property
    def away(self) -> bool:
        """Whether it is the guest's turn, not a syscall's."""
        return self._crossing is None and not self._ended and self.place.serving

    # ---- `packing.Handles`
    def number(self, thing: Any) -> int:
        self._last = number = self._last + 1
        self._things[number] = thing
        return number

    def thing(self, number: int | str | None, owned: bool) -> Any:
        if number is None:
            return None
        if isinstance(number, str):
            return open_model(self.caller, number)
        return self._things.pop(number) if owned else self._things[number]

    # ---- what the worker says
    def call(self, syscall: int, values: list[Any], spent: int) -> None:
        """The guest makes a syscall, and waits for the answer. It begins in the crew's next round."""
        self.used(spent)
        self._crossing = crossing = CROSSINGS[syscall]
        self._values = values
        if self.timeline is not None:
            self.timeline.asked(crossing.key)
        self._on_ready(self)

    def go_on(self) -> None:
        """Begin the syscall, or look whether what it waited for is there."""
        if self._ended:
            return
        self._began = _clock()
        try:
            if self._values is not None:
                self._handle()
            elif self._coroutine is not None:
                self._resume()
            else:
                value = self._awaited.answer()
                if value is None:
                    self._wait(self._awaited)
                else:
                    self._answer(value)
        except BaseException as error:
            self._refuse(error)
        self._spent += _clock() - self._began

    def drop(self, number: int) -> None:
        """The guest let go of an object."""
        drop_object(self._things.pop(number, None))

    def used(self, spent: int) -> None:
        """The guest has used so many nanoseconds of CPU since the worker last said so, and its syscalls some here."""
        spent, self._spent = spent + self._spent, 0
        process = self.caller
        process.cpu_ns += spent
        if process.budget.spend(spent) is not None:
            self._on_wake(self)  # the table looks at budgets, and ends it

    def took_turn(self, began: int, ended: int) -> None:
        if self.timeline is not None:
            self.timeline.turn_count += 1
            self.timeline.turns.append((began, ended))

    def ended(self, how: int, values: list[Any]) -> None:
        """The guest has ended."""
        if not self._ended:
            self._end(_outcome(how, values))
            self._on_wake(self)

    # ---- the inside
    def _handle(self) -> None:
        """Call the handler. Raises what it raises."""
        crossing, values = self._crossing, self._values
        assert crossing is not None
        assert values is not None
        self._values = None
        value: Any = crossing.handler(self.caller, *pack_all(crossing.unpack_arguments, values, self))
        if value.__class__ is CoroutineType:
            self._coroutine = value
            self._resume()
        elif isinstance(value, Suspension):
            self._wait(value)
        else:
            self._answer(value)

    def _resume(self) -> None:
        """Continue a handler. Raises what it raises."""
        coroutine = self._coroutine
        assert coroutine is not None
        try:
            awaited = coroutine.send(None)
        except StopIteration as stop:
            self._answer(stop.value)
            return
        self._wait(awaited)

    def _wait(self, awaited: Any) -> None:
        self._awaited = awaited
        self._woken = False
        attach(awaited, self._wake)

    def _wake(self, _: object = None) -> None:
        if not self._woken and not self._ended:
            self._woken = True
            self._on_ready(self)

    def _answer(self, value: Any) -> None:
        crossing = self._crossing
        if crossing is None:
            return  # its own syscall ended it
        pack = crossing.pack_result
        self._reply(OK, value if pack is None else pack(value, self))

    def _refuse(self, error: BaseException) -> None:
        """A handler raised, or what it returned cannot be sent."""
        if isinstance(error, asyncio.CancelledError):
            error = Cancelled("what the call waited for was cancelled")
        if isinstance(error, SymphonyError):
            return self._reply(ERROR, packed_error(error))
        key = self._crossing.key if self._crossing is not None else "a host call"
        _log.error("%s failed", key, exc_info=error)
        self._reply(FATAL, key)
        if not isinstance(error, Exception):
            raise error

    def _reply(self, status: int, value: Any) -> None:
        if self.timeline is not None:
            self.timeline.answered()
        spent = self._spent + _clock() - self._began
        self.place.send((ANSWER, self.caller.pid, spent, status, value))
        self._crossing = self._coroutine = self._awaited = None

    def _end(self, outcome: Outcome) -> None:
        """Release everything. Runs once."""
        self._ended = True
        self.outcome = outcome
        if self.timeline is not None:
            self.timeline.answered()
        self.place.forget(self.caller.pid)
        coroutine, awaited = self._coroutine, self._awaited
        self._crossing = self._values = self._coroutine = self._awaited = None
        if isinstance(awaited, Suspension):
            awaited.detach()
        if coroutine is not None:
            try:
                coroutine.close()
            except BaseException as error:
                _log.error("a syscall resisted its end", exc_info=error)
        things = list(self._things.values())
        self._things.clear()
        for thing in things:
            drop_object(thing)


def _outcome(how: int, values: list[Any]) -> Outcome:
    if how == RETURNED:
        good, text = values
        return Returned(Ok(cast(str, text)) if good else Err(cast(str, text)))
    if how == TRAPPED:
        return Trapped(*values)
    if how == EXITED:
        return Exited(*values)
    return Failed(unpacked_error(values) if values else InternalError("the guest ended without a reason"))
