"""`symphony build`: a Python LIP becomes a component of its own.

The program is a file, or a folder whose `app.py` (or `main.py`) has the main function and whose other modules and pure
Python packages it imports; further packages are fetched where it names them (`requirements`). It behaves as the `.py`
does on the interpreter, with the same SDK and error texts; its top-level code runs once, here, so that a launch costs
little. Takes about 15 seconds.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from symphony.errors import Invalid, InvalidProgram, NotFound
from symphony.program.check import text_of
from symphony.program.requirements import fetch, requirements_of
from symphony.program.snapshot import immortalise
from symphony.program.toolchain import BuildFailed, componentize, find_kit, replace

MAIN_FILES = ("app.py", "main.py")
_MODULE = "symphony_component"
_FAILED = "\x1elip-build-failed\x1e"
"""`lip._built` prints it before and after the error text of a program that failed."""
_NATIVE = (".so", ".pyd", ".dylib", ".dll")
_IGNORED = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "*.dist-info", "*.pyc")


def build(source: Path, out: Path) -> None:
    """Build the program at `source` into the component `out`, replacing it only when all went well. Blocks.

    Raises `NotFound` (no such file), `Invalid` (a folder without a main file, `out` cannot be written),
    `InvalidProgram` with the program's own traceback (syntax errors, exceptions at top level, no @main, native
    packages), `LimitExceeded` (its top-level code does not end), `Unavailable` (no componentize-py, or no pip).
    """
    kit = find_kit()
    main = main_file(source)
    named = requirements_of(text_of(main.read_bytes()), source if source.is_dir() else None)
    out = out.resolve()  # the tool runs in another folder
    if not out.parent.is_dir():
        raise Invalid(f"there is no folder {out.parent} for {out.name}", "create it first")
    with tempfile.TemporaryDirectory(prefix=".symphony-build-", dir=out.parent) as aside:
        app, packages = Path(aside) / "app", Path(aside) / "packages"
        _collect(source, main, app)
        packages.mkdir()
        if named:
            fetch(named, packages)
            _refuse_native(packages)
        _entry_module(main.name, Path(aside) / "entry")
        made = Path(aside) / "out.wasm"
        try:
            componentize(kit, _MODULE, [Path(aside) / "entry", app, packages], made)
        except BuildFailed as error:
            raise _explained(error.message, main.name) from None
        made.write_bytes(immortalise(made.read_bytes()))
        replace(made, out)


def main_file(source: Path) -> Path:
    """The file with the main function. Raises `NotFound`, `Invalid`."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise NotFound(f"there is no file or folder {source}")
    for name in MAIN_FILES:
        if (source / name).is_file():
            return source / name
    alone = sorted(source.glob("*.py"))
    if len(alone) == 1:
        return alone[0]
    raise Invalid(f"{source} has neither app.py nor main.py", "put the @main function into app.py")


def _collect(source: Path, main: Path, app: Path) -> None:
    """Copy what the build may see; the main file becomes `app.py`."""
    if source.is_dir():
        _refuse_native(source)
        shutil.copytree(source, app, ignore=_IGNORED)
    else:
        app.mkdir()
    if main.name != "app.py" or source.is_file():
        shutil.copyfile(main, app / "app.py")


def _refuse_native(folder: Path) -> None:
    native = sorted(p for p in folder.rglob("*") if p.suffix in _NATIVE and not _hidden(p, folder))
    if native:
        names = ", ".join(str(p.relative_to(folder)) for p in native[:5])
        raise InvalidProgram(
            f"the program brings native code, which Wasm cannot load: {names}", "use pure-Python packages only"
        )


def _hidden(path: Path, source: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(source).parts)


def _entry_module(filename: str, folder: Path) -> None:
    folder.mkdir()
    (folder / f"{_MODULE}.py").write_text(
        "import importlib.util\n"
        "from lip._built import world\n"
        "_app = importlib.util.find_spec('app').origin\n"
        f"LipWorld = world(_app, {filename!r})\n"
    )


def _explained(printed: str, name: str) -> InvalidProgram:
    """The program's own error, if that is what stopped the build."""
    parts = printed.split(_FAILED)
    return InvalidProgram(f"{name} cannot be built:\n{parts[1] if len(parts) >= 3 else printed[-2000:]}")
