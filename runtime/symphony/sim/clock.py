"""Virtual time: an asyncio event loop whose clock jumps to the next timer whenever nothing is ready.

Everything that runs on asyncio alone runs on it unchanged, deterministically, and as fast as Python can. Nothing
outside the loop can wake it: no threads, no sockets. So that everybody waits for everybody is found at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_STANDSTILL = 1_000_000
"""Turns of the loop without time going on, after which somebody must be spinning."""


class Stuck(Exception):
    """Nobody can go on: a deadlock, or a loop that never lets time pass."""


class VirtualLoop(asyncio.BaseEventLoop):
    """`time()` starts at 0, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._clock_resolution = 1e-9
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """What the base class asks of a selector: wait so long for events. There are none, so time passes."""
        if timeout is None:
            raise Stuck(f"after {self._now:.6f} s everybody waits, and nothing is going to happen")
        self._now += timeout
        self._turns = 0 if timeout else self._turns + 1
        if self._turns > _STANDSTILL:
            raise Stuck(f"at {self._now:.6f} s something spins without letting time pass")
        return []

    def settle(self) -> None:
        """Count standstill anew."""
        self._turns = 0

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on virtual time. Raises Stuck, or what it raises; other tasks are cancelled at the end."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.settle()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(_ended(tasks))
        loop.close()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
