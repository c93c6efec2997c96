"""`symphony:lip/tool`: calling the tools that were granted. Source: `wit/tool.wit`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from symphony.errors import Cancelled, InternalError, Invalid, LimitExceeded, NotFound, SymphonyError
from symphony.param import MAX_TOOL_CALLS
from symphony.syscall import strict_json
from symphony.syscall.caller import Caller
from symphony.syscall.pollable import Pollable
from symphony.syscall.toolbox import Tool
from symphony.syscall.values import Err, Handler, Ok


class Description(NamedTuple):
    name: str
    summary: str
    schema: str


class ToolCall:
    """A guest's handle on a tool that runs as an asyncio task."""

    __slots__ = ("pollable", "task")

    def __init__(self, tool: Tool, arguments: Mapping[str, Any]) -> None:
        self.pollable = Pollable()
        self.task = asyncio.ensure_future(tool.call(arguments))
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[str]) -> None:
        if not task.cancelled():
            task.exception()  # seen: a guest that never asks must not fill the host's log
        self.pollable.fire()

    def result(self) -> Ok[str] | Err[SymphonyError] | None:
        if not self.task.done():
            return None
        if self.task.cancelled():
            return Err(Cancelled("the tool call was cancelled"))
        error = self.task.exception()
        if error is None:
            return Ok(self.task.result())
        return Err(error if isinstance(error, SymphonyError) else InternalError(f"the tool call failed: {error!r}"))

    def drop(self) -> None:
        self.task.cancel()


def list_tools(caller: Caller) -> list[Description]:
    return [Description(t.name, t.summary, json.dumps(t.schema)) for t in caller.tools.values()]


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = strict_json.loads(text)
    except ValueError as e:
        raise Invalid(f"the tool's arguments are not JSON: {e}") from None
    if not isinstance(value, dict):
        raise Invalid("the tool's arguments are not a JSON object", 'pass {"name": value, ...}')
    return value


def call(caller: Caller, name: str, arguments: str) -> ToolCall:
    tool = caller.tools.get(name)
    if tool is None:
        known = ", ".join(caller.tools) or "none were granted"
        raise NotFound(f"there is no tool {name!r}", f"tools of this process: {known}")
    if caller.tool_calls() >= MAX_TOOL_CALLS:
        raise LimitExceeded(f"{MAX_TOOL_CALLS} tool calls are in flight", "wait for one of them")
    started = ToolCall(tool, _arguments(arguments))
    caller.track(started.task)
    return started


def subscribe(caller: Caller, call: ToolCall) -> Pollable:
    return call.pollable


def get(caller: Caller, call: ToolCall) -> Ok[str] | Err[SymphonyError] | None:
    return call.result()


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/tool#list": list_tools,
    "symphony:lip/tool#call": call,
    "symphony:lip/tool#[method]tool-call.subscribe": subscribe,
    "symphony:lip/tool#[method]tool-call.get": get,
}
