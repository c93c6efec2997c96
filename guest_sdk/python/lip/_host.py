"""The host's functions, as generated from `wit/`.

componentize-py generates the bindings (module `lip_world`) when a component is built, from the same `wit/` that the
host serves. None are shipped: a checked-in copy could only go stale, and outside Wasm there is nothing to call. So that
a program can still be imported by an IDE, a type checker or pytest, each interface is then a stand-in that raises when
it is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_OUTSIDE = "run the program with `symphony run PROGRAM.py` or `symphony.Runtime`"


class _Absent:
    """An interface where there is no host: using it is the error, importing it is not."""

    def __init__(self, interface: str, advice: str) -> None:
        self._interface = interface
        self._advice = advice

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(
            f"{self._interface}.{name} is answered by Symphony's host, which is not here\n  hint: {self._advice}"
        )


Err: type[Exception]
constraint: Any
fetch: Any
infer: Any
ipc: Any
kvfs: Any
log: Any
model: Any
clock: Any
poll: Any
process: Any
tool: Any
types: Any

try:
    from componentize_py_types import Err  # type: ignore[no-redef]
    from lip_world.imports import constraint, fetch, infer, ipc, kvfs, log, model, poll, process, tool, types
    from lip_world.imports import monotonic_clock as clock
except ImportError:

    class Err(Exception):  # type: ignore[no-redef]
        """Never raised: there is no host."""

        value: Any

    constraint, infer, ipc = (_Absent(name, _OUTSIDE) for name in ("constraint", "infer", "ipc"))
    fetch, kvfs, log, model = (_Absent(name, _OUTSIDE) for name in ("fetch", "kvfs", "log", "model"))
    clock, poll, process, tool, types = (
        _Absent(name, _OUTSIDE) for name in ("clock", "poll", "process", "tool", "types")
    )


@contextlib.contextmanager
def absent(advice: str) -> Iterator[None]:
    """While a component is built there are bindings but no host: calling one would end the build without a word."""
    names = ("constraint", "fetch", "infer", "ipc", "kvfs", "log", "model", "process", "tool")
    kept = {name: globals()[name] for name in names}
    globals().update({name: _Absent(name, advice) for name in names})
    try:
        yield
    finally:
        globals().update(kept)


def text(value: str) -> str:
    """`value` as something that can cross: lone surrogates are not Unicode text and become question marks."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
