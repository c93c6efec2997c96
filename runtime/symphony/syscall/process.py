"""`symphony:lip/process`: the calling process. Source: `wit/process.wit`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from symphony.syscall.caller import Caller
from symphony.syscall.values import Handler


class UsageRecord(NamedTuple):
    forwards: int
    prompt_tokens: int
    reused_tokens: int
    generated_tokens: int
    accepted_tokens: int
    pages: int
    cpu_us: int
    wall_us: int


def pid(caller: Caller) -> int:
    return caller.pid


def tenant(caller: Caller) -> str:
    return caller.tenant


def usage_so_far(caller: Caller) -> UsageRecord:
    u = caller.core.usage(caller.session)
    wall_us = (time.monotonic_ns() - caller.started_ns) // 1000
    cpu_us = caller.cpu_ns // 1000
    counts = (u.forwards, u.prompt_tokens, u.reused_tokens, u.generated_tokens, u.accepted_tokens, u.pages)
    return UsageRecord(*counts, cpu_us, wall_us)


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/process#pid": pid,
    "symphony:lip/process#tenant": tenant,
    "symphony:lip/process#usage-so-far": usage_so_far,
}
