"""Who calls: what a syscall handler may know of the process that called it.

`process.Process` implements this; tests use a stand-in. A handler touches the core only through `session` and awaited
calls (semantics 16), never through shared objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from symphony.core.core import Core


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
    def tools(self) -> Mapping[str, Any]: ...
    @property
    def started_ns(self) -> int:
        """`time.monotonic_ns` at the start."""
        ...

    @property
    def environment(self) -> list[tuple[str, str]]: ...
    async def emit(self, text: str) -> None:
        """Send to the client; suspends while it is far behind."""
        ...

    def log(self, level: str, text: str) -> None: ...
    def stdio(self, stream: str, data: bytes) -> None:
        """What the guest wrote to `stdout` or `stderr`: becomes log lines."""
        ...
