"""An exception as the text that the user reads: a traceback of the user's own frames, with the source lines.

Frames of this package and of asyncio are left out: nobody debugging a program needs to read them.
"""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Iterator

_MINE = (f"{__package__}/", "asyncio/", "<frozen ")
_NATIVE = """
PIL bcrypt cffi cryptography cv2 grpc jax llvmlite lxml matplotlib numba numpy onnxruntime orjson pandas polars psutil
pyarrow pydantic_core scipy sentencepiece sklearn spacy tensorflow tiktoken tokenizers torch transformers
""".split()  # noqa: SIM905
"""Of the packages that are asked for most, those that need native code."""


def remember(filename: str, source: str) -> None:
    """Keep a source that is in no file system, for the tracebacks."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def report(error: BaseException, root: str = "") -> str:
    """The error's traceback, most recent call last; `root` is a folder that is cut off from file names."""
    _advise(error)
    told = traceback.TracebackException.from_exception(error, compact=True, lookup_lines=False)
    for part in _all(told):
        mine = [frame for frame in part.stack if not _internal(frame.filename)]
        for frame in mine:
            frame.filename = frame.filename.removeprefix(root)
        part.stack = traceback.StackSummary.from_list(mine) if mine else None  # None: no header either
    return "".join(told.format()).rstrip()


def _advise(error: BaseException) -> None:
    hint = advice(error)
    if hint and not getattr(error, "__notes__", None):
        error.add_note(f"  hint: {hint}")
    for inner in getattr(error, "exceptions", ()):
        _advise(inner)


def advice(error: BaseException) -> str:
    """What to do about mistakes that Python's own words do not explain to a beginner; empty for others."""
    if isinstance(error, ModuleNotFoundError):
        return _about_module((error.name or "").partition(".")[0])
    text = str(error)
    if isinstance(error, AttributeError | TypeError) and "coroutine" in text:
        return "the call that made this value was not awaited: put `await` before it"
    if isinstance(error, TypeError) and "can't be awaited" in text:
        return "this call answers at once: leave out the `await`"
    if isinstance(error, RecursionError):
        return "a function calls itself without end, or too deeply: give it a case that stops, or use a loop"
    if isinstance(error, RuntimeError) and text.startswith("asyncio.run() cannot be called"):
        return "the main function runs in the event loop already: await the coroutine instead"
    return ""


def _about_module(name: str) -> str:
    if name in _NATIVE:
        return f"{name} is native code, which Wasm cannot load; do that work in a tool, which runs outside the sandbox"
    if name in sys.stdlib_module_names:
        return f"{name} needs what the sandbox does not have (sockets, C libraries); do that work in a tool"
    return (
        "a program has the standard library and lip; name pure-Python packages in a `# /// script` block, or put them "
        "into its folder, and run it as a component: `symphony build`"
    )


def _internal(filename: str) -> bool:
    path = filename.replace("\\", "/")
    return any(f"/{part}" in path or path.startswith(part) for part in _MINE)


def _all(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    pending = [told]
    while pending:
        part = pending.pop()
        yield part
        pending += [p for p in (part.__cause__, part.__context__, *(part.exceptions or ())) if p is not None]
