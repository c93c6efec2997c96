"""Commands under test: a CliRunner, a fake runtime in place of the real one, and a live server in front of another."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "http"))

from fake_runtime import FakeRuntime
from live_server import Server

from symphony.cli.main import cli

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
def runtimes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeRuntime]]:
    """Every runtime that commands create, all of them fakes."""
    made: list[FakeRuntime] = []

    class Recorded(FakeRuntime):
        def __init__(self, model: str = "tiny", **options: Any) -> None:
            super().__init__(model, **options)
            made.append(self)

    monkeypatch.setattr("symphony.host.Runtime", Recorded)
    yield made
    gc.unfreeze()  # a command is not the only thing that this process does


@pytest.fixture
def server() -> Iterator[Server[FakeRuntime]]:
    with Server(FakeRuntime()) as made:
        yield made
