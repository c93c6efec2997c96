"""`@main`, and what happens around it in one run: arguments in, result or error text out.

Everything that leaves the user's code becomes an error text, because an exception that reached the host's boundary
would be a trap. Used by both kinds of program: the interpreter, which executes a source, and a component built from
one.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from . import _host
from ._arguments import ArgumentError, Parameters
from ._loop import Loop
from ._report import advice, report

F = TypeVar("F", bound=Callable[..., Any])


class Failure(Exception):
    """The run failed; the text is what the user reads."""


class Finished(Exception):
    """The program called `sys.exit()`: an ordinary end without a result."""


def main(function: F) -> F:
    """Mark the program's entry point, `async def` or `def`. Its parameters are the run's arguments by name; what it
    returns, a JSON value, is the run's result. The function itself stays as it was."""
    if not callable(function):
        raise TypeError(f"@main marks a function, not {function!r}")
    module = sys.modules.get(function.__module__)
    scope = getattr(function, "__globals__", None) or vars(module)
    if "__lip_main__" in scope:
        raise TypeError(
            f"the program has two @main functions: {scope['__lip_main__'].__name__} and {function.__name__}"
        )
    scope["__lip_main__"] = function
    return function


def entry_of(scope: dict[str, Any]) -> tuple[Callable[..., Any], Parameters]:
    """The main function of an executed program. Raises `Failure`."""
    function = scope.get("__lip_main__")
    if function is None:
        raise Failure(
            "the program has no entry point\n  hint: put @main (from lip import main) above its main function"
        )
    try:
        return function, Parameters(function)
    except ArgumentError as error:
        raise Failure(str(error)) from None


def begin() -> None:
    """Standard output is buffered until the next suspension; a write each would cost six host calls."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=False, write_through=False)


def seed(a: Any = None, version: int = 2) -> None:
    """`random.seed`, which componentize-py calls at the start of every run so that runs differ.

    Without an argument the original fetches 2.5 KB of randomness from the host; 16 bytes do as well.
    """
    _SEED(int.from_bytes(os.urandom(16)) if a is None else a, version)


_SEED = random.seed


def run(function: Callable[..., Any], parameters: Parameters, arguments: Any, root: str = "") -> str:
    """Run the main function to its end; its result as JSON. Raises `Failure`, `Finished`."""
    try:
        given = parameters.check(arguments)
    except ArgumentError as error:
        raise Failure(str(error)) from None
    return encode_result(guard(lambda: Loop().run_until_complete(_call(function, given)), root))


async def _call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    result = function(**arguments)
    return await result if asyncio.iscoroutine(result) else result


def guard(action: Callable[[], Any], root: str = "") -> Any:
    """Do it; whatever it raises is a `Failure` with the traceback, or `Finished`."""
    try:
        return action()
    except SystemExit as end:
        if end.code in (None, 0):
            raise Finished from None
        text = f"the program exited with status {end.code}" if isinstance(end.code, int) else str(end.code)
        raise Failure(text) from None
    except BaseException as error:
        raise Failure(report(error, root)) from None
    finally:
        sys.stdout.flush()


def answer(action: Callable[[], str]) -> str:
    """The boundary to the host: the JSON result, or the error text raised as WIT's `err`."""
    try:
        return action()
    except Finished:
        return "null"
    except Failure as failure:
        raise _host.Err(_host.text(str(failure))) from None


def encode_result(result: Any) -> str:
    """The result as JSON. Raises `Failure`."""
    try:
        return json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        hint = advice(error) or "return str, int, float, bool, None, or lists and dicts of them"
        raise Failure(f"the result is not a JSON value: {error}\n  hint: {hint}") from None
