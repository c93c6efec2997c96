"""`symphony keys`, and commands that send one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands_fixture import Terminal
from fake_runtime import FakeRuntime
from live_server import Server

from symphony.access.gate import Gate
from symphony.access.identity import Role
from symphony.access.keys import KeyFile


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def guarded(keys: KeyFile) -> Iterator[Server[FakeRuntime]]:
    keys.add("acme", "acme", [Role.RUN])
    with Server(FakeRuntime(), gate=Gate(keys)) as made:
        yield made


def test_add_ls_rm(terminal: Terminal, keys: KeyFile) -> None:
    home = str(terminal.directory)
    made = terminal("keys", "add", "acme", "--user", "ann", "--role", "operate", "--note", "laptop", "--home", home)
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    found = keys.find(text)
    assert found is not None
    assert (found.tenant, found.user, found.roles, found.note) == ("acme", "ann", ("operate",), "laptop")
    assert "not shown again" in made.stderr
    listed = terminal("keys", "ls", "--home", home).stdout
    assert listed.split()[:6] == ["ID", "TENANT", "USER", "ROLES", "MADE", "NOTE"]
    assert all(word in listed for word in (found.id, "acme", "ann", "operate", "laptop"))
    assert text not in listed
    assert [key["id"] for key in json.loads(terminal("keys", "ls", "--json", "--home", home).stdout)] == [found.id]
    assert terminal("keys", "rm", found.id, env={"SYMPHONY_HOME": home}).exit_code == 0
    assert len(keys) == 0
    again = terminal("keys", "rm", found.id, "--home", home)
    assert (again.exit_code, "symphony keys ls" in again.stderr) == (2, True)
    default = terminal("keys", "add", "acme", "--home", home)
    assert keys.all()[0].roles == ("run", "upload")
    assert default.exit_code == 0


def test_bad_words(terminal: Terminal) -> None:
    home = str(terminal.directory)
    for words in (("ACME",), ("acme", "--user", "a/b"), ("acme", "--role", "root"), ()):
        assert terminal("keys", "add", *words, "--home", home).exit_code == 2
    assert not (terminal.directory / "keys.json").exists()


def test_commands_send_a_key(terminal: Terminal, guarded: Server[FakeRuntime], keys: KeyFile) -> None:
    text = keys.add("acme", "ann", list(Role))[1]
    url = ("--url", guarded.url)
    denied = terminal("ps", *url)
    assert (denied.exit_code, "asks for a key" in denied.stderr, "SYMPHONY_KEY" in denied.stderr) == (1, True, True)
    assert terminal("ps", *url, "--key", text).exit_code == 0
    assert "SYMPHONY_KEY" not in os.environ
    assert terminal("ps", *url, env={"SYMPHONY_KEY": text}).exit_code == 0
    assert terminal("ps", *url, "--key", text[:-1], env={"SYMPHONY_KEY": text}).exit_code == 1
    file = terminal.write("prog.py", "echo")
    for words in (("run", file, "prompt=a b"), ("programs", "add", file), ("fs", "ls", "/"), ("programs", "ls")):
        result = terminal(*words, *url, "--key", text)
        assert result.exit_code == 0, (words, result.output)
    odd = terminal("ps", *url, "--key", "ключ")
    assert (odd.exit_code, "the key is not one" in odd.stderr) == (2, True)


def test_a_server_that_others_reach(terminal: Terminal, runtimes: list[FakeRuntime], keys: KeyFile) -> None:
    home = str(terminal.directory)
    refused = terminal("serve", "--host", "0.0.0.0", "--home", home)
    assert (refused.exit_code, "symphony keys add" in refused.stderr) == (2, True)
    assert runtimes == []
    keys.add("acme", "acme", [Role.RUN])
    begun = terminal("serve", "--host", "0.0.0.0", "--port", "0", "--home", home, "--model", "gpt")
    assert "no model 'gpt'" in begun.stderr, "it was let listen; only then are models loaded"
