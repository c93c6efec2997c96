"""Who calls: what a syscall handler may know of the process that called it.

`process.Process` implements this; tests use a stand-in. A handler touches the core only through ids and awaited calls
(semantics 16), never through shared objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from symphony.core.core import Core
from symphony.errors import SymphonyError
from symphony.outside.grants import Reach
from symphony.syscall.endpoint import Endpoint
from symphony.syscall.inbox import Inbox
from symphony.syscall.pollable import Pollable
from symphony.syscall.values import Err, Ok


class ChildLimits(Protocol):
    """The record `limits` of `wit/process.wit`: what a child may do at most; None: as its parent."""

    @property
    def wall_us(self) -> int | None: ...
    @property
    def cpu_us(self) -> int | None: ...
    @property
    def nice(self) -> int | None: ...
    @property
    def tools(self) -> Sequence[str] | None: ...
    @property
    def share(self) -> bool | None: ...


class Child(Protocol):
    """A process that the caller started, as its handle has it."""

    @property
    def pid(self) -> int: ...
    @property
    def ended(self) -> Pollable: ...
    @property
    def room(self) -> Pollable:
        """Ready whenever `post` is not Busy."""
        ...

    def take(self) -> Ok[str] | Err[SymphonyError] | None:
        """Its result as JSON, or why there is none, once; None: it has not ended."""
        ...

    def post(self, text: str) -> None:
        """Send it a text. Raises Busy, LimitExceeded, NotFound."""
        ...

    def kill(self) -> None: ...
    def detach(self) -> None:
        """It outlives its handle."""
        ...

    def drop(self) -> None: ...


class Caller(Protocol):
    """One running process, seen from its syscalls."""

    @property
    def pid(self) -> int: ...
    @property
    def tenant(self) -> str: ...
    @property
    def core(self) -> Core: ...
    @property
    def session(self) -> int:
        """The core-side id under which this process opens files and operations."""
        ...

    @property
    def inbox(self) -> Inbox:
        """Where the core's answers to this worker's operations arrive."""
        ...

    @property
    def reach(self) -> Reach:
        """The tools and places that were granted."""
        ...

    untaken: int
    """Calls of tools whose results were not taken, those in flight included. They count themselves."""

    @property
    def started_ns(self) -> int:
        """`time.monotonic_ns` at the start."""
        ...

    @property
    def cpu_ns(self) -> int:
        """CPU time of guest code and its syscalls so far."""
        ...

    @property
    def endpoint(self) -> Endpoint:
        """Its messages and channels."""
        ...

    @property
    def inherited(self) -> dict[str, int]:
        """Files that the process which started it passed and that it has not taken: ids in its session."""
        ...

    @property
    def environment(self) -> list[tuple[str, str]]: ...

    def tool_calls(self) -> int:
        """Calls of tools and requests that are in flight."""
        ...

    def track(self, task: asyncio.Future[Any]) -> None:
        """Count a call or a request until it is done."""
        ...

    async def spawn(self, program: str, args: str, limits: ChildLimits, files: Mapping[str, int]) -> Child:
        """Start a child; `args` is the JSON of an object, `files` are ids in this process' session.

        Raises NotFound (program, tool), Invalid (program, name), Busy, PermissionDenied, LimitExceeded.
        """
        ...

    def stirred(self) -> None:
        """Something that it may have waited for is there, and not from the model: it will ask the model soon."""
        ...

    async def emit(self, text: str) -> None:
        """Send to the client; suspends while it is far behind."""
        ...

    def log(self, level: str, text: str) -> None: ...

    def stdio(self, stream: str, data: bytes) -> None:
        """What the guest wrote to `stdout` or `stderr`: becomes log lines."""
        ...
