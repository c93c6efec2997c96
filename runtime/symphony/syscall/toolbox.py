"""Tools: what a program may call in the outside world. Here: Python functions of the embedding service.

A tool is a name, a sentence, a JSON schema of its arguments, and something to await. Knows nothing of Wasm.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import threading
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from symphony.errors import Invalid, SymphonyError, TimedOut, Unavailable
from symphony.param import MAX_TOOL_ERROR_CHARS, MAX_TOOL_RESULT_BYTES, MAX_TOOL_THREADS, TOOL_SECONDS

_SCHEMAS: Mapping[Any, str] = {
    str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object", type(None): "null",
}  # fmt: skip


def _schema(annotation: Any) -> dict[str, Any]:
    """JSON schema of an annotation; what it cannot express is left open."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return {"enum": list(typing.get_args(annotation))}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(a) for a in typing.get_args(annotation)]}
    name = _SCHEMAS.get(origin or annotation)
    if name is None:
        return {}
    if name == "array" and typing.get_args(annotation):
        return {"type": name, "items": _schema(typing.get_args(annotation)[0])}
    return {"type": name}


class Tool:
    """A Python function, plain or `async`, offered to programs. Plain ones run in a thread."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.summary = inspect.getdoc(function) or ""
        self._signature = inspect.signature(function)
        self._threads = 0
        self.schema = self._arguments_schema()

    def _arguments_schema(self) -> dict[str, Any]:
        try:
            hints = typing.get_type_hints(self.function)
        except Exception:  # an annotation that cannot be resolved here only makes the schema less precise
            hints = {}
        properties: dict[str, Any] = {}
        required: list[str] = []
        for p in self._signature.parameters.values():
            if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                continue
            if p.kind is p.POSITIONAL_ONLY:
                raise Invalid(
                    f"tool {self.name!r}: parameter {p.name!r} is positional-only", "tools are called by argument name"
                )
            properties[p.name] = _schema(hints.get(p.name))
            if p.default is p.empty:
                required.append(p.name)
        return {"type": "object", "properties": properties, "required": required}

    def bind(self, arguments: Mapping[str, Any]) -> None:
        """Raise Invalid if the arguments do not fit the function's parameters."""
        try:
            self._signature.bind(**arguments)
        except TypeError as e:
            raise Invalid(f"tool {self.name!r}: {e}", f"its arguments: {json.dumps(self.schema)}") from None

    async def call(self, arguments: Mapping[str, Any]) -> str:
        """The result as JSON. Invalid, Unavailable (it raised) or TimedOut."""
        self.bind(arguments)
        limit = asyncio.timeout(TOOL_SECONDS)
        try:
            async with limit:
                if inspect.iscoroutinefunction(self.function):
                    value = await self.function(**arguments)
                else:
                    value = await self._in_thread(arguments)
        except SymphonyError:
            raise
        except (Exception, SystemExit) as e:  # SystemExit would end the event loop
            if isinstance(e, TimeoutError) and limit.expired():
                raise TimedOut(f"tool {self.name!r} took longer than {TOOL_SECONDS:g} s") from None
            text = f"tool {self.name!r} failed: {type(e).__name__}: {e}"
            raise Unavailable(text[:MAX_TOOL_ERROR_CHARS].encode("utf-8", "replace").decode()) from e
        return self._encode(value)

    async def _in_thread(self, arguments: Mapping[str, Any]) -> Any:
        """What the function returns, or raises. Each call has a thread of its own, which does not keep the host from
        exiting: in a shared pool a few calls that hang would hold up everybody else's."""
        if self._threads >= MAX_TOOL_THREADS:
            raise Unavailable(f"{self._threads} calls of tool {self.name!r} are running", "try again later")
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        context = contextvars.copy_context()

        def settle(value: Any, error: BaseException | None) -> None:
            self._threads -= 1
            if not ended.done():
                ended.set_result((value, error))

        def work() -> None:
            outcome: tuple[Any, BaseException | None]
            try:
                outcome = context.run(self.function, **arguments), None
            except BaseException as e:
                outcome = None, e
            with contextlib.suppress(RuntimeError):  # the host is gone
                loop.call_soon_threadsafe(settle, *outcome)

        self._threads += 1
        threading.Thread(target=work, name=f"tool {self.name}", daemon=True).start()
        value, error = await ended
        if error is not None:
            raise error
        return value

    def _encode(self, value: Any) -> str:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as e:
            raise Unavailable(f"tool {self.name!r} returned something that is not JSON: {e}") from None
        if len(text) > MAX_TOOL_RESULT_BYTES:
            raise Unavailable(f"tool {self.name!r} returned {len(text)} bytes, at most {MAX_TOOL_RESULT_BYTES}")
        return text


def toolbox(functions: Mapping[str, Callable[..., Any]]) -> dict[str, Tool]:
    """Tools by name, sorted."""
    return {name: Tool(name, functions[name]) for name in sorted(functions)}
