"""How a guest's run ends, and how one of its turns ends."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from symphony.errors import InternalError, LimitExceeded, SymphonyError, Unavailable
from symphony.syscall.values import Err, Ok


class Turn(enum.Enum):
    """Why `Instance.turn` came back."""

    BLOCKED = enum.auto()
    """A syscall waits; `on_wake` tells when to call again."""
    YIELDED = enum.auto()
    """There is more to do: the fuel slice or the answer budget is used up."""
    DONE = enum.auto()
    """`Instance.outcome` is set."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The export returned: `Ok(json)` or `Err(text)`."""

    value: Ok[str] | Err[str]


@dataclass(frozen=True, slots=True)
class Trapped:
    """The guest broke the rules of Wasm. `backtrace` has one guest frame a line; may be empty."""

    message: str
    backtrace: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A limit was reached, the host killed it, or a syscall failed that cannot return an error."""

    error: SymphonyError


@dataclass(frozen=True, slots=True)
class Exited:
    """The guest asked to end (`wasi:cli/exit`)."""

    code: int


Outcome = Returned | Trapped | Failed | Exited

HOST_FAILURE = b"host call failed"
"""The fixed text of every error that goes through the guest: details never do (another tenant could read them)."""

_NUMBERED = re.compile(r"^\s*(?:\d+:\s+)?(?:0x[0-9a-f]+ - )?(.*)$")
_LIMITS = ("exceeds memory limits", "exceeds table limits", "resource limit exceeded", "count too high")


def ended_by(text: str) -> Outcome:
    """What a wasmtime error text means.

    It is a chain of causes, below a backtrace with function names of the guest's own choosing: those decide nothing.
    """
    head, _, tail = text.rpartition("\n\nCaused by:\n")
    frames: list[str] = []
    if "wasm backtrace:" in head:
        frames = _lines(head.partition("wasm backtrace:")[2])
        head = ""
    causes = _lines(head) + _lines(tail)
    cause = causes[-1].removeprefix("wasm trap: ") if causes else "unknown trap"
    if cause == "all fuel consumed by WebAssembly":
        return Failed(LimitExceeded("the program used up its CPU limit", "run it with a higher CPU limit"))
    if "maximum concurrent" in cause:
        return Failed(Unavailable("the sandbox has no room for another instance", "try again later"))
    if cause == HOST_FAILURE.decode():
        return Failed(InternalError("a host call failed"))
    if any(limit in cause for limit in _LIMITS):
        return Failed(LimitExceeded(f"the program needs more memory, tables or instances than it may have: {cause}"))
    return Trapped(": ".join([cause, *causes[:-1]]), "\n".join(frames))


def _lines(text: str) -> list[str]:
    """Non-empty lines without numbers and addresses."""
    return [match[1].strip() for match in map(_NUMBERED.match, text.splitlines()) if match and match[1].strip()]
