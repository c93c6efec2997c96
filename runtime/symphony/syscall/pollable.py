"""Things that a guest can wait for, and the waiting itself.

Everything that can become ready is a `Pollable` (or has one); a `Waiter` suspends a syscall until one of several is.
It only *wakes* its guest: the syscall goes on in the guest's own turn, so what several things fired in between is seen
at once, and the CPU time is the guest's. This module knows nothing of Wasm, and its waits need no event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any


class Suspension:
    """A syscall that does nothing but wait: what its handler returns. `sandbox.instance` drives it."""

    __slots__ = ()

    def attach(self, resume: Callable[[], None]) -> None:
        """Call `resume` once when it may be over."""
        raise NotImplementedError

    def answer(self) -> Any:
        """What the syscall returns, or raises. None: it is not over after all, attach again."""
        raise NotImplementedError

    def detach(self) -> None:
        """The guest has ended."""
        raise NotImplementedError


class Waiter(Suspension):
    """A syscall that is suspended until one of several pollables is ready; its answer: the indexes of those that are.

    A handler that goes on afterwards is a coroutine and awaits it, which yields it to whoever drives the syscall.
    """

    __slots__ = ("pollables", "resume", "woken")

    def __init__(self, pollables: Sequence[Pollable]) -> None:
        self.pollables = pollables
        self.resume: Callable[[], None] | None = None
        self.woken = False

    def __await__(self) -> Generator[Waiter, None, list[int]]:
        while not self.woken:
            yield self
        return self.ready()

    def ready(self) -> list[int]:
        """Indexes of the pollables that are ready now."""
        ready: list[int] = []
        for i, pollable in enumerate(self.pollables):  # no comprehension: it is once a token, of one pollable
            if pollable.fired or pollable.ready():
                ready.append(i)
        return ready

    def answer(self) -> list[int] | None:
        return self.ready() or None

    def attach(self, resume: Callable[[], None]) -> None:
        self.resume = resume
        self.woken = False
        for pollable in self.pollables:
            pollable.waiters[self] = None
            pollable.arm()

    def wake(self) -> None:
        """Never runs guest or syscall code itself."""
        if self.woken:
            return
        self.woken = True
        for pollable in self.pollables:
            pollable.waiters.pop(self, None)
        if self.resume is not None:
            self.resume()

    def detach(self) -> None:
        for pollable in self.pollables:
            pollable.waiters.pop(self, None)


class Pollable:
    """Something that may become ready. Subclasses override `ready`, and `arm` where waiting needs a start."""

    __slots__ = ("fired", "waiters")

    def __init__(self, fired: bool = False) -> None:
        self.fired = fired
        self.waiters: dict[Waiter, None] = {}

    def ready(self) -> bool:
        return self.fired

    def fire(self) -> None:
        """Become ready and wake who waits."""
        self.fired = True
        if self.waiters:
            for waiter in list(self.waiters):
                waiter.wake()

    def clear(self) -> None:
        """Become not ready again."""
        self.fired = False

    def arm(self) -> None:
        """Called when a waiter attaches."""

    def drop(self) -> None:
        """Called when the guest's handle goes away."""


class Timer(Pollable):
    """Ready at a point in time, `time.monotonic_ns`. The event loop's timer is armed only while somebody waits;
    `rung` is called if it ends the wait."""

    __slots__ = ("at", "handle", "rung")

    def __init__(self, at: int, rung: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.at = at
        self.rung = rung
        self.handle: asyncio.TimerHandle | None = None

    def ready(self) -> bool:
        return self.fired or time.monotonic_ns() >= self.at

    def arm(self) -> None:
        if self.handle is None and not self.fired:
            delay = max(0, self.at - time.monotonic_ns()) / 1e9
            self.handle = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        self.fire()
        if self.rung is not None:
            self.rung()

    def drop(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
