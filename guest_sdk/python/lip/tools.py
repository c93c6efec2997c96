"""The outside world: tools, the client's stream, the log, the clock, what the process has used."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, cast

from . import _host
from ._loop import Loop
from .errors import Invalid, call, from_wit


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool on offer; `schema` is the JSON schema of its arguments."""

    name: str
    summary: str
    schema: dict[str, Any]

    def as_function(self) -> dict[str, Any]:
        """The tool in the format that chat templates expect (OpenAI's)."""
        function = {"name": self.name, "description": self.summary, "parameters": self.schema}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Usage:
    """What the process has used so far."""

    forwards: int
    prompt_tokens: int
    reused_tokens: int
    generated_tokens: int
    accepted_tokens: int
    pages: int
    cpu_us: int
    wall_us: int


def tools() -> list[Tool]:
    """The tools that this process may call, sorted by name."""
    return [Tool(raw.name, raw.summary, json.loads(raw.schema)) for raw in _host.tool.list()]


async def tool(name: str, /, **arguments: Any) -> Any:
    """Call a tool and wait for its result, a JSON value.

    Raises `NotFound` (the message lists the tools), `Invalid` (the arguments do not fit), `Unavailable` (the tool
    failed).
    """
    try:
        text = json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid(f"the arguments of tool {name!r} are not JSON values: {error}") from None
    return json.loads(await answer_of(call(_host.tool.call, _host.text(name), text)))


async def answer_of(running: Any) -> Any:
    """Wait for the answer of a tool or a place outside, and let go of the request, whatever happens. Raises what it
    failed with."""
    pollable = running.subscribe()
    loop = cast(Loop, asyncio.get_running_loop())
    try:
        answer = None
        while answer is None:
            await loop.wait(pollable)
            answer = running.get()
    finally:
        pollable.__exit__(None, None, None)
        running.__exit__(None, None, None)
    if answer.__class__ is _host.Err:
        raise from_wit(answer.value)
    return answer.value


def emit(text: object) -> None:
    """Send text to the client's stream, as `str(text)`. Holds this program up while the client is far behind."""
    call(_host.ipc.emit, _host.text(str(text)))


def log(*values: object, level: str = "info") -> None:
    """Write one line to the process' log; level is 'debug', 'info', 'warn' or 'error'."""
    levels = _host.log.Level.__members__
    if level.upper() not in levels:
        raise Invalid(f"log level {level!r} does not exist", "there are: debug, info, warn, error")
    _host.log.write(levels[level.upper()], _host.text(" ".join(map(str, values))))


async def sleep(seconds: float) -> None:
    """Let other tasks, and other programs, run for a while."""
    await asyncio.sleep(seconds)


def now() -> float:
    """Seconds since the epoch."""
    return time.time()


def pid() -> int:
    """The process id, unique in the life of the host."""
    return _host.process.pid()


def tenant() -> str:
    """The tenant that the program runs for."""
    return _host.process.tenant()


def usage() -> Usage:
    raw = _host.process.usage_so_far()
    return Usage(
        raw.forwards,
        raw.prompt_tokens,
        raw.reused_tokens,
        raw.generated_tokens,
        raw.accepted_tokens,
        raw.pages,
        raw.cpu_us,
        raw.wall_us,
    )
