"""One running LIP: pid, state, limits, events, result. It is the `Caller` that syscall handlers see.

    NEW ──begin──> READY <──turn yielded──┐
                     │                    │
                     └──> RUNNING ────────┤
                     ▲        │           └──> DONE     returned, failed or trapped
                   wake       └──> BLOCKED
                     └────────────────┘
    any state ──kill──> KILLED

Knows nothing of HTTP, files or scheduling policy; `process.table` gives it turns.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from symphony.core.core import Core
from symphony.errors import Busy, InternalError, Invalid, NotFound, ProgramError, SymphonyError
from symphony.outside.grants import Reach
from symphony.param import (
    DEFAULT_CPU_SECONDS,
    DEFAULT_WALL_SECONDS,
    LAST_WORDS_CHARS,
    LAST_WORDS_LINES,
    MAX_ERROR_CHARS,
    MAX_RESULT_BYTES,
    NICEST,
)
from symphony.process.budget import Budget
from symphony.process.children import Launchable
from symphony.process.events import Cursor, Event, EventLog
from symphony.process.shelf import Shelf
from symphony.process.told import end_of, guest_error
from symphony.sandbox.outcome import Exited, Failed, Returned, Trapped
from symphony.sandbox.running import Running
from symphony.sandbox.timeline import Timeline, clock
from symphony.syscall import strict_json
from symphony.syscall.caller import Child, ChildLimits
from symphony.syscall.channels import Channels
from symphony.syscall.endpoint import Endpoint
from symphony.syscall.inbox import Inbox
from symphony.syscall.mailbox import Mailbox
from symphony.syscall.pollable import Waiter
from symphony.syscall.process import UsageRecord, usage_so_far, usage_within
from symphony.syscall.values import Ok

_log = logging.getLogger("symphony.process")


class State(enum.Enum):
    NEW = "new"
    READY = "ready"
    RUNNING = "running"
    BLOCKED = "blocked"
    DONE = "done"
    KILLED = "killed"

    @property
    def ended(self) -> bool:
        return self in (State.DONE, State.KILLED)


@dataclass(slots=True, frozen=True)
class LaunchOptions:
    """How to run a program, as the caller decides it."""

    tenant: str = "local"
    owner: str = "local"
    share: bool = False
    """Whether it may change names below `/shared`, which all tenants see."""
    wall_seconds: float = DEFAULT_WALL_SECONDS
    """From the launch on. Shortly before they are over, its rows go first among its tenant's."""
    cpu_seconds: float = DEFAULT_CPU_SECONDS
    nice: int = 0
    """-20 (first) to 19: how far it stands back behind its tenant's other processes, in CPU time and in batches."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    trace: bool = False
    """Whether its turns and syscalls are recorded, and those of its children (`process.trace`)."""
    request: str = ""
    """The id of the request that asked for it, for the log."""

    def __post_init__(self) -> None:
        if not -NICEST - 1 <= self.nice <= NICEST:
            raise Invalid(f"a nice value of {self.nice}", f"use {-NICEST - 1} (first) to {NICEST} (last)")


Spawn = Callable[["Process", str, str, ChildLimits, Mapping[str, int]], Awaitable[Child]]


class Process:
    """A program in execution, or one that waits for its place (NEW). Created by `ProcessTable.launch`."""

    def __init__(
        self,
        pid: int,
        program: str,
        options: LaunchOptions,
        core: Core,
        inbox: Inbox,
        reach: Reach,
        channels: Channels,
        end: Callable[[Process, SymphonyError | None], None],
        spawn: Spawn,
        origin: Launchable | None = None,
        parent: Process | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        """`end` kills it, in any state; `spawn` starts a child of it; `origin` is what can be started as it was;
        on `shelf` its output counts."""
        self.pid = pid
        self.parent = parent.pid if parent is not None else None
        self.depth = parent.depth + 1 if parent is not None else 0
        """How many generations are above it."""
        self.origin = origin
        self.children = 0
        """Children that run, or whose results it has not taken."""
        self.inherited: dict[str, int] = {}
        self.on_end: Callable[[Process], None] | None = None
        self.budget = Budget(options.cpu_seconds * 1e9, parent.budget if parent is not None else None)
        self.program = program
        self.options = options
        self.tenant = options.tenant
        self.core = core
        self.inbox = inbox
        self.reach = reach
        self.session = core.open_session(
            options.tenant,
            options.owner,
            share=options.share,
            priority=options.nice,
            deadline=core.clock() + options.wall_seconds,
        )
        self.state = State.NEW
        self.started = time.time()
        self.started_ns = time.monotonic_ns()
        self.began_ns = clock()
        """The launch, on the clock of timelines."""
        self.timeline = Timeline() if options.trace else None
        self.first_output: float | None = None
        """Seconds from the launch to its first output."""
        self.cpu_ns = 0
        self.log_events = EventLog(shelf)
        self.instance: Running | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.woken_in_turn = False
        self._channels = channels
        self._endpoint: Endpoint | None = None
        self._end = end
        self._spawn = spawn
        self._stdio: dict[str, bytearray] = {}
        self._last_words: tuple[str, ...] = ()
        self.untaken = 0
        self._tool_calls: set[asyncio.Future[Any]] = set()
        self._final_usage: UsageRecord | None = None
        self._finished: asyncio.Event | None = None
        """Made when somebody waits: a suspended program should take little memory."""
        self._value: Any = None
        self._result_size = 0
        self.result = ""
        """Its JSON, for as long as a parent may take it."""
        self.error: SymphonyError | None = None

    # ---- what a client sees
    @property
    def usage(self) -> UsageRecord:
        """What it used so far, or in all once it has ended."""
        return self._final_usage or usage_so_far(self)

    def usage_within(self, most: int) -> UsageRecord:
        """`usage`, by looking at so many entries of page tables at `most`."""
        return self._final_usage or usage_within(self, most)

    @property
    def output(self) -> str:
        return self.log_events.text()

    def events(self) -> AsyncIterator[Event]:
        """Every event from the start on; ends with `result` or `error`."""
        return self.log_events.read()

    def cursor(self, after: int = 0) -> Cursor:
        """A reader's place in the events, behind the first `after`."""
        return self.log_events.cursor(after)

    @property
    def event_count(self) -> int:
        """Events so far."""
        return len(self.log_events.events)

    @property
    def kept_bytes(self) -> int:
        """Roughly what its output and result take for as long as they are readable."""
        recorded = self.timeline.size if self.timeline is not None else 0
        return self.log_events.kept + self._result_size + recorded

    async def ended(self) -> None:
        """Wait for the end, whatever it is; by then everything that the process held is released."""
        if self.state.ended:
            return
        if self._finished is None:
            self._finished = asyncio.Event()
        await self._finished.wait()

    async def wait(self) -> Any:
        """The result, a JSON value. Raises the program's error (a SymphonyError) if it failed or was killed."""
        await self.ended()
        if self.error is not None:
            raise self.error
        return self._value

    async def kill(self) -> None:
        """End it; returns when everything it held is released. No-op if it has ended."""
        self.end()
        await self.ended()

    def end(self, why: SymphonyError | None = None) -> None:
        """`kill`, without waiting; `why` is what `wait` raises."""
        self._end(self, why)

    def post(self, text: str) -> None:
        """Send a text, for its `receive`. Raises Busy (it does not keep up), LimitExceeded (too long), NotFound (it has
        ended)."""
        if self.state.ended:
            raise NotFound(f"process {self.pid} has ended: nobody receives its messages")
        self.endpoint.mailbox.post(text)

    async def send(self, text: str) -> None:
        """`post`, once there is room."""
        while True:
            try:
                return self.post(text)
            except Busy:
                await _ready(self.endpoint.mailbox)

    # ---- what its syscalls see (syscall.caller.Caller)
    @property
    def environment(self) -> list[tuple[str, str]]:
        return list(self.options.environment.items())

    @property
    def endpoint(self) -> Endpoint:
        if self._endpoint is None:
            self._endpoint = Endpoint(self._channels)
        return self._endpoint

    async def spawn(self, program: str, args: str, limits: ChildLimits, files: Mapping[str, int]) -> Child:
        return await self._spawn(self, program, args, limits, files)

    def tool_calls(self) -> int:
        return len(self._tool_calls)

    def track(self, task: asyncio.Future[Any]) -> None:
        self._tool_calls.add(task)
        task.add_done_callback(self._tool_ended)

    def _tool_ended(self, task: asyncio.Future[Any]) -> None:
        self._tool_calls.discard(task)
        self.stirred()

    def stirred(self) -> None:
        """What was moved off the device while it waited comes back before it asks."""
        self.core.resume(self.session)

    async def emit(self, text: str) -> None:
        if self.first_output is None:
            self.first_output = (time.monotonic_ns() - self.started_ns) / 1e9
        if await self.log_events.output(text):
            self.stirred()

    def log(self, level: str, text: str) -> None:
        if level == "error":
            self._last_words = (text,)
        self.log_events.log(level, text)

    def stdio(self, stream: str, data: bytes) -> None:
        buffer = self._stdio.setdefault(stream, bytearray())
        buffer += data
        *lines, rest = bytes(buffer).split(b"\n")
        if len(rest) > 1 << 16:
            lines, rest = [*lines, rest], b""
        self._stdio[stream] = bytearray(rest)
        for line in lines:
            self._stdio_line(stream, line)

    def _stdio_line(self, stream: str, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        if stream == "stderr" and text.strip():
            self._last_words = (*self._last_words, text)[-LAST_WORDS_LINES:]
        self.log("info" if stream == "stdout" else "warn", text)

    def _end_stdio(self) -> None:
        """A last line may lack its line break."""
        for stream, rest in self._stdio.items():
            if rest:
                self._stdio_line(stream, bytes(rest))
        self._stdio.clear()

    def _broken(self, trap: str, backtrace: str) -> ProgramError:
        """A panic of a Rust program is a trap, but its SDK logs what it was about first; that is the error then."""
        match self._last_words:
            case (said,) if said.startswith("panicked at "):
                said = said if len(said) <= MAX_ERROR_CHARS else f"{said[:MAX_ERROR_CHARS]} [...]"
                hint = "a panic is a mistake in the program: it names the line; return an error for what may happen"
                return ProgramError(f"the program {said}", hint, backtrace)
            case _:
                text = f"the program trapped: {trap}{self._last_said()}"
                return ProgramError(text, "see the Wasm backtrace and the log", backtrace)

    def _last_said(self) -> str:
        """What it wrote as an error before it broke off: its languages put the reason there (a panic, an assertion)."""
        said = " ".join(line.strip() for line in self._last_words)
        if not said:
            return ""
        return f"; it last said: {said if len(said) <= LAST_WORDS_CHARS else f'{said[:LAST_WORDS_CHARS]} [...]'}"

    # ---- what the table does with it
    def outcome_of(self, instance: Running) -> None:
        """Take over how the guest ended."""
        outcome = instance.outcome
        self._end_stdio()
        if isinstance(outcome, Returned) and isinstance(outcome.value, Ok):
            self._parse(outcome.value.value)
        elif isinstance(outcome, Returned):
            self.error = guest_error(outcome.value.value)
        elif isinstance(outcome, Trapped):
            self.error = self._broken(end_of(outcome.message), end_of(outcome.backtrace))
        elif isinstance(outcome, Exited):
            text = f"the program called exit({outcome.code}) instead of returning a result"
            self.error = ProgramError(text + self._last_said(), "return from the entry point")
        elif isinstance(outcome, Failed):
            self.error = outcome.error
        else:
            self.error = InternalError(f"process {self.pid} ended without an outcome")

    def _parse(self, text: str) -> None:
        if len(text) > MAX_RESULT_BYTES:
            self.error = ProgramError(f"the result has {len(text)} characters, at most {MAX_RESULT_BYTES}")
            return
        self._result_size = len(text)
        try:
            self._value = strict_json.loads(text)
            self.result = text if self.on_end is not None else ""
        except ValueError as e:
            self.error = ProgramError(f"the program's result is not JSON: {e}", "return a JSON text from run")

    def fail(self, error: SymphonyError) -> None:
        self.error = error

    async def close(self, state: State) -> None:
        """Release everything in the core, then publish the end."""
        if self.deadline is not None:
            self.deadline.cancel()
        for task in self._tool_calls:
            task.cancel()
        self._tool_calls.clear()
        usage = usage_so_far(self)
        try:
            await self.core.close_session(self.session)
        except Exception as e:  # a bug of the core must not keep whoever waits for this process waiting
            _log.exception("closing the session of process %d failed", self.pid)
            self.error = InternalError(f"closing the session of process {self.pid} failed: {e!r}")
        self._end_stdio()
        self._final_usage = usage
        self.instance = self.origin = None
        self.state = state
        if self._endpoint is not None:
            self._endpoint.mailbox.close(NotFound(f"process {self.pid} has ended: nobody receives its messages"))
        self._publish()

    def _publish(self) -> None:
        error = self.error
        if error is None:
            self.log_events.end("result", {"value": self._value})
        else:
            traceback = error.traceback if isinstance(error, ProgramError) else ""
            data = {"code": error.code, "message": error.message, "hint": error.hint, "traceback": traceback}
            self.log_events.end("error", data)
        if self._finished is not None:
            self._finished.set()
        if self.on_end is not None:
            self.on_end(self)
            self.on_end = None
            self.result = ""


async def _ready(mailbox: Mailbox) -> None:
    """Wait until there is room, or nobody receives any more."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def resume() -> None:
        if not future.done():
            future.set_result(None)

    waiter = Waiter([mailbox.room])
    waiter.attach(resume)
    try:
        await future
    finally:
        waiter.detach()
