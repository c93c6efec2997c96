"""A program that became a component of its own (`symphony build`): its top-level code runs during the build.

What a run then still has to do is what differs from run to run: randomness, arguments, the main function. Error texts
are those of the interpreter.
"""

from __future__ import annotations

import json
import linecache
import sys
import types
from pathlib import Path
from typing import Any

from . import _entry, _host, _interpreter, _rehearsal, _report

FAILED = "\x1elip-build-failed\x1e"
"""Stands before and after the error text in what a failed build prints; `symphony.program.build` looks for it."""


def world(app: str, filename: str) -> type:
    """The class that componentize-py exports: the program in the file `app`, called `filename` in tracebacks."""
    try:
        return _world(app, filename)
    except _entry.Failure as failure:
        print(f"{FAILED}{failure}{FAILED}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def _world(app: str, filename: str) -> type:
    _rehearsal.rehearse(_interpreter.execute)
    root = f"{Path(app).parent}/"
    module = types.ModuleType("app")
    module.__file__ = app
    sys.modules["app"] = module
    source = Path(app).read_text(encoding="utf-8-sig")
    _report.remember(filename, source)
    with _host.absent("the top-level code of a built program runs during the build: move this call into a function"):
        try:
            _entry.guard(lambda: exec(compile(source, filename, "exec"), module.__dict__), root)
        except _entry.Finished:
            raise _entry.Failure("the program ends itself at top level, before its main function runs") from None
    function, parameters = _entry.entry_of(module.__dict__)
    for other in list(sys.modules.values()):  # their sources, for tracebacks: there are no files at run time
        path = getattr(other, "__file__", None) or ""
        if path.startswith(root) and path != app:
            _report.remember(path.removeprefix(root), "".join(linecache.getlines(path)))
    _interpreter.import_library()
    _interpreter.seal()

    class LipWorld:
        def run(self, args: str) -> str:
            _entry.begin()
            return _entry.answer(lambda: _entry.run(function, parameters, _arguments(args), root))

    return LipWorld


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _entry.Failure(f"the arguments are not JSON: {error}") from None
