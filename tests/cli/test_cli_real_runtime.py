"""`symphony run` through the whole host on the packaged model, as a command of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def symphony(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "symphony.cli.main", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, "SYMPHONY_HOME": str(home)},
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_sample_streams_its_completion_once(home: Path) -> None:
    done = symphony(home, "run", "completion", "max_tokens=4")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.strip()
    card = done.stderr.splitlines()[-1]
    assert " 4 generated" in card
    assert " KV reused" in card


def test_a_failing_program_is_status_1_with_its_own_traceback_only(home: Path, tmp_path: Path) -> None:
    program = tmp_path / "bad.py"
    program.write_text("from lip import main\n@main\nasync def app(n: int = 1) -> int:\n    return n // 0\n")
    done = symphony(home, "run", str(program))
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: ZeroDivisionError: division by zero" in done.stderr
    assert "return n // 0" in done.stderr
    assert "symphony/process" not in done.stderr


def test_what_is_no_component(home: Path, tmp_path: Path) -> None:
    program = tmp_path / "core.wasm"
    program.write_bytes(b"\0asm\1\0\0\0")
    done = symphony(home, "run", str(program))
    assert done.returncode == 2
    assert "core Wasm module" in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr
