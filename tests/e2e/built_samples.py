"""Samples as components, built once for all tests and runs: a build takes 20 s of CPU, compiling its result as many."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from symphony.program import build, interpreter
from symphony.program.toolchain import find_kit

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build/test-components"
COLLECTION = """
import importlib
import inspect

from lip import main

MODULES = {name: importlib.import_module(name) for name in NAMES}


@main
async def app(sample: str, args: dict) -> object:
    result = MODULES[sample].__lip_main__(**args)
    return await result if inspect.isawaitable(result) else result
"""


def source(name: str) -> Path:
    return ROOT / "samples" / name / f"{name}.py"


def component(name: str) -> Path:
    """The component of a sample, as `symphony build` makes it."""
    return _made(name, [source(name)], lambda part: build.build(source(name), part))


def collection(names: Sequence[str]) -> Path:
    """One component for several samples, of a folder that has them as modules: `{"sample": name, "args": {...}}`."""

    def make(part: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                shutil.copy(source(name), folder)
            (Path(folder) / "app.py").write_text(COLLECTION.replace("NAMES", repr(list(names))))
            build.build(Path(folder), part)

    return _made("collection", [Path(__file__), *map(source, names)], make)


def keep(name: str, built: Path) -> None:
    """`symphony build` has made the sample's component anyway."""

    def copy(part: Path) -> None:
        shutil.copyfile(built, part)

    _made(name, [source(name)], copy)


def _made(name: str, sources: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """Made unless it was made from the same sources before; others who want it wait meanwhile."""
    contents = [path.read_bytes() for path in (Path(build.__file__), *sources)]
    parts = [interpreter.key(find_kit()).encode(), *contents]
    target = FOLDER / f"{name}-{hashlib.sha256(b''.join(parts)).hexdigest()[:16]}.wasm"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            for old in FOLDER.glob(f"{name}-*.wasm"):
                old.unlink()
            part = FOLDER / f"{name}.part"
            make(part)
            part.rename(target)
    return target
