"""`wasi:io`: poll and streams. Waiting suspends the guest, never the host.

A pollable is any `syscall.pollable.Pollable`, ours and WASI's alike. The streams are the process' stdio: what is
written becomes log lines, reading finds the end.
"""

from __future__ import annotations

from typing import Any

from symphony.errors import ProgramError
from symphony.syscall.pollable import Pollable, Waiter
from symphony.syscall.values import Err, Ok
from symphony.syscall.wasi.registry import Registry

io = Registry()

WRITE_BYTES = 64 << 10
"""Bytes that `check-write` permits at a time; a longer write is the guest's fault."""
_CLOSED = Err(("closed", None))
_OK = Ok()


class Always(Pollable):
    """Ready from the start; a new one a handle."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(True)


class OutputStream:
    """`stdout` or `stderr`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class InputStream:
    """Always at its end."""

    __slots__ = ()


# --- poll -------------------------------------------------------------------------------------------------------------
@io.on("wasi:io/poll#poll")
def poll(caller: Any, pollables: list[Pollable]) -> Any:
    if not pollables:
        raise ProgramError("poll of an empty list of pollables", "poll at least one; an empty list never becomes ready")
    waiter = Waiter(pollables)
    return waiter.ready() or waiter


@io.on("wasi:io/poll#[method]pollable.block")
def block(caller: Any, pollable: Pollable) -> Any:
    return None if pollable.ready() else Waiter([pollable])


@io.on("wasi:io/poll#[method]pollable.ready")
def ready(caller: Any, pollable: Pollable) -> bool:
    return pollable.ready()


# --- streams ----------------------------------------------------------------------------------------------------------
_OUT = "wasi:io/streams#[method]output-stream."
_IN = "wasi:io/streams#[method]input-stream."


@io.on(_OUT + "check-write")
def check_write(caller: Any, stream: OutputStream) -> Ok[int]:
    return Ok(WRITE_BYTES)


@io.on(_OUT + "write", _OUT + "blocking-write-and-flush")
def write(caller: Any, stream: OutputStream, data: bytes) -> Ok[None]:
    caller.stdio(stream.name, data)
    return _OK


@io.on(_OUT + "write-zeroes", _OUT + "blocking-write-zeroes-and-flush")
def write_zeroes(caller: Any, stream: OutputStream, count: int) -> Ok[None]:
    caller.stdio(stream.name, bytes(min(count, WRITE_BYTES)))
    return _OK


@io.on(_OUT + "flush", _OUT + "blocking-flush")
def flush(caller: Any, stream: OutputStream) -> Ok[None]:
    return _OK


@io.on(_OUT + "splice", _OUT + "blocking-splice")
def splice(caller: Any, stream: OutputStream, source: InputStream, count: int) -> Err[Any]:
    return _CLOSED


@io.on(_OUT + "subscribe", _IN + "subscribe")
def subscribe(caller: Any, stream: Any) -> Pollable:
    return Always()


@io.on(_IN + "read", _IN + "blocking-read", _IN + "skip", _IN + "blocking-skip")
def read(caller: Any, stream: InputStream, count: int) -> Err[Any]:
    return _CLOSED


@io.on("wasi:io/error#[method]error.to-debug-string")
def to_debug_string(caller: Any, error: Any) -> str:
    return "error"
