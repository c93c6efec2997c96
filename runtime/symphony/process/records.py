"""Processes that have ended and stay readable for a while: so many, and so many bytes of what they said.

Who has to go when there are more is the oldest of the tenant that keeps most, so that one that runs thousands of
programs takes the places of its own ended ones, and another's result is still there when it is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from symphony.param import MAX_FINISHED_BYTES, MAX_FINISHED_PROCESSES

if TYPE_CHECKING:
    from symphony.process.process import Process


@dataclass(slots=True)
class _Kept:
    """Of one tenant."""

    sizes: dict[int, int] = field(default_factory=dict[int, int])
    """Bytes that each one keeps, by pid; the oldest first."""
    bytes: int = 0


class Records:
    """All methods belong to the event-loop thread."""

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}
        self._tenants: dict[str, _Kept] = {}
        self._bytes = 0

    def add(self, process: Process) -> None:
        """It has ended, and says no more."""
        size = process.kept_bytes
        self._processes[process.pid] = process
        kept = self._tenants.setdefault(process.tenant, _Kept())
        kept.sizes[process.pid] = size
        kept.bytes += size
        self._bytes += size
        while len(self._processes) > MAX_FINISHED_PROCESSES:
            self._forget(max(self._tenants, key=lambda tenant: len(self._tenants[tenant].sizes)))
        while self._bytes > MAX_FINISHED_BYTES and len(self._processes) > 1:
            self._forget(max(self._tenants, key=lambda tenant: self._tenants[tenant].bytes))

    def get(self, pid: int) -> Process | None:
        return self._processes.get(pid)

    def __iter__(self) -> Iterator[Process]:
        """In the order of their ends."""
        return iter(self._processes.values())

    def _forget(self, tenant: str) -> None:
        """The tenant's oldest."""
        kept = self._tenants[tenant]
        pid = next(iter(kept.sizes))
        size = kept.sizes.pop(pid)
        kept.bytes -= size
        self._bytes -= size
        del self._processes[pid]
        if not kept.sizes:
            del self._tenants[tenant]
