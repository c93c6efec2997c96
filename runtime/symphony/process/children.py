"""Processes that processes start: what they get, what becomes of them, and the handle that their parent has.

A child lives within its parent's limits: it ends by its parent's deadline, its CPU time counts for its parent too, and
it may call and change no more. It ends with its handle, that is with its parent at the latest, unless it was detached.
It begins at once or not at all: a parent that waited for a child that waits for the parent's place would never end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from symphony.errors import Cancelled, Invalid, LimitExceeded, NotFound, ProgramError, SymphonyError, Unavailable
from symphony.outside.grants import Reach
from symphony.param import MAX_CHILD_RESULT_CHARS, MAX_CHILDREN, MAX_SPAWN_DEPTH, NICEST
from symphony.sandbox.sandbox import LoadedProgram
from symphony.syscall.caller import ChildLimits
from symphony.syscall.pollable import Pollable
from symphony.syscall.values import Err, Ok

if TYPE_CHECKING:
    from symphony.process.process import LaunchOptions, Process


class Launchable(Protocol):
    """A program ready to run, as `program` hands it out."""

    @property
    def program(self) -> LoadedProgram: ...
    @property
    def name(self) -> str: ...
    @property
    def argument(self) -> Callable[[str], str]:
        """From the JSON of a run's arguments to what the program's `run` takes."""
        ...


Load = Callable[[str, str], Awaitable[Launchable]]
"""From a name, an id or a source, and a tenant, to a program. Never reads a path."""

Launch = Callable[["Process", Launchable, str, "LaunchOptions", Reach], "Process"]
"""From a parent, a program, the JSON of its arguments, options and what it may reach to a process that has begun."""


class Ended(Pollable):
    """Fires when a child has ended: of its own class, so that one can tell what a process waits for."""

    __slots__ = ()


class ChildHandle:
    """What a parent has of a child (`syscall.caller.Child`)."""

    def __init__(self, parent: Process, process: Process) -> None:
        self.pid = process.pid
        self.ended = Ended()
        self._parent: Process | None = parent
        self._process: Process | None = process
        """None once it has ended."""
        self._answer: Ok[str] | Err[SymphonyError] | None = None
        self._detached = False
        parent.children += 1
        process.on_end = self._end

    @property
    def room(self) -> Pollable:
        return self._process.endpoint.mailbox.room if self._process is not None else self.ended

    def post(self, text: str) -> None:
        if self._process is None:
            raise NotFound(f"process {self.pid} has ended: nobody receives its messages")
        self._process.post(text)

    def take(self) -> Ok[str] | Err[SymphonyError] | None:
        if not self.ended.fired:
            return None
        answer, self._answer = self._answer, None
        self._leave()
        return answer or Err(Invalid(f"the result of process {self.pid} was taken already"))

    def kill(self) -> None:
        if self._process is not None:
            self._process.end(Cancelled(f"killed by process {self._process.parent}, which started it"))

    def detach(self) -> None:
        self._detached = True

    def drop(self) -> None:
        if not self._detached:
            self.kill()
        self._answer = None
        self._leave()

    def _leave(self) -> None:
        """It no longer counts for its parent."""
        parent, self._parent = self._parent, None
        if parent is not None:
            parent.children -= 1

    def _end(self, process: Process) -> None:
        parent, self._process = self._parent, None
        if parent is not None:
            self._answer = _answer(process)
            self.ended.fire()
            parent.stirred()


def _answer(process: Process) -> Ok[str] | Err[SymphonyError]:
    who = f"child {process.pid} ({process.program})"
    error = process.error
    if error is None and len(process.result) <= MAX_CHILD_RESULT_CHARS:
        return Ok(process.result)
    if error is None:
        error = LimitExceeded(
            f"{who}: the result has {len(process.result)} characters, at most {MAX_CHILD_RESULT_CHARS}",
            "send it in pieces over a channel, or save a KV file",
        )
        return Err(error)
    kind = Unavailable if isinstance(error, ProgramError) else type(error)
    return Err(kind(f"{who}: {error.message}", error.hint))


async def spawn(
    parent: Process, load: Load, launch: Launch, program: str, args: str, limits: ChildLimits, files: Mapping[str, int]
) -> ChildHandle:
    """Start a child of `parent` (`syscall.caller.Caller.spawn`). An empty name is the parent's own program."""
    if parent.children >= MAX_CHILDREN:
        raise LimitExceeded(f"the process has {MAX_CHILDREN} children", "take the result of some, or drop them")
    if parent.depth >= MAX_SPAWN_DEPTH:
        raise LimitExceeded(
            f"the process is a child in generation {MAX_SPAWN_DEPTH}, the last", "let its parents start what it needs"
        )
    reach = parent.reach if limits.tools is None else parent.reach.only(limits.tools)
    chosen = parent.origin if not program else await _loaded(load(program, parent.tenant))
    if chosen is None:
        raise NotFound("this process cannot start its own program again", "name an uploaded program")
    core, passed = parent.core, dict[str, int]()
    try:
        for name, file in files.items():
            passed[name] = await core.fork(parent.session, file)
        process = launch(parent, chosen, args, _lowered(parent, limits), reach)
    except BaseException:
        for file in passed.values():
            await core.close_file(parent.session, file)
        raise
    for name, file in passed.items():
        core.hand_over(parent.session, file, process.session)
        process.inherited[name] = file
    return ChildHandle(parent, process)


async def _loaded(loading: Awaitable[Launchable]) -> Launchable:
    """In a task of its own, which a syscall is not; it ends if the parent does."""
    task = asyncio.ensure_future(loading)
    try:
        return await task
    except BaseException:
        task.cancel()
        raise


def _lowered(parent: Process, limits: ChildLimits) -> LaunchOptions:
    """The parent's options, or less."""
    own = parent.options
    left = own.wall_seconds - (time.monotonic_ns() - parent.started_ns) / 1e9
    wall = left if limits.wall_us is None else min(left, limits.wall_us / 1e6)
    cpu = own.cpu_seconds if limits.cpu_us is None else min(own.cpu_seconds, limits.cpu_us / 1e6)
    nice = own.nice if limits.nice is None else min(max(own.nice, limits.nice), NICEST)
    return replace(
        own, wall_seconds=max(wall, 0.0), cpu_seconds=cpu, nice=nice, share=own.share and limits.share is not False
    )
