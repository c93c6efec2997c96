"""Level 2: start the step now, or wait for more rows.

Guests that choose every token themselves form a closed loop: each thinks for a while after its answer and comes back. A
step over n rows takes about f(n) = a + b n, so a row that is waited for is cheap if it comes soon. `ClosedLoop` waits
for those that were just answered and usually come back within its patience, never longer than that: a quarter of the
coming step, and at most f(1) (semantics 21). It learns both sides: step times, and how long each stream thinks.

Pure code: time is passed in, in seconds of one monotonic clock.
"""

from __future__ import annotations

from typing import Protocol

_MEMORY = 0.9
"""What an exponentially weighted average keeps at each observation."""


class Stream:
    """A guest's loop over one file: answered, thinking, back."""

    __slots__ = ("answered", "think")

    def __init__(self) -> None:
        self.answered = 0.0
        """When it got its last answer."""
        self.think = 0.0
        """How long it takes to come back, smoothed."""


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


class StepTimes:
    """f(n) = a + b n, fitted to what was measured, old measurements fading."""

    __slots__ = ("_n", "_nn", "_nt", "_t", "_w")

    def __init__(self) -> None:
        self._w = self._n = self._nn = self._t = self._nt = 0.0

    def add(self, n: int, seconds: float) -> None:
        m = _MEMORY
        self._w = self._w * m + 1
        self._n = self._n * m + n
        self._nn = self._nn * m + n * n
        self._t = self._t * m + seconds
        self._nt = self._nt * m + n * seconds

    def predict(self, n: int) -> float:
        """0 before the first measurement; at least proportional, at most constant where the fit would be absurd."""
        if not self._w:
            return 0.0
        mean_n, mean_t = self._n / self._w, self._t / self._w
        variance = self._nn / self._w - mean_n * mean_n
        slope = (self._nt / self._w - mean_n * mean_t) / variance if variance > 1e-6 * mean_n * mean_n else 0.0
        slope = min(max(slope, 0.0), mean_t / mean_n)
        return mean_t + slope * (n - mean_n)


class ClosedLoop:
    """The default. See the module."""

    def __init__(self) -> None:
        self._times = StepTimes()
        self._thinking: dict[Stream, None] = {}
        """Streams that are expected back, the longest answered first."""

    def patience(self, rows: int) -> float:
        """The longest that a step over `rows` rows may be held back."""
        return min(self._times.predict(1), self._times.predict(rows) / 4)

    def answered(self, stream: Stream, now: float) -> None:
        stream.answered = now
        self._thinking[stream] = None

    def returned(self, stream: Stream, now: float) -> None:
        if stream.answered:
            stream.think = _MEMORY * stream.think + (1 - _MEMORY) * (now - stream.answered)
            stream.answered = 0.0
            self._thinking.pop(stream, None)

    def gone(self, stream: Stream) -> None:
        self._thinking.pop(stream, None)

    def stepped(self, rows: int, seconds: float) -> None:
        self._times.add(rows, seconds)

    def wait(self, rows: int, since: float, now: float) -> tuple[float, int]:
        thinking = self._thinking
        if not thinking:
            return 0.0, 0
        longest = self.patience(rows + len(thinking))
        while thinking and (first := next(iter(thinking))).answered + longest <= now:
            del thinking[first]
        missing = sum(1 for stream in thinking if stream.think <= longest)
        left = since + self.patience(rows) - now  # grows as rows come in
        return (left, missing) if missing and left > 0 else (0.0, 0)
