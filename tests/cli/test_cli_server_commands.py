"""Commands that talk to a server: programs, ps, kill, logs, models."""

from __future__ import annotations

import json

import pytest
from commands_fixture import Terminal
from fake_runtime import FakeRuntime
from live_server import Server

from symphony.process.process import State


def detached(server: Server[FakeRuntime], behaviour: str) -> int:
    from symphony.cli.remote import Remote

    return Remote(server.url).call("POST", "/v1/run", {"detach": "1"}, behaviour.encode())["pid"]


def test_programs(terminal: Terminal, server: Server[FakeRuntime], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY_URL", server.url)
    added = terminal("programs", "add", terminal.write("my.py", "echo"))
    assert added.exit_code == 0, added.stderr
    name, ident = added.stdout.split()
    assert (name, ident) == ("my", server.runtime.program("my").id)
    assert terminal("programs", "add", terminal.write("other.py", "fail"), "--name", "second").exit_code == 0
    listed = terminal("programs", "ls").stdout.splitlines()
    assert listed[0].split() == ["NAME", "ID", "KIND", "BYTES", "CREATED"]
    assert [line.split()[0] for line in listed[1:]] == ["my", "second"]
    shown = terminal("programs", "inspect", "my").stdout
    assert f"id          {ident}" in shown
    assert "parameters  prompt: str, n: int" in shown
    assert terminal("programs", "rm", "my").exit_code == 0
    gone = terminal("programs", "rm", "my")
    assert gone.exit_code == 2
    assert "no program 'my'" in gone.stderr
    missing = terminal("programs", "add", "missing")
    assert missing.exit_code == 2


def test_trace(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    url = ["--url", server.url]
    ran = terminal("run", terminal.write("my.py", "# echo"), *url, "--trace", str(terminal.directory / "run.json"))
    assert ran.exit_code == 0, ran.output
    assert "0 turns and 0 syscalls in" in ran.stderr
    pid = server.runtime.processes()[-1].pid
    assert terminal("trace", str(pid), *url, "-o", str(terminal.directory / "it.json")).exit_code == 0
    for name in ("run.json", "it.json"):
        assert json.loads((terminal.directory / name).read_text())["otherData"]["program"]
    nowhere = terminal("trace", str(pid), *url, "-o", str(terminal.directory / "no" / "it.json"))
    assert (nowhere.exit_code, "cannot write" in nowhere.stderr) == (2, True)
    none = terminal("trace", str(detached(server, "echo")), *url)
    assert (none.exit_code, "has no timeline" in none.stderr, "trace=1" in none.stderr) == (2, True, True)


def test_ps_kill_logs(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    url = ["--url", server.url]
    waiting, done = detached(server, "wait"), detached(server, "echo")
    rows = [line.split()[:3] for line in terminal("ps", *url).stdout.splitlines()]
    assert rows[0] == ["PID", "PROGRAM", "STATE"]
    assert rows[1] == [str(waiting), "wait", "running"]
    killed = terminal("kill", str(waiting), *url)
    assert (killed.exit_code, killed.stdout) == (0, f"process {waiting} is killed\n")
    assert server.runtime.process(waiting).state is State.KILLED
    failed = terminal("logs", str(waiting), *url)
    assert failed.exit_code == 1
    assert failed.stdout == "started\n"
    assert "was killed" in failed.stderr
    good = terminal("logs", str(done), *url)
    assert (good.exit_code, good.stderr) == (0, "info: echoed\ntwo lines\n")
    for command in ("kill", "logs"):
        unknown = terminal(command, "77", *url)
        assert unknown.exit_code == 2
        assert "no process 77" in unknown.stderr
    assert terminal("kill", "x", *url).exit_code == 2


def test_models(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    assert "tiny" in terminal("models", "ls").stdout
    assert terminal("models", "ls", "--url", server.url).stdout.splitlines()[1].split() == [
        "tiny", "1024", "64", "x", "16", "cpu",
    ]  # fmt: skip
    shown = terminal("models", "inspect", "tiny")
    assert shown.exit_code == 0, shown.stderr
    assert "LlamaForCausalLM" in shown.stdout
    assert "4,096 tokens" in shown.stdout
    unknown = terminal("models", "inspect", "gpt-x")
    assert unknown.exit_code == 2
    assert "fix:" in unknown.stderr


def test_a_model_directory_that_lacks_a_file(terminal: Terminal) -> None:
    empty = terminal.directory / "model"
    empty.mkdir()
    result = terminal("models", "inspect", str(empty))
    assert result.exit_code == 2
    assert "config.json" in result.stderr
    from symphony.engine.registry import find

    (empty / "config.json").write_text((find("tiny") / "config.json").read_text())
    assert "safetensors" in terminal("models", "inspect", str(empty)).stderr
    (empty / "model.safetensors").write_bytes(b"\xff" * 100)
    broken = terminal("models", "inspect", str(empty))
    assert broken.exit_code == 2
    assert "model.safetensors cannot be read" in broken.stderr
    verified = terminal("models", "verify", str(empty))
    assert verified.exit_code == 1
    assert "error: " in verified.stdout
    assert "tokenizer.json does not exist" in verified.stdout, "all at once"
    assert f"{empty} cannot be loaded" in verified.stdout
    assert terminal("models", "verify", "tiny").exit_code == 0
