"""Guests in a worker: their turns, and the syscalls that go to the host.

    begin ──> READY ──turn──> (RUNNING) ──┬─> READY      its fuel slice is used up
                 ▲                        ├─> BLOCKED    a syscall is at the host ──answer──> READY
                 └────────────────────────┘─> gone       END is sent
    any state ──kill──> gone

Turns are given by CPU time, fair between tenants and then processes, as in a host without workers (`sched.process`);
what a syscall costs the host counts for its guest here as well. Guarded by: everything is the event loop's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from symphony.engine.tokenizer import Tokenizer
from symphony.errors import InternalError, LimitExceeded, NotFound, ProgramError, SymphonyError
from symphony.param import DRAIN_NS, MAX_ERROR_CHARS, MAX_LOADED_PROGRAMS, MAX_RESULT_BYTES, WORKER_REPORT_NS
from symphony.sandbox.config import InstanceLimits
from symphony.sandbox.instance import Instance
from symphony.sandbox.outcome import Exited, Failed, Outcome, Returned, Trapped, Turn
from symphony.sandbox.sandbox import LoadedProgram, Sandbox
from symphony.sandbox.timeline import clock
from symphony.sched.process import ProcessScheduler, weight_of
from symphony.syscall import model
from symphony.syscall.model import Model
from symphony.syscall.pollable import Suspension
from symphony.syscall.values import Err, Handler, Ok
from symphony.workers.packing import pack_all, packed_error, unpacked_error
from symphony.workers.protocol import (
    CALL,
    CROSSINGS,
    DROP,
    END,
    ERROR,
    EXITED,
    FAILED,
    OK,
    OPEN_MODEL,
    RETURNED,
    SPELLING,
    TRAPPED,
    TURN,
    USED,
    Crossing,
)

_log = logging.getLogger(__name__)
_cpu = time.thread_time_ns
POLL = "wasi:io/poll#poll"


class Ref:
    """An object of the host's, behind a guest's handle."""

    __slots__ = ("_guest", "number")

    def __init__(self, guest: Guest, number: int) -> None:
        self.number = number
        self._guest = guest

    def drop(self) -> None:
        self._guest.send((DROP, self._guest.pid, self.number))


class Call(Suspension):
    """A syscall that is at the host."""

    __slots__ = ("_crossing", "_guest", "_resume", "reply")

    def __init__(self, guest: Guest, number: int, crossing: Crossing, arguments: Sequence[Any]) -> None:
        values = pack_all(crossing.pack_arguments, arguments, guest)
        guest.send((CALL, guest.pid, number, values, guest.spend()))
        guest.call = self
        self._guest = guest
        self._crossing = crossing
        self._resume: Callable[[], None] | None = None
        self.reply: tuple[int, Any] | None = None

    def attach(self, resume: Callable[[], None]) -> None:
        self._resume = resume

    def detach(self) -> None:
        self._guest.call = None

    def arrived(self, status: int, value: Any) -> None:
        self.reply = (status, value)
        if self._resume is not None:
            self._resume()

    def answer(self) -> Any:
        if self.reply is None:
            return None
        status, value = self.reply
        if status == OK:
            unpack = self._crossing.unpack_result
            return value if unpack is None else unpack(value, self._guest)
        if status == ERROR:
            raise unpacked_error(value)
        raise RuntimeError(f"{value} failed in the host")

    def __await__(self) -> Generator[Call, None, Any]:
        while self.reply is None:
            yield self
        return self.answer()


class Guest:
    """One guest: the caller that handlers in this process see, and the `Handles` of its values."""

    def __init__(
        self, guests: Guests, pid: int, environment: list[tuple[str, str]], started_ns: int, traced: bool
    ) -> None:
        self.pid = pid
        self.environment = environment
        self.started_ns = started_ns
        self.send = guests.send
        self.traced = traced
        self.instance: Instance | None = None
        self.call: Call | None = None
        """The syscall that is at the host."""
        self.running = False
        self.woken = False
        """While it ran."""
        self.owed = 0
        """Nanoseconds that its syscalls cost the host, until they are charged with its next turn."""
        self._spent = 0

    def spent(self, ns: int) -> int:
        """Count CPU time; what the host does not know of yet."""
        self._spent += ns
        return self._spent

    def spend(self) -> int:
        """That, which the host is told now."""
        spent, self._spent = self._spent, 0
        return spent

    def number(self, thing: Any) -> int | str | None:
        if isinstance(thing, Ref):
            return thing.number
        return thing.name if isinstance(thing, Model) else None

    def thing(self, number: int | str | None, owned: bool) -> Any:
        return Ref(self, number) if isinstance(number, int) else None


class Guests:
    """Those of one worker."""

    def __init__(self, sandbox: Sandbox, weights: Mapping[str, float], send: Callable[[Sequence[Any]], None]) -> None:
        self.send = send
        self._sandbox = sandbox
        self._scheduler = ProcessScheduler(weights)
        self._guests: dict[int, Guest] = {}
        self._programs: dict[str, LoadedProgram] = {}
        self._scheduled = False

    # ---- from the host
    def begin(
        self,
        pid: int,
        code: str,
        argument: str,
        tenant: str,
        nice: int,
        environment: list[list[str]],
        bounds: list[int],
        started_ns: int,
        traced: bool,
    ) -> None:
        """Run a program; that it cannot begin is said by END."""
        guest = Guest(self, pid, [(name, value) for name, value in environment], started_ns, traced)
        instance: Instance | None = None
        try:
            limits = InstanceLimits(*bounds)
            instance = self._sandbox.instantiate(self._program(Path(code)), guest, limits, self._woken)
            instance.start(argument)
        except Exception as error:
            if instance is not None:
                instance.kill(InternalError("it could not begin"))
            if not isinstance(error, SymphonyError):
                _log.exception("process %d could not begin", pid)
                error = InternalError(f"it could not begin: {error!r}")
            self.send((END, pid, FAILED, packed_error(error), 0))
            return
        guest.instance = instance
        self._guests[pid] = guest
        self._scheduler.add(pid, tenant, weight_of(nice))
        self._ready(guest)

    def answer(self, pid: int, ns: int, status: int, value: Any) -> None:
        """Of the syscall that a guest waits in, which cost the host so much CPU."""
        guest = self._guests.get(pid)
        if guest is not None and guest.call is not None:
            guest.owed += ns
            call, guest.call = guest.call, None
            call.arrived(status, value)

    def kill(self, pid: int) -> None:
        """Idempotent."""
        guest = self._guests.get(pid)
        if guest is not None and guest.instance is not None:
            self._remove(guest)
            guest.instance.kill(InternalError("killed"))

    # ---- turns
    def _woken(self, instance: Instance) -> None:
        guest: Any = instance.caller
        if guest.running:
            guest.woken = True
        elif guest.pid in self._guests:
            self._ready(guest)

    def _ready(self, guest: Guest) -> None:
        self._scheduler.ready(guest.pid)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        """Give turns for a while, and look at the socket between two slices of guests that compute."""
        began = now = _cpu()
        while now - began < DRAIN_NS:
            pid = self._scheduler.next()
            if pid is None:
                self._scheduled = False
                return
            guest = self._guests[pid]
            before, seen = now, clock()
            turn = self._turn(guest)
            now = _cpu()
            if guest.traced:
                self.send((TURN, pid, seen, clock()))
            self._scheduler.charge(pid, now - before + guest.owed)
            guest.owed = 0
            if guest.spent(now - before) > WORKER_REPORT_NS and turn is not Turn.DONE:
                self.send((USED, pid, guest.spend()))
            if turn is Turn.YIELDED or (turn is Turn.BLOCKED and guest.woken):
                self._scheduler.ready(pid)
            elif turn is Turn.DONE:
                self._ended(guest)
            if guest.instance is not None and guest.instance.used_slice:
                break
        asyncio.get_running_loop().call_soon(self._drain)

    def _turn(self, guest: Guest) -> Turn:
        instance = guest.instance
        assert instance is not None
        guest.running, guest.woken = True, False
        try:
            return instance.turn()
        except Exception as error:
            _log.exception("a turn of process %d failed", guest.pid)
            instance.kill(InternalError(f"the host failed in a turn of process {guest.pid}: {error!r}"))
            return Turn.DONE
        finally:
            guest.running = False

    # ---- the end
    def _ended(self, guest: Guest) -> None:
        instance = guest.instance
        self._remove(guest)
        assert instance is not None
        assert instance.outcome is not None
        (how, values), spent = _plain(instance.outcome), guest.spend()
        try:
            self.send((END, guest.pid, how, values, spent))
        except LimitExceeded as error:
            self.send((END, guest.pid, FAILED, packed_error(error), spent))

    def _remove(self, guest: Guest) -> None:
        del self._guests[guest.pid]
        self._scheduler.remove(guest.pid)

    def _program(self, code: Path) -> LoadedProgram:
        """Raises NotFound: it was removed meanwhile; InvalidProgram."""
        key = str(code)
        program = self._programs.pop(key, None)
        if program is None:
            if not code.is_file():
                raise NotFound("the program's compiled code is gone", "run it again: it is compiled anew")
            program = self._sandbox.load(code)
            while len(self._programs) >= MAX_LOADED_PROGRAMS:
                self._programs.pop(next(iter(self._programs)))
        self._programs[key] = program  # the last one is the one that was used last
        return program


def _plain(outcome: Outcome) -> tuple[int, Sequence[Any]]:
    """No more of it than the host keeps."""
    match outcome:
        case Returned(value):
            return _returned(value)
        case Trapped(message, backtrace):
            return TRAPPED, (message, backtrace)
        case Exited(code):
            return EXITED, (code,)
        case Failed(error):
            return FAILED, packed_error(error)


def _returned(value: Ok[str] | Err[str]) -> tuple[int, Sequence[Any]]:
    text = value.value
    if isinstance(value, Err):  # one character more, so that the host sees that it was longer
        return RETURNED, (False, text[-MAX_ERROR_CHARS - 1 :])
    if len(text) > MAX_RESULT_BYTES:
        text = f"the result has {len(text)} characters, at most {MAX_RESULT_BYTES}"
        return FAILED, packed_error(ProgramError(text))
    return RETURNED, (True, text)


def handlers(models: Mapping[str, Tokenizer]) -> dict[str, Handler]:
    """What a worker's sandbox serves: what crosses, and the text of these models' tokens. The first is the default."""
    crossing = {crossing.key: _handler(number, crossing, models) for number, crossing in enumerate(CROSSINGS)}
    return crossing | {key: model.HANDLERS[key] for key in SPELLING}


def _handler(number: int, crossing: Crossing, models: Mapping[str, Tokenizer]) -> Handler:
    def certain(guest: Guest, *arguments: Any) -> Call:
        return Call(guest, number, crossing, arguments)

    async def perhaps(guest: Guest, *arguments: Any) -> Any:
        return await Call(guest, number, crossing, arguments)

    def poll(guest: Guest, pollables: list[Any]) -> Any:
        """What is no object of the host's was ready from its start (`wasi.fallback`)."""
        mine = [i for i, pollable in enumerate(pollables) if not isinstance(pollable, Ref)]
        return mine or Call(guest, number, crossing, (pollables,))

    def open_model(guest: Guest, name: str | None) -> Any:
        """A name that is none is the host's to refuse."""
        chosen = next(iter(models)) if name is None else name
        return Model(chosen, models[chosen]) if chosen in models else certain(guest, name)

    if crossing.key == POLL:
        return poll
    if crossing.key == OPEN_MODEL:
        return open_model
    return certain if crossing.certain else perhaps
