"""What the parts of the kit share: answers, refusals, time, and operations in flight. Knows no models or files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from . import _records as abi


class ScriptError(AssertionError):
    """The program asked for what the test's script does not have. A fault of the test, or of the program."""


class Err(Exception):
    """WIT's `err`."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


@dataclass
class Ok:
    """WIT's `ok`."""

    value: Any


def refusal(code: str, message: str, hint: str = "") -> Err:
    """What the host answers where it refuses; `code` as in `wit/types.wit`, such as 'not-found'."""
    return Err(abi.types.Error(abi.types.ErrorCode[code.upper().replace("-", "_")], message, hint))


class Resource:
    """Something that a program holds; leaving the `with` block, or `__exit__`, drops it."""

    def drop(self) -> None:
        """Nothing to do, as a rule."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()


class Pollable(Resource):
    """Ready when `ready` says so, or at a time in nanoseconds."""

    def __init__(self, ready: Callable[[], bool], at: int | None = None) -> None:
        self.ready = ready
        self.at = at


class Clock:
    """Time that passes only when the program waits for nothing else.

    `poll` lets what is in flight come to its end one after the other, oldest first, until something that the program
    waits for is ready; then it jumps to the earliest timer.
    """

    def __init__(self) -> None:
        self.nanoseconds = 0
        self.flight: deque[Operation] = deque()

    def now(self) -> int:
        return self.nanoseconds

    def subscribe_instant(self, at: int) -> Pollable:
        return Pollable(lambda: self.nanoseconds >= at, at)

    def subscribe_duration(self, length: int) -> Pollable:
        return self.subscribe_instant(self.nanoseconds + length)

    def poll(self, pollables: list[Pollable]) -> list[int]:
        while True:
            ready = [index for index, pollable in enumerate(pollables) if pollable.ready()]
            if ready:
                return ready
            if self.flight:
                self.flight.popleft().complete()
                continue
            times = [pollable.at for pollable in pollables if pollable.at is not None]
            if not times:
                raise ScriptError(
                    "the program waits for something that never comes: a message that the test did not give "
                    "(Host(messages=[...])), a channel that nobody sends to, or a lock that nobody releases"
                )
            self.nanoseconds = min(times)


class Operation(Resource):
    """Something that takes a while: it is over when the clock says so, or dropped before."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.done = False
        clock.flight.append(self)

    def complete(self) -> None:
        self.done = True

    def subscribe(self) -> Pollable:
        return Pollable(lambda: self.done)

    def drop(self) -> None:
        if self in self.clock.flight:
            self.clock.flight.remove(self)
