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
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from symphony.core.core import Core
from symphony.errors import InternalError, Invalid, ProgramError, SymphonyError
from symphony.param import (
    DEFAULT_CPU_SECONDS,
    DEFAULT_WALL_SECONDS,
    LAST_WORDS_CHARS,
    LAST_WORDS_LINES,
    MAX_ERROR_CHARS,
    MAX_RESULT_BYTES,
    NICEST,
)
from symphony.process.events import Event, EventLog
from symphony.sandbox.instance import Instance
from symphony.sandbox.outcome import Exited, Failed, Returned, Trapped
from symphony.syscall import strict_json
from symphony.syscall.inbox import Inbox
from symphony.syscall.process import UsageRecord, usage_so_far
from symphony.syscall.toolbox import Tool
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

    def __post_init__(self) -> None:
        if not -NICEST - 1 <= self.nice <= NICEST:
            raise Invalid(f"a nice value of {self.nice}", f"use {-NICEST - 1} (first) to {NICEST} (last)")


class Process:
    """A program in execution, or one that waits for its place (NEW). Created by `ProcessTable.launch`."""

    def __init__(
        self,
        pid: int,
        program: str,
        options: LaunchOptions,
        core: Core,
        inbox: Inbox,
        tools: Mapping[str, Tool],
        end: Callable[[Process], None],
    ) -> None:
        """`end` kills it, in any state."""
        self.pid = pid
        self.program = program
        self.options = options
        self.tenant = options.tenant
        self.core = core
        self.inbox = inbox
        self.tools = tools
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
        self.cpu_ns = 0
        self.log_events = EventLog()
        self.instance: Instance | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.woken_in_turn = False
        self._end = end
        self._stdio: dict[str, bytearray] = {}
        self._last_words: tuple[str, ...] = ()
        self._tool_calls: set[asyncio.Future[Any]] = set()
        self._final_usage: UsageRecord | None = None
        self._finished: asyncio.Event | None = None
        """Made when somebody waits: a suspended program should take little memory."""
        self._value: Any = None
        self._result_size = 0
        self._error: SymphonyError | None = None

    # ---- what a client sees
    @property
    def usage(self) -> UsageRecord:
        """What it used so far, or in all once it has ended."""
        return self._final_usage or usage_so_far(self)

    @property
    def computes(self) -> bool:
        """Whether it was still computing when its last turn ended."""
        return self.instance is not None and self.instance.used_slice

    @property
    def output(self) -> str:
        return self.log_events.text()

    def events(self) -> AsyncIterator[Event]:
        """Every event from the start on; ends with `result` or `error`."""
        return self.log_events.read()

    @property
    def kept_bytes(self) -> int:
        """Roughly what its output and result take for as long as they are readable."""
        return self.log_events.kept + self._result_size

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
        if self._error is not None:
            raise self._error
        return self._value

    async def kill(self) -> None:
        """End it; returns when everything it held is released. No-op if it has ended."""
        self._end(self)
        await self.ended()

    # ---- what its syscalls see (syscall.caller.Caller)
    @property
    def environment(self) -> list[tuple[str, str]]:
        return list(self.options.environment.items())

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

    def _last_said(self) -> str:
        """What it wrote as an error before it broke off: its languages put the reason there (a panic, an assertion)."""
        said = " ".join(line.strip() for line in self._last_words)
        if not said:
            return ""
        return f"; it last said: {said if len(said) <= LAST_WORDS_CHARS else f'{said[:LAST_WORDS_CHARS]} [...]'}"

    # ---- what the table does with it
    def outcome_of(self, instance: Instance) -> None:
        """Take over how the guest ended."""
        outcome = instance.outcome
        self._end_stdio()
        if isinstance(outcome, Returned) and isinstance(outcome.value, Ok):
            self._parse(outcome.value.value)
        elif isinstance(outcome, Returned):
            self._error = _guest_error(outcome.value.value)
        elif isinstance(outcome, Trapped):
            message, backtrace = _end_of(outcome.message), _end_of(outcome.backtrace)
            self._error = ProgramError(
                f"the program trapped: {message}{self._last_said()}", "see the Wasm backtrace and the log", backtrace
            )
        elif isinstance(outcome, Exited):
            text = f"the program called exit({outcome.code}) instead of returning a result"
            self._error = ProgramError(text + self._last_said(), "return from the entry point")
        elif isinstance(outcome, Failed):
            self._error = outcome.error
        else:
            self._error = InternalError(f"process {self.pid} ended without an outcome")

    def _parse(self, text: str) -> None:
        if len(text) > MAX_RESULT_BYTES:
            self._error = ProgramError(f"the result has {len(text)} characters, at most {MAX_RESULT_BYTES}")
            return
        self._result_size = len(text)
        try:
            self._value = strict_json.loads(text)
        except ValueError as e:
            self._error = ProgramError(f"the program's result is not JSON: {e}", "return a JSON text from run")

    def fail(self, error: SymphonyError) -> None:
        self._error = error

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
            self._error = InternalError(f"closing the session of process {self.pid} failed: {e!r}")
        self._end_stdio()
        self._final_usage = usage
        self.instance = None
        self.state = state
        self._publish()

    def _publish(self) -> None:
        error = self._error
        if error is None:
            self.log_events.end("result", {"value": self._value})
        else:
            traceback = error.traceback if isinstance(error, ProgramError) else ""
            data = {"code": error.code, "message": error.message, "hint": error.hint, "traceback": traceback}
            self.log_events.end("error", data)
        if self._finished is not None:
            self._finished.set()


def _end_of(text: str) -> str:
    """A guest may choose texts of many megabytes."""
    return text if len(text) <= MAX_ERROR_CHARS else f"[...]\n{text[-MAX_ERROR_CHARS:]}"


def _guest_error(text: str) -> ProgramError:
    """A guest's error text: `message`, then `hint: ...` on a line of its own, or a traceback whose last line it is."""
    text, _, hint = _end_of(text).rstrip().partition("\n  hint: ")
    lines = text.splitlines()
    if len(lines) > 1:
        return ProgramError(lines[-1], hint, text)
    return ProgramError(text or "the program failed without a message", hint)
