"""Tools: what a program may call in the outside world. Here: Python functions of the embedding service.

A tool is a name, a sentence, a JSON schema of its arguments, and something to await. The schema and the check of what a
program passes come from the same annotations, through msgspec. Knows nothing of Wasm.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import threading
import typing
from collections.abc import Callable, Mapping
from typing import Any, Optional

import msgspec

from symphony.errors import Invalid, SymphonyError, TimedOut, Unavailable
from symphony.param import MAX_TOOL_ERROR_CHARS, MAX_TOOL_RESULT_BYTES, MAX_TOOL_THREADS, TOOL_SECONDS


def _expressible(annotation: Any) -> Any:
    """The annotation if JSON values can be checked against it, else Any."""
    try:
        msgspec.json.schema(annotation)
    except (TypeError, ValueError, RecursionError):
        return Any
    return annotation


def _types(function: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """The type of each named parameter; what is not annotated, or not expressible in JSON, is left open."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # an annotation that cannot be resolved here only makes the check less precise
        hints = {}
    types: dict[str, Any] = {}
    for p in signature.parameters.values():
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            found = _expressible(hints.get(p.name, Any))
            types[p.name] = Optional[found] if p.default is None and found is not Any else found  # noqa: UP045
    return types


class Tool:
    """A Python function, plain or `async`, offered to programs. Plain ones run in a thread."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.summary = inspect.getdoc(function) or ""
        self._signature = inspect.signature(function)
        self._types = _types(function, self._signature)
        self._threads = 0
        self.schema = self._arguments_schema()

    def _arguments_schema(self) -> dict[str, Any]:
        parameters = self._signature.parameters.values()
        for p in parameters:
            if p.kind is p.POSITIONAL_ONLY:
                raise Invalid(
                    f"tool {self.name!r}: parameter {p.name!r} is positional-only", "tools are called by argument name"
                )
        schemas, shared = msgspec.json.schema_components(self._types.values(), ref_template="#/$defs/{name}")
        schema: dict[str, Any] = {
            "type": "object",
            "properties": dict(zip(self._types, schemas, strict=True)),
            "required": [p.name for p in parameters if p.name in self._types and p.default is p.empty],
        }
        return {**schema, "$defs": shared} if shared else schema

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function's annotations have them (a dataclass, a set); Invalid names the one that does
        not fit."""
        try:
            self._signature.bind(**arguments)
        except TypeError as e:
            raise self._unfit(str(e)) from None
        return {name: self._converted(name, value) for name, value in arguments.items()}

    def _converted(self, name: str, value: Any) -> Any:
        try:
            return msgspec.convert(value, self._types.get(name, Any))
        except (ValueError, RecursionError) as e:  # a lone surrogate is a ValueError, too
            raise self._unfit(f"argument {name!r}: {e}") from None

    def _unfit(self, why: str) -> Invalid:
        return Invalid(f"tool {self.name!r}: {why}", f"its arguments: {json.dumps(self.schema)}")

    async def call(self, arguments: Mapping[str, Any]) -> str:
        """The result as JSON. Invalid, Unavailable (it raised) or TimedOut."""
        given = self.bind(arguments)
        limit = asyncio.timeout(TOOL_SECONDS)
        try:
            async with limit:
                if inspect.iscoroutinefunction(self.function):
                    value = await self.function(**given)
                else:
                    value = await self._in_thread(given)
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
