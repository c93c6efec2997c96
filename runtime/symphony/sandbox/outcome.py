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

_FRAME = re.compile(r"^\s*\d+:\s+(?:0x[0-9a-f]+ - )?(.*)$")


def ended_by(text: str) -> Outcome:
    """What a wasmtime error text means. The guest's own names may be in it; nothing of the host's is."""
    lines = text.splitlines()
    frames = [match[1].strip() for match in map(_FRAME.match, lines) if match and "wasm trap:" not in match[1]]
    causes = [line.strip() for line in lines if line.strip() and not _FRAME.match(line)]
    trap = next((line.split("wasm trap:", 1)[1] for line in lines if "wasm trap:" in line), "").strip()
    if "all fuel consumed" in text:
        return Failed(LimitExceeded("the program used up its CPU limit", "run it with a higher CPU limit"))
    if "maximum concurrent" in text and "limit of" in text:
        return Failed(
            Unavailable("the sandbox has no room for another instance", "try again, or raise sandbox.max_instances")
        )
    if HOST_FAILURE.decode() in text:
        return Failed(InternalError("a host call failed"))
    if not trap:
        inner = [
            m[1] for m in map(_FRAME.match, lines[lines.index("Caused by:") :] if "Caused by:" in lines else []) if m
        ]
        trap = inner[-1].strip() if inner else (causes[0] if causes else "unknown trap")
        frames = [frame for frame in frames if frame not in inner]
    if any(word in trap for word in ("exceeds memory limits", "resource limit exceeded", "limit exceeded")):
        return Failed(LimitExceeded(f"the program needs more than its memory, table or instance limits: {trap}"))
    return Trapped(trap, "\n".join(frames))
