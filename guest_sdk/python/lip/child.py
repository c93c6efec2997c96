"""Children: programs that a program starts, within its own limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from . import _host
from ._loop import Loop
from .context import Context
from .errors import Invalid, call, from_wit
from .ipc import send


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may do and use: at most what this program may, and has left. None: that much."""

    seconds: float | None = None
    """From its start to its end."""
    cpu_seconds: float | None = None
    """CPU time, which counts for this program too."""
    nice: int | None = None
    """How far it stands back behind the tenant's other programs, up to 19."""
    tools: Sequence[str] | None = None
    """The tools that it may call, and `"fetch"` if it may fetch."""
    share: bool | None = None
    """Whether it may change names below `/shared`."""


async def spawn(
    program: str | None,
    /,
    args: Mapping[str, Any] | None = None,
    *,
    files: Mapping[str, Context] | None = None,
    limits: Limits | None = None,
    **kwargs: Any,
) -> Child:
    """Start another program of this tenant: the name or id of an uploaded one, the source of a Python program, or, with
    None, this very program again. Keyword arguments (or `args`) are the program's.

    The child has a copy-on-write fork of each of `files`, which it takes over with `Context.inherit(name)`. It is
    killed when this program ends, or lets go of it, unless it is detached: keep what this returns. Holds this program
    up while the child's is made ready.

    Raises `NotFound` (the program, a tool), `Invalid`, `LimitExceeded` (64 children, 8 generations, no place for it).
    """
    try:
        text = json.dumps({**(args or {}), **kwargs}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid(f"the arguments of the child are not JSON values: {error}") from None
    passed = files or {}
    for context in passed.values():
        await context.flush()
    records = [_host.process.Passed(_host.text(name), context.handle) for name, context in passed.items()]
    name = "" if program is None else _host.text(program)
    return Child(call(_host.process.spawn, name, text, _record(limits or Limits()), records))


def _record(limits: Limits) -> Any:
    tools = None if limits.tools is None else [_host.text(tool) for tool in limits.tools]
    return _host.process.Limits(
        _microseconds(limits.seconds), _microseconds(limits.cpu_seconds), limits.nice, tools, limits.share
    )


def _microseconds(seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not 0 < seconds < 1e12:
        raise Invalid(f"a limit of {seconds} seconds", "use a positive number")
    return int(seconds * 1e6)


class Child:
    """A program that this one started."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._ended = raw.subscribe()
        self._answer: Any = None
        self.pid: int = raw.pid()

    async def wait(self) -> Any:
        """Its result, a JSON value; waiting again gives it again.

        Raises `Unavailable` (it failed; the message says why), `Cancelled` (it was killed), `TimedOut` and
        `LimitExceeded` (it reached a limit).
        """
        loop = cast(Loop, asyncio.get_running_loop())
        while self._answer is None:
            await loop.wait(self._ended)
            self._answer = self._answer or self._raw.get()
        if self._answer.__class__ is _host.Err:
            raise from_wit(self._answer.value)
        return json.loads(self._answer.value)

    async def send(self, text: str) -> None:
        """Send it a text, which it gets by `lip.receive()`; waits while it is far behind.

        Raises `NotFound` (it has ended).
        """
        await send(self._raw, text)

    def kill(self) -> None:
        """End it, and what it started; `wait` raises `Cancelled` then. Nothing happens if it has ended."""
        self._raw.kill()

    def detach(self) -> None:
        """Let it go on when this program lets go of it, or ends. Its deadline stays."""
        self._raw.detach()
