"""Level 2: start the step now, or wait for more rows. The interface of policies, and those that learn nothing.

A step over n rows takes about f(n) = a + b n, so a row that is waited for is cheap if it comes soon. The default is
`adaptive.Adaptive`; `policies.policy` makes one by its name.

Pure code: time is passed in, in seconds of one monotonic clock.
"""

from __future__ import annotations

from typing import Protocol


class Stream:
    """A guest's loop over one file: answered, thinking, back."""

    __slots__ = ("answered", "faith", "spread", "think")

    def __init__(self) -> None:
        self.answered = 0.0
        """When it got its last answer; 0: it is not thinking."""
        self.think = -1.0
        """How long it takes to come back, in the median; negative: not known."""
        self.spread = 0.0
        """How far it is from that, on average."""
        self.faith = 1.0
        """How often it comes back at all before long, smoothed."""


class Dispatch(Protocol):
    """A policy. It is asked only while there are rows, all of them of in-loop streams: free-running rows and prefill
    never wait."""

    def answered(self, stream: Stream, now: float) -> None:
        """The stream has its answer; its guest goes on."""
        ...

    def returned(self, stream: Stream, now: float) -> None:
        """The stream is back with a row, or does something else."""
        ...

    def gone(self, stream: Stream) -> None:
        """The stream ended."""
        ...

    def stepped(self, rows: int, seconds: float) -> None:
        """A step over so many rows took so long."""
        ...

    def wait(self, rows: int, since: float, now: float) -> tuple[float, int]:
        """How many seconds to wait at most from now (0: go), and for how many more rows.

        `since`: when the first of the `rows` ready ones could have started.
        """
        ...


class Eager:
    """Never waits."""

    def answered(self, stream: Stream, now: float) -> None:
        pass

    def returned(self, stream: Stream, now: float) -> None:
        pass

    def gone(self, stream: Stream) -> None:
        pass

    def stepped(self, rows: int, seconds: float) -> None:
        pass

    def wait(self, rows: int, since: float, now: float) -> tuple[float, int]:
        return 0.0, 0


class FixedRows(Eager):
    """Waits for so many rows, but no longer than `at_most` seconds."""

    def __init__(self, rows: int, at_most: float) -> None:
        self._rows = rows
        self._at_most = at_most

    def wait(self, rows: int, since: float, now: float) -> tuple[float, int]:
        left = since + self._at_most - now
        return (left, self._rows - rows) if rows < self._rows and left > 0 else (0.0, 0)


class FixedTime(Eager):
    """Waits so many seconds after the first row."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def wait(self, rows: int, since: float, now: float) -> tuple[float, int]:
        left = since + self._seconds - now
        return (left, 1 << 30) if left > 0 else (0.0, 0)
