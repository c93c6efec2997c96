"""`symphony:lip/tool`: calling the tools that were granted. Source: `wit/tool.wit`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from symphony.errors import Invalid, LimitExceeded, NotFound, SymphonyError
from symphony.outside.tool import Tool
from symphony.param import MAX_TOOL_CALLS
from symphony.syscall import strict_json
from symphony.syscall.caller import Caller
from symphony.syscall.pollable import Pollable
from symphony.syscall.tasks import end_of, outcome
from symphony.syscall.values import Err, Handler, Ok


class Description(NamedTuple):
    name: str
    summary: str
    schema: str


class ToolCall:
    """A guest's handle on a tool that runs as an asyncio task."""

    __slots__ = ("caller", "pollable", "task")

    def __init__(self, caller: Caller, tool: Tool, arguments: Mapping[str, Any]) -> None:
        self.caller = caller
        caller.untaken += 1
        task = asyncio.ensure_future(tool.call(arguments, caller.tenant))
        self.pollable = end_of(task)
        self.task: asyncio.Future[str] | None = task
        """None once its result was taken."""
        caller.track(task)

    def result(self) -> Ok[str] | Err[SymphonyError] | None:
        task = self.task
        if task is None:
            return Err(Invalid("the result was taken already"))
        if not task.done():
            return None
        self.drop()
        return outcome(task, "the tool call")

    def drop(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            task.cancel()
            self.caller.untaken -= 1


def list_tools(caller: Caller) -> list[Description]:
    return [Description(t.name, t.summary, json.dumps(t.schema)) for t in caller.reach.tools.values()]


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = strict_json.loads(text)
    except ValueError as e:
        raise Invalid(f"the tool's arguments are not JSON: {e}") from None
    if not isinstance(value, dict):
        raise Invalid("the tool's arguments are not a JSON object", 'pass {"name": value, ...}')
    return value


def call(caller: Caller, name: str, arguments: str) -> ToolCall:
    tool = caller.reach.tools.get(name)
    if tool is None:
        known = ", ".join(caller.reach.tools) or "none were granted"
        raise NotFound(f"there is no tool {name!r}", f"tools of this process: {known}")
    if caller.untaken >= MAX_TOOL_CALLS:
        raise LimitExceeded(f"{MAX_TOOL_CALLS} tool calls are in flight", "wait for one of them, and take its result")
    return ToolCall(caller, tool, _arguments(arguments))


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
