"""`symphony:lip/ipc` and `symphony:lip/log`: what leaves the process. Sources: `wit/ipc.wit`, `wit/log.wit`."""

from __future__ import annotations

from collections.abc import Mapping

from symphony.errors import LimitExceeded
from symphony.param import MAX_OUTPUT_BACKLOG
from symphony.syscall.caller import Caller
from symphony.syscall.values import Handler


async def emit(caller: Caller, text: str) -> None:
    if len(text) > MAX_OUTPUT_BACKLOG:
        raise LimitExceeded(
            f"emit: {len(text)} characters in one call, at most {MAX_OUTPUT_BACKLOG}", "emit the text in pieces"
        )
    await caller.emit(text)


def write(caller: Caller, level: str, text: str) -> None:
    caller.log(level, text)


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/ipc#emit": emit,
    "symphony:lip/log#write": write,
}
