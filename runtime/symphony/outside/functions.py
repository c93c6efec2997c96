"""Tools that are Python functions: of the embedding service, or of a file that the operator names.

The schema, and the check of what a program passes, come from the same annotations, through msgspec.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Optional

import msgspec

from symphony.errors import Invalid, SymphonyError, TimedOut, Unavailable
from symphony.outside.threads import in_thread
from symphony.outside.tool import Seats, Tool, encoded, shortened
from symphony.param import TOOL_SECONDS


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


class FunctionTool:
    """A Python function, plain or `async`, offered to programs. Plain ones run in a thread."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.summary = inspect.getdoc(function) or ""
        self._signature = inspect.signature(function)
        self._types = _types(function, self._signature)
        self._seats = Seats(f"tool {name!r}")
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

    async def call(self, arguments: Mapping[str, Any], tenant: str = "") -> str:
        """The result as JSON. Invalid, Unavailable (it raised) or TimedOut."""
        given = self.bind(arguments)
        limit = asyncio.timeout(TOOL_SECONDS)
        try:
            async with limit:
                if inspect.iscoroutinefunction(self.function):
                    value = await self.function(**given)
                else:
                    value = await self._in_thread(given, tenant)
        except SymphonyError:
            raise
        except (Exception, SystemExit) as e:  # SystemExit would end the event loop
            if isinstance(e, TimeoutError) and limit.expired():
                raise TimedOut(f"tool {self.name!r} took longer than {TOOL_SECONDS:g} s") from None
            raise Unavailable(shortened(f"tool {self.name!r} failed: {type(e).__name__}: {e}")) from e
        return encoded(self.name, value)

    async def _in_thread(self, arguments: Mapping[str, Any], tenant: str) -> Any:
        """Its seat is taken until the thread ends, however long after its time."""
        self._seats.take(tenant)
        return await in_thread(
            f"tool {self.name}", lambda: self.function(**arguments), partial(self._seats.give_back, tenant)
        )


def toolbox(functions: Mapping[str, Callable[..., Any]]) -> dict[str, Tool]:
    """Tools by name, sorted."""
    return {name: FunctionTool(name, functions[name]) for name in sorted(functions)}
