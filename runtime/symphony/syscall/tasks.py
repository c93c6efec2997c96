"""What a guest gets of an asyncio task that works for it: a pollable that fires at its end, and its outcome.

It does not know what the task does, nor who may cancel it.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from symphony.errors import Cancelled, InternalError, SymphonyError
from symphony.syscall.pollable import Pollable
from symphony.syscall.values import Err, Ok

T = TypeVar("T")


def end_of(task: asyncio.Future[T]) -> Pollable:
    """Fires when the task has ended, however."""
    pollable = Pollable()

    def ended(task: asyncio.Future[T]) -> None:
        if not task.cancelled():
            task.exception()  # seen: a guest that never asks must not fill the host's log
        pollable.fire()

    task.add_done_callback(ended)
    return pollable


def outcome(task: asyncio.Future[T], what: str) -> Ok[T] | Err[SymphonyError]:
    """Of a task that has ended. `what`: its name in errors."""
    if task.cancelled():
        return Err(Cancelled(f"{what} was cancelled"))
    error = task.exception()
    if error is None:
        return Ok(task.result())
    return Err(error if isinstance(error, SymphonyError) else InternalError(f"{what} failed: {error!r}"))
