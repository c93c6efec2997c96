"""What holds for all tests, in one process or in several (`make test` has two).

A shell that runs the tests in the background has them ignore SIGINT, and so would the programs that they start and
interrupt. What tests keep between runs is below `build/`, not in the user's directories: the interpreter component in
`build/test-programs`, whoever asks for it. Two processes never share a home, and each computes on one core.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import os
import shutil
import signal
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[1] / "build"
CACHE = BUILD / "test-programs"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CRASHES = BUILD / "test-crashes"
"""Where a process that dies of a signal says where it was; its standard error may be far from the report."""
USERS_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "symphony"
os.environ["XDG_CACHE_HOME"] = str(BUILD / "test-cache")
os.environ["SYMPHONY_HOME"] = str(BUILD / "test-homes" / os.environ.get("PYTEST_XDIST_WORKER", "alone"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # where a test asks for more: no core is burnt in waiting


def pytest_configure(config: pytest.Config) -> None:
    """The default cache is the tests' own. With several processes, the interpreter is in it before they start."""
    if "SYMPHONY_TEST_WORKERS" in os.environ:
        _have_workers(int(os.environ["SYMPHONY_TEST_WORKERS"]))
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    link = BUILD / "test-cache" / "symphony"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(CACHE, target_is_directory=True)
    if config.getoption("numprocesses", None):
        shutil.rmtree(CRASHES, ignore_errors=True)
        CRASHES.mkdir()
        _interpreter()


def _have_workers(count: int) -> None:
    """Every host that a test boots has so many workers, unless it says otherwise: they must make no difference."""
    from symphony.host import Config

    Config.__init__ = functools.partialmethod(Config.__init__, workers=count)  # type: ignore[assignment, method-assign]


def pytest_sessionstart() -> None:
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        faulthandler.enable((CRASHES / worker).open("w"))  # after pytest's own, which writes to standard error


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What processes that died of a signal were doing, of each thread; nothing if they were killed."""
    if not config.getoption("numprocesses", None):
        return
    for file in sorted(CRASHES.glob("gw*")):
        if lines := file.read_text().splitlines():
            ours = [
                line for line in lines if not any(name in line for name in ("pytest", "pluggy", "xdist", "execnet"))
            ]
            terminalreporter.section(f"{file.name} died")
            terminalreporter.write_line("\n".join(ours))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With workers, what means guests in the host's own process is left out. With several processes, slow tests go
    first: what is left for the end is short, and keeps all of them busy."""
    if "SYMPHONY_TEST_WORKERS" in os.environ:
        for item in items:
            if (marker := item.get_closest_marker("without_workers")) is not None:
                item.add_marker(pytest.mark.skip(marker.args[0]))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _interpreter() -> None:
    """Taken over from the user's cache if `symphony run` has been here, else built: about half a minute."""
    from symphony.errors import SymphonyError
    from symphony.program import interpreter
    from symphony.program.programs import Programs
    from symphony.program.toolchain import find_kit, replace
    from symphony.sandbox import Sandbox, SandboxConfig
    from symphony.syscall.table import HANDLERS

    sandbox = Sandbox(SandboxConfig(max_instances=1), HANDLERS)
    key = interpreter.key(find_kit())
    for name in (f"interpreter/{key}.wasm", f"compiled/{sandbox.engine_key}/interpreter-{key}.cwasm"):
        if (USERS_CACHE / name).is_file() and not (CACHE / name).is_file():
            (CACHE / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = (CACHE / name).with_suffix(".part")
            shutil.copyfile(USERS_CACHE / name, part)
            part.chmod(0o600)
            replace(part, CACHE / name)
    programs = Programs(sandbox, BUILD / "test-homes" / "alone", CACHE)
    with contextlib.suppress(SymphonyError):  # where it cannot be built, the tests that need it say why
        asyncio.run(programs.interpreter())
    sandbox.close()
