"""Things that a guest can wait for, and the waiting itself.

Everything that can become ready is a `Pollable` (or has one); `wait_any` suspends a syscall until one of several is.
A waiter only *wakes* its guest: the syscall goes on in the guest's own turn, so what several things fired in between is
seen at once, and the CPU time is the guest's. This module knows nothing of Wasm, and its waits need no event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence


class Waiter:
    """One suspended syscall. Awaiting it yields it to whoever drives the syscall (`sandbox.instance`), which sets
    `resume`; `wake` calls that once."""

    __slots__ = ("pollables", "resume", "woken")

    def __init__(self, pollables: Sequence[Pollable]) -> None:
        self.pollables = pollables
        self.resume: Callable[[], None] | None = None
        self.woken = False

    def __await__(self) -> Generator[Waiter, None, None]:
        if not self.woken:
            yield self

    def wake(self) -> None:
        """Never runs guest or syscall code itself."""
        if self.woken:
            return
        self.woken = True
        self.detach()
        if self.resume is not None:
            self.resume()

    def detach(self) -> None:
        """Leave every pollable; called on wake and when the guest ends."""
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
    """Ready at a point in time, `time.monotonic_ns`. The event loop's timer is armed only while somebody waits."""

    __slots__ = ("at", "handle")

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.handle: asyncio.TimerHandle | None = None

    def ready(self) -> bool:
        return self.fired or time.monotonic_ns() >= self.at

    def arm(self) -> None:
        if self.handle is None and not self.fired:
            delay = max(0, self.at - time.monotonic_ns()) / 1e9
            self.handle = asyncio.get_running_loop().call_later(delay, self.fire)

    def drop(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None


async def wait_any(pollables: Sequence[Pollable]) -> list[int]:
    """Suspend until at least one is ready; the indexes of those that are."""
    while True:
        ready = [i for i, pollable in enumerate(pollables) if pollable.ready()]
        if ready:
            return ready
        waiter = Waiter(pollables)
        for pollable in pollables:
            pollable.waiters[waiter] = None
            pollable.arm()
        try:
            await waiter
        finally:
            waiter.detach()
