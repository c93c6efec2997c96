"""The host's functions, as generated from `wit/`.

componentize-py generates the bindings (module `lip_world`) when a component is built, from the same `wit/` that the host
serves. None are shipped: a checked-in copy could only go stale, and outside Wasm there is nothing to call. So that a
program can still be imported by an IDE, a type checker or pytest, each interface is then a stand-in that raises when it
is used.
"""

from __future__ import annotations

from typing import Any


class _Absent:
    """An interface outside Wasm: using it is the error, importing it is not."""

    def __init__(self, interface: str) -> None:
        self._interface = interface

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(
            f"{self._interface}.{name} is answered by Symphony's host, and this is ordinary Python: "
            "run the program with `symphony run PROGRAM.py` or `symphony.Runtime`"
        )


Err: type[Exception]
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
    from lip_world.imports import infer, ipc, kvfs, log, model, poll, process, tool, types
    from lip_world.imports import monotonic_clock as clock
except ImportError:

    class Err(Exception):  # type: ignore[no-redef]
        """Never raised: there is no host."""

        value: Any

    infer, ipc, kvfs, log, model = (_Absent(name) for name in ("infer", "ipc", "kvfs", "log", "model"))
    clock, poll, process, tool, types = (_Absent(name) for name in ("clock", "poll", "process", "tool", "types"))


def text(value: str) -> str:
    """`value` as something that can cross: lone surrogates are not Unicode text and become question marks."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
