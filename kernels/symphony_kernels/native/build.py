"""Compile the native operations for this very machine, once, and load it.

The library lies in the cache directory under a name that is a hash of the source, the flags, the compiler and the
processor, and is put there by a rename: processes that build at the same time do not disturb each other, and a changed
source is another file. `SYMPHONY_NATIVE=0` turns it off. It knows nothing of what they do.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

SOURCES = tuple(Path(__file__).with_name(name) for name in ("attention.cpp", "linear.cpp"))
HEADER = Path(__file__).with_name("vectors.h")
SWITCH = "SYMPHONY_NATIVE"
"""Environment variable: "0" means that nothing is built or loaded."""
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
THREADS = "-fopenmp"
"""torch has loaded this runtime already; a compiler without it makes a library that uses one thread."""
SECONDS = 120.0
"""For one run of the compiler, which takes about three on an idle machine."""
_log = logging.getLogger(__name__)


def load() -> ctypes.CDLL | None:
    """The library; None, with a reason in the log, if it was turned off or cannot be had. Blocks while it compiles."""
    if os.environ.get(SWITCH) == "0":
        return None
    compiler = find_compiler()
    if compiler is None:
        _log.info("no C++ compiler: the CPU uses torch alone, which is slower")
        return None
    return _load(compiler, cache_directory())


def find_compiler() -> str | None:
    """The path of a C++ compiler: $CXX, else the usual names."""
    return _search(os.environ.get("CXX"), os.environ.get("PATH"))


@functools.cache
def _search(given: str | None, path: str | None) -> str | None:
    """Every weight of a model asks: the directories are searched once."""
    found = (shutil.which(name, path=path) for name in (given, "g++", "clang++", "c++") if name)
    return next(filter(None, found), None)


def cache_directory() -> Path:
    """Where libraries are kept; may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "symphony" / "native"


@functools.cache
def _load(compiler: str, directory: Path) -> ctypes.CDLL | None:
    """Once a process: a machine where this fails is not asked again and again."""
    try:
        path = directory / f"native-{_key(compiler)}.so"
        if not path.exists():
            compile_source(compiler, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as e:
        _log.warning(
            "the native operations cannot be had, torch's are used instead: %s (%s=0 turns this off)", _why(e), SWITCH
        )
        return None


def compile_source(compiler: str, path: Path) -> None:
    """Compile to `path`. Raises OSError, SubprocessError."""
    _log.info("compiling the native operations with %s, once", compiler)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / "native.so"
        attempts = _attempts(compiler, made)
        next(attempts)()
        if not made.exists():
            next(attempts)()
        made.replace(path)


def _attempts(compiler: str, made: Path) -> Iterator[Callable[[], object]]:
    """With threads, whatever comes of it; and without, where that raises."""
    command = [compiler, *FLAGS, "-o", str(made), *map(str, SOURCES)]
    run = functools.partial(subprocess.run, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    yield lambda: run([*command, THREADS])
    yield lambda: run(command, check=True)


def _key(compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=SECONDS, check=True).stdout
    sources = [path.read_bytes() for path in (*SOURCES, HEADER)]
    facts = (*sources, repr((FLAGS, THREADS)).encode(), version, _processor())
    return hashlib.sha256(b"\0".join(facts)).hexdigest()[:20]


def _processor() -> bytes:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return b"".join({line: None for line in lines if line.startswith((b"model name", b"flags"))})


def _why(error: Exception) -> str:
    said = getattr(error, "stderr", None)
    return f"{error}: {said.strip()[-300:]}" if said else str(error)
