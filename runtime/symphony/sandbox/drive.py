"""Runs handlers' coroutines without tasks: what they yield gets a callback, and somebody calls `send` again.

A handler may await a `pollable.Waiter` or an asyncio future. Knows nothing of guests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from symphony.syscall.pollable import Suspension

_log = logging.getLogger(__name__)


def attach(awaited: Any, wake: Callable[..., None]) -> None:
    """Call `wake` once when what a coroutine yielded is there. A bare yield wakes at once."""
    if isinstance(awaited, Suspension):
        awaited.attach(wake)
    elif isinstance(awaited, asyncio.Future):
        awaited._asyncio_future_blocking = False  # type: ignore[attr-defined]
        awaited.add_done_callback(wake)
    elif awaited is None:
        wake()
    else:
        raise TypeError(f"a syscall may await Waiters and asyncio futures, not {type(awaited).__name__}")


class _Detached:
    """A coroutine that nobody awaits."""

    __slots__ = ("_coroutine", "_then")

    def __init__(self, coroutine: Coroutine[Any, Any, None], then: Callable[[], None] | None) -> None:
        self._coroutine = coroutine
        self._then = then

    def step(self, _: object = None) -> None:
        try:
            attach(self._coroutine.send(None), self.step)
            return
        except StopIteration:
            pass
        except (Exception, asyncio.CancelledError) as error:
            _log.error("%s failed", self._coroutine.__qualname__, exc_info=error)
        if self._then is not None:
            self._then()


def run_detached(coroutine: Coroutine[Any, Any, None], then: Callable[[], None] | None = None) -> None:
    """Run a coroutine as far as it goes now; the rest follows from the callbacks of what it awaits, then `then`."""
    _Detached(coroutine, then).step()
