"""All processes of this host, who may begin, and their turns: the level-1 loop.

`launch` makes a process at once; where `sched.admission` has no place for it, it stays NEW until another one's end
makes room. Its time limit runs meanwhile, and it can be killed.

`wake` makes a process READY; `_drain` gives turns in the order that `sched.process` decides, charges CPU time, and goes
back to the event loop after a short while, and before and after each full slice of a guest that computes, so that
neither sockets nor the core starve behind guests.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

from symphony.core.core import Core
from symphony.errors import Cancelled, InternalError, LimitExceeded, NotFound, SymphonyError, TimedOut
from symphony.outside.grants import Reach
from symphony.param import DRAIN_NS
from symphony.process.budget import Budget
from symphony.process.children import Launchable, Load, spawn
from symphony.process.process import LaunchOptions, Process, State
from symphony.process.records import Records
from symphony.process.shelf import Shelf
from symphony.process.tally import Tally
from symphony.sandbox.config import InstanceLimits
from symphony.sandbox.drive import run_detached
from symphony.sandbox.outcome import Turn
from symphony.sandbox.running import Running
from symphony.sandbox.sandbox import LoadedProgram
from symphony.sched.admission import Admission, AdmissionLimits
from symphony.sched.process import ProcessScheduler, weight_of
from symphony.syscall.caller import Child, ChildLimits
from symphony.syscall.channels import Channels
from symphony.syscall.inbox import Inbox

_log = logging.getLogger("symphony.process")

# Enum members as plain names, which are found sooner: most turns need five.
_READY, _RUNNING, _BLOCKED, _TURN_BLOCKED = State.READY, State.RUNNING, State.BLOCKED, Turn.BLOCKED
STAND_BACK_TURNS = 3
"""Turns of the event loop between two slices of guests that compute."""


class Ground(Protocol):
    """Where guests run: a sandbox, or workers that have one each."""

    def instantiate(
        self, program: LoadedProgram, caller: Process, limits: InstanceLimits, on_wake: Callable[[Running], None]
    ) -> Running:
        """As `Sandbox.instantiate`."""
        ...


class _Launch(NamedTuple):
    """What a process needs to begin."""

    program: LoadedProgram
    argument: str


class ProcessTable:
    """Launches, schedules and buries processes. All methods belong to the event-loop thread."""

    def __init__(
        self,
        ground: Ground,
        core: Core,
        limits: InstanceLimits,
        admission: AdmissionLimits | None = None,
        weights: Mapping[str, float] | None = None,
        load: Load | None = None,
    ) -> None:
        """`weights` of tenants, 1 where nothing is said; `load` finds the programs that processes start."""
        self._ground = ground
        self._admission = Admission[int](admission, weights)
        self._core = core
        self._limits = limits
        self._load = load or _nothing
        self._channels = Channels()
        self._shelves: WeakValueDictionary[str, Shelf] = WeakValueDictionary()
        """By tenant, while it has processes."""
        self.inbox = Inbox()
        core.connect(self.inbox.deliver)
        self._scheduler = ProcessScheduler(weights)
        self._pids = itertools.count(1)
        self._live: dict[int, Process] = {}
        """Those that have not ended..."""
        self._waiting: dict[int, _Launch] = {}
        """...of which these have not begun."""
        self._ended = Records()
        self.tally = Tally()
        self._burials = 0
        """Sessions whose end is not over in the core."""
        self._all_buried = asyncio.Event()
        self._drain_scheduled = False
        self._running: Process | None = None

    # ---- from outside
    def launch(
        self,
        program: LoadedProgram,
        name: str,
        argument: str,
        options: LaunchOptions,
        reach: Reach,
        *,
        origin: Launchable | None = None,
        parent: Process | None = None,
    ) -> Process:
        """Start a process, or have it wait until it may (a child does not wait); returns at once.

        LimitExceeded if too many of the tenant's launches wait, Unavailable if too many of all tenants' do.
        """
        pid = next(self._pids)
        if parent is None:
            admitted = self._admission.ask(pid, options.tenant)
        elif not (admitted := self._admission.ask_now(options.tenant)):
            raise LimitExceeded("there is no place for a child now", "wait for other processes to end")
        process = Process(
            pid,
            name,
            options,
            self._core,
            self.inbox,
            reach,
            self._channels,
            self.kill,
            self._spawn,
            origin,
            parent,
            self._shelves.setdefault(options.tenant, Shelf()),
        )
        process.log_events.add("start", {"pid": pid})
        self.tally.started += 1
        if admitted:
            try:
                self._begin(process, program, argument)
            except BaseException:
                self._detach(self._core.close_session(process.session))
                self._admit(self._admission.ended(process.tenant))
                raise
        else:
            self._waiting[pid] = _Launch(program, argument)
        self._live[pid] = process
        self._note("began" if admitted else "waits for its place", process)
        if options.wall_seconds < float("inf"):
            loop = asyncio.get_running_loop()
            process.deadline = loop.call_later(options.wall_seconds, self._expire, process)
        return process

    async def _spawn(
        self, parent: Process, program: str, args: str, limits: ChildLimits, files: Mapping[str, int]
    ) -> Child:
        return await spawn(parent, self._load, self._launch_child, program, args, limits, files)

    def _launch_child(
        self, parent: Process, chosen: Launchable, args: str, options: LaunchOptions, reach: Reach
    ) -> Process:
        argument = chosen.argument(args)
        return self.launch(chosen.program, chosen.name, argument, options, reach, origin=chosen, parent=parent)

    def kill(self, process: Process, error: SymphonyError | None = None) -> None:
        """End a process now, in any state; no-op if it has ended. Its `wait` raises `error` (default: Cancelled)."""
        if process.pid not in self._live:
            return
        if process is self._running:
            asyncio.get_running_loop().call_soon(self.kill, process, error)
            return
        process.fail(error or Cancelled(f"process {process.pid} was killed"))
        if process.instance is not None:
            process.instance.kill(error or Cancelled("killed"))
        self._bury(process, State.KILLED)

    def get(self, pid: int) -> Process:
        """NotFound once its record is gone too."""
        process = self._live.get(pid) or self._ended.get(pid)
        if process is None:
            raise NotFound(f"there is no process {pid}", "symphony ps lists them")
        return process

    def all(self) -> list[Process]:
        """Live ones, then the ended ones that are remembered."""
        return [*self._live.values(), *self._ended]

    @property
    def live(self) -> int:
        return len(self._live)

    async def close(self) -> None:
        """Kill everything and wait until the core has it all back."""
        for pid in [*self._waiting, *self._live]:  # those that wait go first, so that none of them begins
            if pid in self._live:
                self.kill(self._live[pid], Cancelled("the host is shutting down"))
        while self._burials:
            self._all_buried.clear()
            await self._all_buried.wait()

    # ---- the beginning
    def _begin(self, process: Process, program: LoadedProgram, argument: str) -> None:
        """It has its place. Raises what the sandbox raises; nothing of it is left then."""
        process.instance = instance = self._ground.instantiate(program, process, self._limits, self._woken)
        instance.timeline = process.timeline
        try:
            instance.start(argument)
        except BaseException:
            instance.kill(InternalError(f"process {process.pid} could not begin"))
            raise
        self._scheduler.add(process.pid, process.tenant, weight_of(process.options.nice))
        self._ready(process)

    def _admit(self, pids: list[int]) -> None:
        """Begin launches that waited. One that cannot begin ends with the reason, and makes room for others."""
        for pid in pids:
            process, launch = self._live[pid], self._waiting.pop(pid)
            try:
                self._begin(process, *launch)
            except Exception as e:
                _log.warning("process %d could not begin: %r", pid, e)
                process.fail(e if isinstance(e, SymphonyError) else InternalError(f"it could not begin: {e!r}"))
                self._inter(process, State.DONE)
                pids += self._admission.ended(process.tenant)

    # ---- turns
    def _woken(self, instance: Running) -> None:
        process: Process = instance.caller
        if process.state is _BLOCKED:  # as `_ready`, which is a call more for each token
            process.state = _READY
            self._scheduler.ready(process.pid)
            if not self._drain_scheduled:
                self._drain_scheduled = True
                asyncio.get_running_loop().call_soon(self._drain)
        elif process is self._running:
            process.woken_in_turn = True

    def _ready(self, process: Process) -> None:
        process.state = _READY
        self._scheduler.ready(process.pid)
        if not self._drain_scheduled:
            self._drain_scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        start = now = time.thread_time_ns()
        while now - start < DRAIN_NS:
            pid = self._scheduler.next()
            if pid is None:
                self._drain_scheduled = False
                return
            process = self._live[pid]
            instance = process.instance
            assert instance is not None  # it is live
            if instance.used_slice and now != start:
                self._scheduler.ready(pid)  # first the core may begin a step for those who just had their turns
                return self._stand_back()
            process.state = _RUNNING
            process.woken_in_turn = False
            self._running = process
            try:
                turn = instance.turn()
            except Exception as e:
                turn = self._failed(process, e)
            self._running = None
            before, now = now, time.thread_time_ns()
            used = now - before
            process.cpu_ns += used
            self._scheduler.charge(pid, used)
            budget, empty = process.budget, None
            if budget.parent is None and budget.used + used <= budget.limit:
                budget.used += used
            else:
                empty = budget.spend(used)
            if turn is _TURN_BLOCKED and not process.woken_in_turn and empty is None:  # most turns
                process.state = _BLOCKED
                continue
            self._after(process, turn, empty)
            if turn is Turn.YIELDED and instance.used_slice:
                return self._stand_back()  # see whether the model or a socket has something for those who wait
        asyncio.get_running_loop().call_soon(self._drain)

    def _stand_back(self, turns: int = STAND_BACK_TURNS) -> None:
        """Go on when the event loop has had a few turns: the end of a step reaches those who wait for it by a chain of
        callbacks, a turn each, and a slice between any two of them would add its length."""
        loop = asyncio.get_running_loop()
        if turns > 1:
            loop.call_soon(self._stand_back, turns - 1)
        else:
            loop.call_soon(self._drain)

    def _failed(self, process: Process, error: Exception) -> Turn:
        _log.exception("turn of process %d failed", process.pid)
        assert process.instance is not None
        process.instance.kill(InternalError(f"the host failed in a turn of process {process.pid}: {error!r}"))
        return Turn.DONE

    def _after(self, process: Process, turn: Turn, empty: Budget | None) -> None:
        """`empty`: a budget that is used up."""
        if turn is Turn.YIELDED or (turn is Turn.BLOCKED and process.woken_in_turn):
            self._ready(process)
        elif turn is Turn.BLOCKED:
            process.state = State.BLOCKED
        else:
            assert process.instance is not None
            process.outcome_of(process.instance)
            self._bury(process, State.DONE)
            return
        if empty is not None:
            whose = "program" if empty is process.budget else "process that started it"
            text = f"the {whose} used more than {empty.limit / 1e9:g} s of CPU"
            self.kill(process, LimitExceeded(text, "raise the run's CPU limit, or let it do less"))

    def _expire(self, process: Process) -> None:
        seconds = process.options.wall_seconds
        if process.pid in self._waiting:
            error = TimedOut(f"no other process ended within {seconds:g} s", "try again, or raise the run's timeout")
        else:
            error = TimedOut(f"the program ran longer than {seconds:g} s", "raise the run's timeout")
        self.kill(process, error)

    # ---- the end
    def _bury(self, process: Process, state: State) -> None:
        if self._waiting.pop(process.pid, None) is not None:
            self._admission.withdraw(process.pid)
            self._inter(process, state)
            return
        self._scheduler.remove(process.pid)
        self._inter(process, state)
        if admitted := self._admission.ended(process.tenant):
            self._admit(admitted)

    def _inter(self, process: Process, state: State) -> None:
        del self._live[process.pid]
        self._count(process, state)
        self._ended.add(process)
        self._detach(process.close(state))

    def _count(self, process: Process, state: State) -> None:
        how = "killed" if state is State.KILLED else "error" if process.error is not None else "result"
        seconds = (time.monotonic_ns() - process.started_ns) / 1e9
        tally = self.tally
        tally.ended[how] += 1
        tally.cpu_ns += process.cpu_ns
        tally.lasted.add(seconds)
        if process.first_output is not None:
            tally.spoke.add(process.first_output)
        if _log.isEnabledFor(logging.INFO):
            usage = process.usage
            self._note(
                f"ended: {how}" if process.error is None else f"ended: {how}: {process.error.message}",
                process,
                outcome=how if process.error is None else process.error.code,
                ms=round(seconds * 1000, 3),
                tokens=usage.prompt_tokens + usage.generated_tokens,
            )

    def _note(self, what: str, process: Process, **more: object) -> None:
        """A line in the host's log."""
        if _log.isEnabledFor(logging.INFO):
            options, parent = process.options, process.parent
            of = {"tenant": options.tenant, "pid": process.pid, "program": process.program, "request": options.request}
            _log.info("process %d %s", process.pid, what, extra={**of, "parent": parent, **more})

    def _detach(self, burial: Coroutine[Any, Any, None]) -> None:
        """As a rule it is over when this returns: a task would be dearer than the burial."""
        self._burials += 1
        run_detached(burial, self._buried)

    def _buried(self) -> None:
        self._burials -= 1
        if not self._burials:
            self._all_buried.set()


async def _nothing(program: str, tenant: str) -> Launchable:
    raise NotFound(f"this host has no program {program!r}")
