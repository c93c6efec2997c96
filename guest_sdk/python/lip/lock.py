"""An advisory lock on a KV file: `async with ctx.lock():`, or `await ctx.lock()` and `release()`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Self, cast

from ._loop import Loop


class Lock:
    """A lock that is held, or stood in line for since it was asked for. Awaiting it returns it once it is held.

    Releasing or dropping it gives it back, or leaves the line; so does cancelling who awaits it.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    @property
    def held(self) -> bool:
        return self._lock is not None and self._lock.held()

    def release(self) -> None:
        """Releasing twice is fine."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.__exit__(None, None, None)

    def __del__(self) -> None:
        self.release()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._wait().__await__()

    async def _wait(self) -> Self:
        if self._lock is not None and not self._lock.held():
            loop = cast(Loop, asyncio.get_running_loop())
            try:
                with self._lock.subscribe() as pollable:
                    await loop.wait(pollable)
            except BaseException:
                self.release()
                raise
        return self

    async def __aenter__(self) -> Self:
        return await self

    async def __aexit__(self, *_: object) -> None:
        self.release()
