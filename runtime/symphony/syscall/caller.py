"""Who calls: what a syscall handler may know of the process that called it.

`process.Process` implements this; tests use a stand-in. A handler touches the core only through ids and awaited calls
(semantics 16), never through shared objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from symphony.core.core import Core
from symphony.syscall.inbox import Inbox
from symphony.syscall.toolbox import Tool


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
    def tools(self) -> Mapping[str, Tool]:
        """The tools that were granted."""
        ...

    @property
    def started_ns(self) -> int:
        """`time.monotonic_ns` at the start."""
        ...

    @property
    def cpu_ns(self) -> int:
        """CPU time of guest code and its syscalls so far."""
        ...

    @property
    def environment(self) -> list[tuple[str, str]]: ...

    def tool_calls(self) -> int:
        """Tool calls in flight."""
        ...

    def track(self, task: asyncio.Future[Any]) -> None:
        """Count a tool call until it is done."""
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
