"""The command as a whole: help without heavy imports, unknown commands, how failures end."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import click
import pytest
from commands_fixture import Terminal

from symphony.cli import lazy
from symphony.cli.main import COMMANDS
from symphony.errors import Busy, Invalid, InvalidProgram, NotFound, ProgramError

HEAVY = ("torch", "aiohttp", "wasmtime", "numpy", "rich", "tokenizers", "asyncio", "msgspec")


def imported_by(*words: str) -> set[str]:
    """The heavy modules that a command leaves in a fresh interpreter."""
    script = (
        "import sys, json\n"
        "from symphony.cli.main import cli\n"
        "status = cli(sys.argv[1:], prog_name='symphony', standalone_mode=False)\n"
        f"json.dump([name for name in {HEAVY!r} if name in sys.modules], sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True, timeout=120
    )
    assert "Usage: symphony" in done.stdout
    return set(json.loads(done.stderr))


def test_help_imports_nothing_heavy() -> None:
    assert imported_by("--help") == set()


@pytest.mark.parametrize(
    "command", ["run", "serve", "new", "build", "programs", "ps", "top", "fs", "kill", "logs", "models", "doctor"]
)
def test_no_commands_help_imports_the_host(command: str) -> None:
    assert imported_by(command, "--help") <= {"asyncio", "msgspec"}


def test_help_names_every_command(terminal: Terminal) -> None:
    for words in (["--help"], ["-h"]):
        result = terminal(*words)
        assert result.exit_code == 0
        for name, entry in COMMANDS.items():
            assert f"  {name} " in result.stdout
            assert entry.summary in " ".join(result.stdout.split())


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"bench"}))
def test_the_table_points_at_commands(name: str) -> None:
    module, attribute = COMMANDS[name].target.split(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)


def test_unknown_command_names_its_neighbours(terminal: Terminal) -> None:
    result = terminal("serv")
    assert result.exit_code == 2
    assert "no such command 'serv'. Did you mean serve?" in result.stderr
    assert terminal("--nonsense").exit_code == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("m"), 2),
        (InvalidProgram("m"), 2),
        (NotFound("m"), 2),
        (ProgramError("m"), 1),
        (Busy("m"), 1),
    ],
)
def test_exit_statuses(error: Exception, status: int) -> None:
    assert lazy.exit_status(error) == status  # type: ignore[arg-type]


def test_failures_say_what_and_the_fix(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(word: str) -> None:
        raise Busy("the file is locked", "wait for pid 7")

    monkeypatch.setattr("symphony.cli.target.resolve", fail)
    result = terminal("run", "x.py")
    assert (result.exit_code, result.stderr) == (1, "error: the file is locked\n  fix: wait for pid 7\n")


def test_an_interrupt_is_130(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(word: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("symphony.cli.target.resolve", interrupt)
    assert terminal("run", "x.py").exit_code == 130
