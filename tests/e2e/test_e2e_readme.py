"""The README's commands, run as written (with this environment's `symphony`, and a free port for 8080)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from built_samples import keep

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TOP = ".venv/bin/symphony top"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(start: str) -> list[str]:
    """Command lines of all blocks that begin so, ready for a shell."""
    lines = [line.removeprefix("$ ") for block in blocks() for line in block.splitlines()]
    return [line.replace(".venv/bin/", f"{BIN}/") for line in lines if line.startswith(start)]


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(command, shell=True, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)


def test_the_first_program_is_the_first_sample() -> None:
    sample = (ROOT / "samples" / "completion" / "completion.py").read_text()
    program = next(block for block in blocks() if "from lip import" in block)
    assert program.strip() in sample


def test_make_run_prints_what_the_readme_shows(tmp_path: Path) -> None:
    recipe = (ROOT / "Makefile").read_text().split("run: $(STAMP)")[1].splitlines()[1]
    done = shell(recipe.strip().lstrip("@").replace("$(BIN)", str(BIN)), SYMPHONY_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    shown = next(block for block in blocks() if "$ make run" in block).splitlines()
    assert done.stdout.strip() == shown[1]
    assert done.stderr.strip().rsplit(",", 1)[0].splitlines()[-1] == shown[2].rsplit(",", 1)[0]


@pytest.mark.parametrize("command", [c for c in commands(".venv/bin/symphony run") if "path/to" not in c])
def test_run(command: str, tmp_path: Path) -> None:
    done = shell(command, SYMPHONY_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 3
    if "weather" in command:
        assert json.loads(done.stdout)["calls"][0]["tool"] == "get_weather"


@pytest.fixture
def port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.slow
def test_serving(tmp_path: Path, port: int) -> None:
    serve = commands(".venv/bin/symphony serve")[0].removesuffix("&").strip()
    build = commands(".venv/bin/symphony build")[0]
    curls = commands("curl")
    assert len(curls) == 3
    env = {**os.environ, "SYMPHONY_HOME": str(tmp_path)}
    log = (tmp_path / "serve.log").open("w")
    server = subprocess.Popen(f"exec {serve} --port {port}", shell=True, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        wasm = tmp_path / "completion.wasm"
        done = shell(build.replace("completion.wasm", str(wasm)))
        assert done.returncode == 0, done.stderr
        keep("completion", wasm)
        wait_until_ready(port)
        outputs: list[str] = []
        for curl in curls:
            command = curl.replace("8080", str(port)).replace("@completion.wasm", f"@{wasm}")
            done = shell(command.replace("curl", "curl -sS --fail-with-body", 1))
            assert done.returncode == 0, done.stdout + done.stderr
            outputs.append(done.stdout)
        for look in [*commands(".venv/bin/symphony fs"), *commands(".venv/bin/symphony ps"), commands(TOP)[0]]:
            done = shell(look, SYMPHONY_URL=f"http://127.0.0.1:{port}")
            assert done.returncode == 0, done.stderr
        assert json.loads(outputs[0])["name"] == "completion"
        assert "tiny language model" in json.loads(outputs[1])["result"]
        assert re.findall(r"^event: (\w+)", outputs[2], re.MULTILINE)[-1] == "result"
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
        log.close()


def wait_until_ready(port: int) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server did not become ready")
