"""The world outside: tools, messages, channels, children."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any

from . import _records as abi
from ._basics import Clock, Err, Ok, Operation, Pollable, Resource, refusal

_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


@dataclass
class ToolCall:
    """A call of a tool by the program; `result` is None where it failed."""

    name: str
    arguments: dict[str, Any]
    result: Any = None


class Toolbox:
    """The test's functions, as the host offers them."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]], clock: Clock) -> None:
        self._functions = functions
        self._clock = clock
        self.calls: list[ToolCall] = []

    def list(self) -> list[Any]:
        return [
            abi.tool.Description(name, inspect.getdoc(function) or "", json.dumps(_schema(function)))
            for name, function in sorted(self._functions.items())
        ]

    def call(self, name: str, arguments: str) -> Any:
        function = self._functions.get(name)
        if function is None:
            known = ", ".join(sorted(self._functions)) or "none"
            raise refusal("not-found", f"there is no tool {name!r}; there are: {known}")
        call = ToolCall(name, json.loads(arguments))
        try:
            inspect.signature(function).bind(**call.arguments)
        except TypeError as error:
            raise refusal(
                "invalid", f"tool {name!r}: {error}", f"its arguments: {json.dumps(_schema(function))}"
            ) from None
        self.calls.append(call)
        running = _Answered(self._clock)
        try:
            call.result = json.loads(json.dumps(_result(function, call.arguments)))
            running.answer = Ok(json.dumps(call.result)).value
        except Exception as error:
            running.answer = refusal("unavailable", f"tool {name!r} failed: {type(error).__name__}: {error}")
        return running


class _Answered(Operation):
    """`tool-call`."""

    answer: Any = None

    def get(self) -> Any:
        if not self.done:
            return None
        return self.answer if isinstance(self.answer, Err) else Ok(self.answer)


def _result(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """An `async` function runs on a loop of its own, beside the program's."""
    if not inspect.iscoroutinefunction(function):
        return function(**arguments)
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append((asyncio.run(function(**arguments)), None))
        except Exception as error:
            outcome.append((None, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def _schema(function: Callable[..., Any]) -> dict[str, Any]:
    hints = inspect.get_annotations(function, eval_str=True)
    parameters = inspect.signature(function).parameters
    properties = {name: {"type": _NAMES[hints[name]]} if hints.get(name) in _NAMES else {} for name in parameters}
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    return {"type": "object", "properties": properties, "required": required}


# --- messages ---------------------------------------------------------------------------------------------------------


class Mailbox:
    """Texts, and the line of those who wait for them."""

    def __init__(self, texts: list[str] | tuple[str, ...] = ()) -> None:
        self.texts = deque(texts)
        self.line: list[Message] = []

    def receive(self) -> Message:
        return Message(self)


class Message(Resource):
    """A place in the line."""

    def __init__(self, box: Mailbox) -> None:
        self._box = box
        box.line.append(self)

    def _ready(self) -> bool:
        return self in self._box.line and self._box.line.index(self) < len(self._box.texts)

    def subscribe(self) -> Pollable:
        return Pollable(self._ready)

    def get(self) -> Any:
        if not self._ready():
            return None
        place = self._box.line.index(self)
        self._box.line.remove(self)
        text = self._box.texts[place]
        del self._box.texts[place]
        return Ok(text)

    def drop(self) -> None:
        if self in self._box.line:
            self._box.line.remove(self)


class Channel(Resource):
    """An open channel. `channels` holds those that are open, by name."""

    def __init__(self, channels: dict[str, list[Channel]], name: str, kind: Any) -> None:
        self._open = channels.setdefault(name, [])
        if self._open and self._open[0].kind is not kind:
            raise refusal("invalid", f"the channel {name!r} is of the other kind", "open it with the same broadcast=")
        self.kind = kind
        self._queue = self._open[0]._queue if self._open and kind is abi.ipc.Delivery.ONE else Mailbox()
        self._open.append(self)

    def send(self, text: str) -> None:
        if self.kind is abi.ipc.Delivery.ONE:
            self._queue.texts.append(text)
            return
        for other in self._open:
            if other is not self:
                other._queue.texts.append(text)

    def room(self) -> Pollable:
        return Pollable(lambda: True)

    def receive(self) -> Message:
        return self._queue.receive()

    def drop(self) -> None:
        if self in self._open:
            self._open.remove(self)


# --- children ---------------------------------------------------------------------------------------------------------


@dataclass
class Process:
    """The program, or a child of it: what differs between them."""

    pid: int
    function: Callable[..., Any]
    inbox: Mailbox
    output: list[str] = field(default_factory=list)
    passed: dict[str, Any] = field(default_factory=dict)


current: ContextVar[Process] = ContextVar("process")


class Child(Resource):
    """A child, which runs as a task beside the program."""

    def __init__(self, process: Process, work: Any) -> None:
        self._process = process
        self._taken = self._detached = False
        context = copy_context()
        context.run(current.set, process)
        self._task: asyncio.Task[str] = asyncio.get_running_loop().create_task(work, context=context)

    def pid(self) -> int:
        return self._process.pid

    def subscribe(self) -> Pollable:
        return Pollable(self._task.done)

    def get(self) -> Any:
        if not self._task.done():
            return None
        if self._task.cancelled():
            return refusal("cancelled", "the child was killed")
        error = self._task.exception()
        if error is not None:
            return refusal("unavailable", f"the child failed: {type(error).__name__}: {error}")
        return Ok(self._task.result())

    def send(self, text: str) -> None:
        if self._task.done():
            raise refusal("not-found", f"process {self._process.pid} has ended")
        self._process.inbox.texts.append(text)

    def room(self) -> Pollable:
        return Pollable(lambda: True)

    def kill(self) -> None:
        self._task.cancel()

    def detach(self) -> None:
        self._detached = True

    def drop(self) -> None:
        if not self._detached:
            self._task.cancel()
