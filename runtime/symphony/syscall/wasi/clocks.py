"""`wasi:clocks` and `wasi:random`. Monotonic time starts with the process."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

from symphony import param
from symphony.errors import LimitExceeded
from symphony.syscall.pollable import Pollable, Timer
from symphony.syscall.wasi.registry import Registry

clocks = Registry()

_MONOTONIC = "wasi:clocks/monotonic-clock#"
_WALL = "wasi:clocks/wall-clock#"
_FAR = 1 << 60
"""Nanoseconds (36 years): a longer wait is as good as this one."""
_RESOLUTION_NS = 1000


class DateTime(NamedTuple):
    seconds: int
    nanoseconds: int


@clocks.on(_MONOTONIC + "now")
def now(caller: Any) -> int:
    return time.monotonic_ns() - caller.started_ns


@clocks.on(_MONOTONIC + "resolution")
def resolution(caller: Any) -> int:
    return _RESOLUTION_NS


@clocks.on(_MONOTONIC + "subscribe-duration")
def subscribe_duration(caller: Any, nanoseconds: int) -> Pollable:
    return Timer(time.monotonic_ns() + min(nanoseconds, _FAR), caller.stirred)


@clocks.on(_MONOTONIC + "subscribe-instant")
def subscribe_instant(caller: Any, when: int) -> Pollable:
    return Timer(caller.started_ns + min(when, _FAR), caller.stirred)


@clocks.on(_WALL + "now")
def wall_now(caller: Any) -> DateTime:
    return DateTime(*divmod(time.time_ns(), 1_000_000_000))


@clocks.on(_WALL + "resolution")
def wall_resolution(caller: Any) -> DateTime:
    return DateTime(0, _RESOLUTION_NS)


@clocks.on("wasi:random/random#get-random-bytes", "wasi:random/insecure#get-insecure-random-bytes")
def random_bytes(caller: Any, count: int) -> bytes:
    if count > param.MAX_RANDOM_BYTES:
        raise LimitExceeded(f"{count} random bytes at once, the limit is {param.MAX_RANDOM_BYTES}", "ask for fewer")
    return os.urandom(count)


@clocks.on("wasi:random/random#get-random-u64", "wasi:random/insecure#get-insecure-random-u64")
def random_u64(caller: Any) -> int:
    return int.from_bytes(os.urandom(8), "little")


@clocks.on("wasi:random/insecure-seed#insecure-seed")
def insecure_seed(caller: Any) -> tuple[int, int]:
    return random_u64(caller), random_u64(caller)
