"""What a host and its workers say to each other, and which syscalls cross.

    host to worker      HELLO   settings, models, ...       the first message
                        BEGIN   pid, code, argument, ...    run a program
                        ANSWER  pid, ns, status, value      of the syscall that the guest waits in; ns: CPU it cost here
                        KILL    pid                         end it, and say no more of it
                        PING                                whether it is there
    worker to host      READY                               programs can begin
                        CALL    pid, syscall, values, ns    a guest's syscall; ns: its CPU since the last report
                        DROP    pid, number                 a guest let go of an object of the host's
                        USED    pid, ns                     CPU of a guest that makes no syscall
                        TURN    pid, began, ended           of a guest whose timeline is recorded
                        END     pid, outcome, values, ns    of a guest
                        PONG                                it is there

The boundary is the syscall itself: a guest has at most one in flight, and everything that the handlers of `syscall/`
know stays with the host. What needs nothing but the guest's own process is answered where the guest is: clocks, random
numbers, the environment, the text of tokens.
"""

from __future__ import annotations

from typing import NamedTuple

from symphony.sandbox.layout import Type, is_error_record
from symphony.syscall import wasi
from symphony.syscall.signatures import SIGNATURES
from symphony.syscall.table import HANDLERS
from symphony.syscall.values import Handler
from symphony.workers.packing import Move, packer, unpacker

HELLO, BEGIN, ANSWER, KILL, PING = range(5)
READY, CALL, DROP, USED, TURN, END, PONG = range(7)
OK, ERROR, FATAL = range(3)
"""How a syscall ended: with a value, with an error for the guest, or with a bug of the host."""
RETURNED, TRAPPED, FAILED, EXITED = range(4)
"""How a guest ended."""

_WAITING = (
    "wasi:io/poll#poll",
    "wasi:io/poll#[method]pollable.block",
    "wasi:io/poll#[method]pollable.ready",
    "wasi:io/streams#[method]output-stream.subscribe",
    "wasi:io/streams#[method]input-stream.subscribe",
    "wasi:clocks/monotonic-clock#subscribe-duration",
    "wasi:clocks/monotonic-clock#subscribe-instant",
)
"""Of WASI, what has to do with waiting;"""
_WRITING = (
    "wasi:cli/stdout#get-stdout",
    "wasi:cli/stderr#get-stderr",
    "wasi:io/streams#[method]output-stream.write",
    "wasi:io/streams#[method]output-stream.blocking-write-and-flush",
    "wasi:io/streams#[method]output-stream.write-zeroes",
    "wasi:io/streams#[method]output-stream.blocking-write-zeroes-and-flush",
)
"""and what fills the log: a guest waits until the host has it, so that none fills the socket."""
SPELLING = (
    "symphony:lip/model#[method]model.detokenize",
    "symphony:lip/model#[method]model.decoder",
    "symphony:lip/model#[method]decoder.push",
    "symphony:lip/model#[method]decoder.finish",
)
"""Of ours, what needs no more than the bytes of each token (`pieces`)."""
OPEN_MODEL = "symphony:lip/model#[static]model.open"
"""Where the worker knows the model, it is opened there: its name stands for it on the wire."""


class Crossing(NamedTuple):
    """A syscall that the host answers."""

    key: str
    handler: Handler
    pack_arguments: tuple[Move | None, ...]
    unpack_arguments: tuple[Move | None, ...]
    pack_result: Move | None
    unpack_result: Move | None
    certain: bool
    """Whether its value is never None."""


def _crossing(key: str) -> Crossing:
    parameters, result = SIGNATURES[key] if key in SIGNATURES else wasi.SIGNATURES[key]
    handler = HANDLERS[key] if key in HANDLERS else wasi.HANDLERS[key]
    types = [t for _, t in parameters]
    value: Type | None = result
    if result is not None and result[0] == "result" and is_error_record(result[2]):
        value = result[1]  # the handler raises the error
    return Crossing(
        key,
        handler,
        tuple(packer(t) for t in types),
        tuple(unpacker(t) for t in types),
        None if value is None else packer(value),
        None if value is None else unpacker(value),
        value is not None and value[0] != "option",
    )


CROSSINGS: tuple[Crossing, ...] = tuple(
    _crossing(key) for key in sorted({*HANDLERS, *_WAITING, *_WRITING} - {*SPELLING})
)
"""The same in both processes: a call names its place here."""
