"""The run's JSON arguments against the parameters of the program's main function.

Only what JSON can hold is checked, and simply: str, int, float, bool, list, dict, None, unions and literals of them, the
elements of a list and the values of a dict. Other annotations accept everything. Nothing is converted, except a whole
number where a float is wanted.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin


class ArgumentError(Exception):
    """The run's arguments do not fit the program; the text says which one and what is accepted."""


class Parameters:
    """What a main function accepts; made once a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = function.__name__
        self.parameters = inspect.signature(function).parameters
        for parameter in self.parameters.values():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise ArgumentError(
                    f"{self.name}() has the positional parameter {str(parameter)!r}, and a run's arguments have names; "
                    "make it an ordinary parameter"
                )
        try:
            self.types: dict[str, Any] = typing.get_type_hints(function)
        except Exception:  # an annotation that cannot be evaluated says nothing
            self.types = {}
        self.open = any(p.kind is p.VAR_KEYWORD for p in self.parameters.values())

    def check(self, arguments: Any) -> dict[str, Any]:
        """The keyword arguments to call with. Raises `ArgumentError`."""
        if not isinstance(arguments, dict):
            raise ArgumentError(f"the arguments must be a JSON object, not {kind(arguments)}\n  hint: {self.usage()}")
        named = {n: p for n, p in self.parameters.items() if p.kind is not p.VAR_KEYWORD}
        for name in arguments:
            if name not in named and not self.open:
                raise ArgumentError(f"unknown argument {name!r}\n  hint: {self.usage()}")
        for name, parameter in named.items():
            if name not in arguments:
                if parameter.default is parameter.empty:
                    raise ArgumentError(f"missing argument {name!r}\n  hint: {self.usage()}")
            elif name in self.types and not accepts(self.types[name], arguments[name]):
                raise ArgumentError(
                    f"argument {name!r} must be {describe(self.types[name])}, not {kind(arguments[name])} "
                    f"({_short(arguments[name])})\n  hint: {self.usage()}"
                )
        return {n: _as(self.types.get(n), v) for n, v in arguments.items()}

    def usage(self) -> str:
        """The parameters, in the words of the command line."""
        if not self.parameters:
            return f"{self.name}() accepts no arguments"
        return "accepted: " + ", ".join(self._usage(n, p) for n, p in self.parameters.items())

    def _usage(self, name: str, parameter: inspect.Parameter) -> str:
        if parameter.kind is parameter.VAR_KEYWORD:
            return "any other name"
        shown = f"{name}: {describe(self.types[name])}" if name in self.types else name
        return (
            f"{shown} (required)" if parameter.default is parameter.empty else f"{shown} = {_short(parameter.default)}"
        )


_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
_NAMES |= {list: "a list", dict: "an object"}


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    return _NAMES.get(type(value), type(value).__name__)


def describe(annotation: Any) -> str:
    """What an annotation accepts, in words."""
    origin, members = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation in _NAMES:
        return _NAMES[type(None) if annotation is None else annotation]
    if origin in (Union, types.UnionType):
        return " or ".join(describe(m) for m in members)
    if origin is Literal:
        return " or ".join(map(repr, members))
    if origin in _LISTS:
        return f"a list of {_plural(members[0])}"
    if origin in _DICTS:
        return f"an object of {_plural(members[1])}"
    return getattr(annotation, "__name__", str(annotation))


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a JSON value fits an annotation."""
    origin, members = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation in (str, bool, list, dict):
        return isinstance(value, annotation)
    if origin in (Union, types.UnionType):
        return any(accepts(m, value) for m in members)
    if origin is Literal:
        return any(type(m) is type(value) and m == value for m in members)
    if origin in _LISTS:
        return isinstance(value, list) and all(accepts(members[0], v) for v in value)
    if origin in _DICTS:
        return isinstance(value, dict) and all(accepts(members[1], v) for v in value.values())
    return True


_LISTS = (list, Sequence)
_DICTS = (dict, Mapping)


def _as(annotation: Any, value: Any) -> Any:
    return float(value) if annotation is float and isinstance(value, int) else value


def _plural(annotation: Any) -> str:
    return {str: "strings", int: "whole numbers", float: "numbers", bool: "booleans"}.get(
        annotation, describe(annotation)
    )


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
