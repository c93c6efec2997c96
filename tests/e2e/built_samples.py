"""Samples as components, built once for all tests and runs: a build takes 20 s of CPU, compiling its result as many."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from symphony.program import build, interpreter
from symphony.program.toolchain import find_kit

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build/test-components"


def source(name: str) -> Path:
    return ROOT / "samples" / name / f"{name}.py"


def component(name: str) -> Path:
    """The component of a sample, as `symphony build` makes it."""
    return _made(name, lambda part: build.build(source(name), part))


def keep(name: str, built: Path) -> None:
    """`symphony build` has made the sample's component anyway."""

    def copy(part: Path) -> None:
        shutil.copyfile(built, part)

    _made(name, copy)


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """Made unless it was made from the same sources before; others who want it wait meanwhile."""
    parts = (interpreter.key(find_kit()).encode(), Path(build.__file__).read_bytes(), source(name).read_bytes())
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
