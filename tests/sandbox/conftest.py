"""One sandbox for all sandbox tests, with the handlers of `symphony:test/sys`; guests compiled once and kept."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sandbox_guests import CACHE, CONFIG, REFERENCE, Loop, TestHost, compiled

from symphony.sandbox import LoadedProgram, Sandbox

REPOSITORY = Path(__file__).parents[2]

PYTHON_GUEST = """
import sys, json, types, traceback, os, time, random, errno, uuid, asyncio, socket, tempfile, pathlib, threading
from wit_world.imports import poll, monotonic_clock
from componentize_py_types import Err

class WitWorld:
    def run(self, args: str) -> str:
        request = json.loads(args)
        module = types.ModuleType("lip")
        module.poll, module.clock = poll, monotonic_clock
        try:
            exec(compile(request["source"], "lip.py", "exec"), module.__dict__)
            return json.dumps(module.main(**request.get("args", {})), default=str)
        except Exception as error:
            raise Err("".join(traceback.format_exception(error)))
"""
PYTHON_WIT = """package symphony:test@0.1.0;
world guest {
  import wasi:io/poll@0.2.6;
  import wasi:clocks/monotonic-clock@0.2.6;
  export run: func(args: string) -> result<string, string>;
}
"""


@pytest.fixture
def host() -> TestHost:
    return TestHost()


class Current:
    """Handlers that forward to the host of the test that runs."""

    def __init__(self) -> None:
        self.host = TestHost()

    def handler(self, key: str) -> Callable[..., object]:
        name = key.split("#")[1].removeprefix("[method]thing.")
        return lambda *arguments: getattr(self.host, name)(*arguments)


@pytest.fixture(scope="session")
def engine() -> Iterator[tuple[Sandbox, Current]]:
    current = Current()
    sandbox = Sandbox(CONFIG, {key: current.handler(key) for key in REFERENCE}, REFERENCE)
    yield sandbox, current
    sandbox.close()


@pytest.fixture
def sandbox(engine: tuple[Sandbox, Current], host: TestHost) -> Iterator[Sandbox]:
    """Every test leaves it empty."""
    sandbox, current = engine
    current.host = host
    yield sandbox
    assert sandbox.live == 0


@pytest.fixture
def loop(sandbox: Sandbox) -> Iterator[Loop]:
    loop = Loop(sandbox)
    yield loop
    loop.close()


@pytest.fixture
def load(sandbox: Sandbox) -> Callable[[str | bytes], LoadedProgram]:
    CACHE.mkdir(parents=True, exist_ok=True)
    return lambda source: sandbox.load(compiled(source, CONFIG, CACHE))


@pytest.fixture(scope="session")
def python_wasm() -> bytes:
    """A componentize-py guest with all of WASI, which runs the Python source in its argument."""
    CACHE.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256((PYTHON_GUEST + PYTHON_WIT).encode()).hexdigest()[:16]
    target = CACHE / f"python-{digest}.wasm"
    with (CACHE / "lock").open("w") as lock:  # of several test processes one builds, the others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _build_guest(CACHE / f"python-{digest}", target)
    return target.read_bytes()


def _build_guest(work: Path, target: Path) -> None:
    (work / "wit").mkdir(parents=True, exist_ok=True)
    (work / "guest_app.py").write_text(PYTHON_GUEST)
    (work / "wit" / "world.wit").write_text(PYTHON_WIT)
    deps = work / "wit" / "deps"
    if not deps.exists():
        deps.symlink_to(REPOSITORY / "wit" / "deps")
    tool = Path(sys.executable).parent / "componentize-py"
    part = target.with_suffix(".part")
    subprocess.run(
        [tool, "-d", "wit", "-w", "guest", "componentize", "guest_app", "-o", part],
        cwd=work,
        check=True,
        capture_output=True,
    )
    part.rename(target)


@pytest.fixture
def python_program(load: Callable[[str | bytes], LoadedProgram], python_wasm: bytes) -> LoadedProgram:
    return load(python_wasm)
