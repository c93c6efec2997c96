"""Work that blocks, in a thread of its own: for calls of which some may hang for ever.

In a pool that is shared, a few that hang would hold up everybody else's; here each has a thread, which does not keep
the host from exiting. Whoever uses it limits how many there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

from symphony.errors import Unavailable

T = TypeVar("T")


async def in_thread(name: str, work: Callable[[], T], ended: Callable[[], None]) -> T:
    """What `work` returns, or raises; Unavailable if it cannot begin. `ended` is called on the event loop when the
    thread is over, which may be long after whoever waited has given up."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: T | None, error: BaseException | None) -> None:
        ended()
        if not future.done():
            future.set_result((value, error))

    def run() -> None:
        outcome: tuple[T | None, BaseException | None]
        try:
            outcome = context.run(work), None
        except BaseException as e:
            outcome = None, e
        with contextlib.suppress(RuntimeError):  # the host is gone
            loop.call_soon_threadsafe(settle, *outcome)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as e:  # the system has none left
        ended()
        raise Unavailable(f"no thread for it: {e}", "try again later") from e
    value, error = await future
    if error is not None:
        raise error
    return value  # type: ignore[return-value]
