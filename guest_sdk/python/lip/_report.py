"""An exception as the text that the user reads: a traceback of the user's own frames, with the source lines.

Frames of this package and of asyncio are left out: nobody debugging a program needs to read them.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator

_MINE = (f"{__package__}/", "asyncio/", "<frozen ")


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
    if isinstance(error, ModuleNotFoundError) and not getattr(error, "__notes__", None):
        error.add_note(
            "  hint: a program has the standard library and lip; put pure-Python packages beside app.py in a folder "
            "and run `symphony build FOLDER`"
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
