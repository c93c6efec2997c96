"""When a guest had its turns and what it asked of the host: the last so many of both, with their times.

    turn     began ──────────── ended            the guest, and handlers that answer at once
    syscall       asked ──────────────── answered

An instance has at most one syscall in flight, so there is one place for what is open. Times are nanoseconds on the
clock of turns (`perf_counter_ns`). Knows neither processes nor how it is shown; an instance without one pays for one
look at an attribute a turn and a syscall.
"""

from __future__ import annotations

import time
from collections import deque

from symphony.param import TIMELINE_SPANS

clock = time.perf_counter_ns


class Timeline:
    """Of one instance."""

    __slots__ = ("_key", "_since", "syscall_count", "syscalls", "turn_count", "turns")

    def __init__(self) -> None:
        self.turns: deque[tuple[int, int]] = deque(maxlen=TIMELINE_SPANS)
        """(began, ended), the last ones."""
        self.turn_count = 0
        """Of all, also of those that are not kept; likewise..."""
        self.syscalls: deque[tuple[str, int, int]] = deque(maxlen=TIMELINE_SPANS)
        """(what, asked, answered)."""
        self.syscall_count = 0
        self._key = ""
        self._since = 0

    def turned(self, began: int) -> None:
        """A turn is over now."""
        self.turn_count += 1
        self.turns.append((began, clock()))

    def asked(self, key: str) -> None:
        """The guest calls the host now."""
        self._key, self._since = key, clock()

    def answered(self) -> None:
        """What it asked for last is answered, or will never be: the guest has ended."""
        if self._since:
            self.syscall_count += 1
            self.syscalls.append((self._key, self._since, clock()))
            self._since = 0

    @property
    def open(self) -> tuple[str, int] | None:
        """The syscall that is not answered yet: what, and since when."""
        return (self._key, self._since) if self._since else None

    @property
    def size(self) -> int:
        """Roughly the bytes that it takes."""
        return 160 * (len(self.turns) + len(self.syscalls))
