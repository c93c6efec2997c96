"""Commands under test: a CliRunner, a fake runtime in place of the real one, and a live server in front of another."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "http"))

from fake_runtime import FakeRuntime

from symphony.cli.main import cli
from symphony.host import Runtime
from symphony.http.app import create_app
from symphony.http.server import bind, serving, url_of

PROGRAM = """from lip import main

@main
async def app(prompt: str = "x", n: int = 1) -> str: ...
# {behaviour}
"""


class Terminal:
    """Runs commands as a person would, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *words: str, **options: Any) -> Result:
        return CliRunner().invoke(cli, list(words), prog_name="symphony", **options)

    def write(self, name: str, behaviour: str) -> str:
        """A program of the fake runtime as a file; returns its path."""
        path = self.directory / name
        path.write_text(PROGRAM.format(behaviour=behaviour))
        return str(path)


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYMPHONY_URL", raising=False)
    return Terminal(tmp_path)


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> list[FakeRuntime]:
    """Every runtime that commands create, all of them fakes."""
    made: list[FakeRuntime] = []

    class Recorded(FakeRuntime):
        def __init__(self, model: str = "tiny", **options: Any) -> None:
            super().__init__(model, **options)
            made.append(self)

    monkeypatch.setattr("symphony.host.Runtime", Recorded)
    return made


class Server:
    """A server over a FakeRuntime, on a thread of its own."""

    def __init__(self) -> None:
        self.runtime = FakeRuntime()
        self.listener = bind("127.0.0.1", 0)
        self.url = url_of(self.listener)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        with self.listener:
            async with self.runtime, serving(create_app(cast("Runtime", self.runtime)), self.listener):
                self._ready.set()
                await self._stop.wait()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.start()
    yield made
    made.stop()
