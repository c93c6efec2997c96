"""Wait or dispatch by what was measured.

Guests that choose every token themselves form a closed loop: each thinks for a while after its answer and comes back.
`Adaptive` learns how long each stream thinks, how much that varies and how often it stays away, and how long a step
over n rows takes. From these follows how many rows e(t) are to be expected within t, and the rows a second of a step
that waits for t: (n + e(t)) / (t + f(n + e(t))). It waits for the t where that is highest, if that is worth while; at
most f(1), and no row longer than a third of the step on average (semantics 21).

`Formula` is the rule for arrivals at random, by the letter of semantics 21. ADR 5 says how the two compare.

Pure code: time is passed in, in seconds of one monotonic clock.
"""

from __future__ import annotations

from math import inf

from symphony.sched.dispatch import Stream
from symphony.sched.steptimes import StepTimes

_NEW = 0.125
"""How much of a smoothed value an observation makes up."""
_STEP = 0.25
"""How far an observation moves a median, as a share of the spread, or of the median where that is less: where thoughts
are short as a rule and sometimes very long, one does not throw it far off."""
_LEAST = 1e-6
"""Seconds that it moves at most even where the median is 0."""
_AWAY = 16
"""Steps of one row after which who thinks is away."""
_GAIN = 1.02
"""Rows a second must grow by so much to make waiting worth while."""
_PATIENCE = 0.35
"""Steps that a row may wait on average: then the median is below a quarter."""


class Adaptive:
    def __init__(self) -> None:
        self._times = StepTimes()
        self._thinking: dict[Stream, None] = {}
        """Streams that are expected back, the longest answered first."""
        self._typical = Stream()
        """The first thoughts of streams: what is assumed of those that are new; at first, that they come at once."""
        self._typical.think = 0.0
        self._horizon = 0.0
        """Who thinks longer than that is away: doing something else, which says nothing about its next thought."""
        self._round = -1.0
        """When the round began for which there is a plan."""
        self._target = 0
        """So many rows are waited for in this round..."""
        self._until = 0.0
        """...until then."""

    def answered(self, stream: Stream, now: float) -> None:
        stream.answered = now
        self._thinking[stream] = None

    def returned(self, stream: Stream, now: float) -> None:
        answered = stream.answered
        if not answered:
            return
        stream.answered = 0.0
        self._thinking.pop(stream, None)
        thought = now - answered
        if thought > self._horizon:
            stream.faith *= 1 - _NEW
            return
        stream.faith += _NEW * (1 - stream.faith)
        if stream.think < 0:
            typical = self._typical
            if typical.spread:
                _learn(typical, thought)
            else:
                typical.think, typical.spread = thought, thought / 2
            stream.think, stream.spread = typical.think, typical.spread
        _learn(stream, thought)

    def gone(self, stream: Stream) -> None:
        self._thinking.pop(stream, None)

    def stepped(self, rows: int, seconds: float) -> None:
        self._times.add(rows, seconds)

    def wait(self, rows: int, since: float, now: float) -> tuple[float, int]:
        if not self._thinking:
            return 0.0, 0
        if since != self._round:
            self._plan(rows, since, now)
        missing, left = min(self._target - rows, len(self._thinking)), self._until - now
        return (left, missing) if missing > 0 and left > 0 else (0.0, 0)

    def _plan(self, rows: int, since: float, now: float) -> None:
        """Find the best moment to go, once a round."""
        self._round = since
        self._target = rows
        times = self._times
        longest = times.predict(1)
        self._horizon = _AWAY * longest
        left = since + longest - now
        if left <= 0:
            return
        base, row = times.base, times.row
        arrivals = self._arrivals(now, left)
        best = _GAIN * rows / (base + row * rows)
        expected = float(rows)
        waited = rows * (now - since)  # in all, by those who are there
        before = 0.0
        stride = len(arrivals) // 16 + 1
        for last in range(stride - 1, len(arrivals) + stride - 1, stride):
            last = min(last, len(arrivals) - 1)
            t = arrivals[last]
            come = rows + (last + 1) / 2
            step = base + row * come
            waited += (expected + come) / 2 * (t - before)
            if waited > _PATIENCE * come * step:
                break
            before, expected = t, come
            score = come / (t + step)
            if score > best:
                best, self._target, self._until = score, int(come + 0.5), now + 1.1 * t + 1e-4

    def _arrivals(self, now: float, left: float) -> list[float]:
        """When half rows are expected within `left`, from now, sorted: of each stream one half at its median, the other
        at the end of its usual spread; of one that is past its median, one half on the way to that end."""
        arrivals: list[float] = []
        away: list[Stream] = []
        young = self._typical
        for stream in self._thinking:
            passed = now - stream.answered
            think, spread = stream.think, stream.spread
            if think < 0:
                think, spread = young.think, young.spread
            due = think - passed
            if due > left:
                if passed > self._horizon:
                    away.append(stream)
                continue
            last = due + 2 * spread
            if last < -1e-4:
                if passed > self._horizon:
                    away.append(stream)
            elif stream.faith >= 0.5:
                if due < 0:
                    due = last / 2
                if due <= left:
                    arrivals.append(due if due > 0 else 0.0)
                if last <= left:
                    arrivals.append(last if last > 0 else 0.0)
        for stream in away:
            del self._thinking[stream]
        arrivals.sort()
        return arrivals


def _learn(stream: Stream, thought: float) -> None:
    think, spread = stream.think, stream.spread
    off = thought - think
    size = off if off > 0 else -off
    most = _STEP * (spread if spread < think else think) + _LEAST
    step = size if size < most else most
    stream.think = think + step if off > 0 else think - step
    stream.spread = spread + _NEW * (size - spread)


class Formula:
    """For arrivals at random at a rate of `rate`, the least (n - 1) / (2 rate) + n / (2 rate (n - rate f(n))) + f(n)
    over n with n > rate f(n): what a row spends waiting for n rows, for the device, and in the step."""

    def __init__(self) -> None:
        self._times = StepTimes()
        self._live: dict[Stream, None] = {}
        self._last = 0.0
        self._gap = 0.0
        """Seconds between two arrivals, smoothed."""
        self._best = 0

    def answered(self, stream: Stream, now: float) -> None:
        pass

    def returned(self, stream: Stream, now: float) -> None:
        self._live[stream] = None
        if self._last:
            self._gap += 0.05 * (now - self._last - self._gap)
        self._last = now

    def gone(self, stream: Stream) -> None:
        self._live.pop(stream, None)

    def stepped(self, rows: int, seconds: float) -> None:
        self._times.add(rows, seconds)
        self._best = 0

    def wait(self, rows: int, since: float, now: float) -> tuple[float, int]:
        if not self._gap:
            return 0.0, 0
        if not self._best:
            self._best = self._find(1 / self._gap)
        left = since + self._times.predict(1) - now
        missing = min(self._best, len(self._live)) - rows
        return (left, missing) if missing > 0 and left > 0 else (0.0, 0)

    def _find(self, rate: float) -> int:
        """1 where the device cannot keep up at any n: go with what is there."""
        best, least = 1, inf
        for n in range(1, len(self._live) + 1):
            seconds = self._times.predict(n)
            spare = n - rate * seconds
            if spare > 0:
                cost = (n - 1) / (2 * rate) + n / (2 * rate * spare) + seconds
                if cost < least:
                    best, least = n, cost
        return best
