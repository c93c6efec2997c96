"""The run's JSON arguments against the parameters of the program's main function.

Only what JSON can hold is checked, and simply: str, int, float, bool, list, dict, None, unions and literals of them,
the elements of a list and the values of a dict. Other annotations accept everything. Nothing is converted, except a
whole number where a float is wanted.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin


class ArgumentError(Exception):
    """The run's arguments do not fit the program; the text says which one and what is accepted."""


_REQUIRED: Any = object()


class Parameters:
    """What a main function accepts, read off its code object: `inspect.signature` would cost more than a launch."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = function.__name__
        function = inspect.unwrap(function)
        code = getattr(function, "__code__", None)
        if code is None:
            raise ArgumentError(f"@main marks {self.name}, which is not a plain function")
        count = code.co_argcount + code.co_kwonlyargcount
        names, flags = code.co_varnames, code.co_flags
        if code.co_posonlyargcount or flags & inspect.CO_VARARGS:
            raise ArgumentError(
                f"{self.name}() has positional parameters, and a run's arguments have names; "
                "make them ordinary parameters"
            )
        defaults: tuple[Any, ...] = function.__defaults__ or ()
        first = code.co_argcount - len(defaults)
        self.defaults: dict[str, Any] = dict.fromkeys(names[:count], _REQUIRED)
        self.defaults |= zip(names[first : code.co_argcount], defaults, strict=True)
        self.defaults |= function.__kwdefaults__ or {}
        self.open = bool(flags & inspect.CO_VARKEYWORDS)
        self.types = {name: _evaluated(a, function) for name, a in _annotations(function).items()}

    def check(self, arguments: Any) -> dict[str, Any]:
        """The keyword arguments to call with. Raises `ArgumentError`."""
        if not isinstance(arguments, dict):
            raise ArgumentError(f"the arguments must be a JSON object, not {kind(arguments)}\n  hint: {self.usage()}")
        for name in arguments:
            if name not in self.defaults and not self.open:
                raise ArgumentError(f"unknown argument {name!r}\n  hint: {self.usage()}")
        for name, default in self.defaults.items():
            if name not in arguments:
                if default is _REQUIRED:
                    raise ArgumentError(f"missing argument {name!r}\n  hint: {self.usage()}")
            elif name in self.types and not accepts(self.types[name], arguments[name]):
                raise ArgumentError(
                    f"argument {name!r} must be {describe(self.types[name])}, not {kind(arguments[name])} "
                    f"({_short(arguments[name])})\n  hint: {self.usage()}"
                )
        return {n: _as(self.types.get(n), v) for n, v in arguments.items()}

    def usage(self) -> str:
        """The parameters, in the words of the command line."""
        shown = [self._usage(name, default) for name, default in self.defaults.items()]
        shown += ["any other name"] if self.open else []
        return f"accepted: {', '.join(shown)}" if shown else f"{self.name}() accepts no arguments"

    def _usage(self, name: str, default: Any) -> str:
        shown = f"{name}: {describe(self.types[name])}" if name in self.types else name
        return f"{shown} (required)" if default is _REQUIRED else f"{shown} = {_short(default)}"


def _annotations(function: Any) -> dict[str, Any]:
    try:
        return dict(function.__annotations__)
    except Exception:  # evaluated on demand since Python 3.14; one that cannot be says nothing
        return {}


def _evaluated(annotation: Any, function: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, function.__globals__)
    except Exception:
        return Any


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
