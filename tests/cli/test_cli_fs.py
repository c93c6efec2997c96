"""`symphony fs`: what it prints, what it changes, what it refuses."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from commands_fixture import Terminal
from fake_runtime import FakeRuntime
from live_server import Server

from symphony.cli.draw import bar, columns, draw_directories, draw_forks

Fs = Callable[..., str]


@pytest.fixture
def write(server: Server[FakeRuntime]) -> Callable[..., int]:
    return lambda *args, **options: server.call(server.runtime.write(*args, **options))


@pytest.fixture
def fs(terminal: Terminal, server: Server[FakeRuntime]) -> Fs:
    """Runs a command that must work, and returns what it prints."""

    def run(*words: str) -> str:
        result = terminal("fs", *words, "--url", server.url)
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    return run


def test_ls(fs: Fs, write: Callable[..., int]) -> None:
    assert fs("ls") == ""
    write("/notes/b", "x" * 40)
    write("/notes/a", "y" * 1600)
    write("/top", "z")
    assert fs("ls") == fs("ls", "/") == "notes/\ntop\n"
    assert fs("ls", "notes") == fs("ls", "/notes/") == "a\nb\n"
    assert fs("ls", "/notes/a") == "a\n"
    lines = [line.split() for line in fs("ls", "-l", "/notes").splitlines()]
    assert lines[0] == ["MODE", "OWNER", "PAGES", "TIER", "TOKENS", "MODIFIED", "NAME"]
    assert lines[1][:5] == ["-rw-r-----", "local", "100", "device", "1,600"]
    assert lines[1][-1] == "a"
    assert fs("ls", "-l").splitlines()[1].split() == ["d", "notes/"]
    assert json.loads(fs("ls", "--json", "/notes"))["entries"][1]["path"] == "/notes/b"


def test_tree(fs: Fs, write: Callable[..., int], server: Server[FakeRuntime]) -> None:
    write("/docs/manual", "m" * 64)
    write("/chats/alice", "a" * 20, base="/docs/manual")
    write("", "open", base="/chats/alice")
    write("", "alone")
    assert fs("tree").splitlines() == [
        "/",
        "├── chats/",
        "│   └── alice       84 tokens, 6 pages, device, 4 shared with /docs/manual",
        "│       └── (open)  88 tokens, 6 pages, device, 5 shared",
        "├── docs/",
        "│   └── manual      64 tokens, 4 pages, device",
        "└── (open)          5 tokens, 1 pages, device",
    ]
    assert [re.split(r"  +\d", line)[0] for line in fs("tree", "--forks").splitlines()] == [
        "/",
        "├── /docs/manual",
        "│   └── /chats/alice",
        "│       └── (open)",
        "└── (open)",
    ]
    assert fs("tree", "/docs").splitlines() == ["/docs", "└── manual  64 tokens, 4 pages, device"]
    assert fs("tree", "/docs/manual") == "/docs/manual  64 tokens, 4 pages, device\n"
    assert len(json.loads(fs("tree", "--json"))["files"]) == 4


def test_du(fs: Fs, write: Callable[..., int]) -> None:
    write("/docs/manual", "m" * 64)
    write("/chats/alice", "a" * 20, base="/docs/manual")
    rows = [line.split() for line in fs("du").splitlines()]
    assert rows == [
        ["DEVICE", "HOST", "UNIQUE", "SHARED", "DISK", "TOKENS", "SIZE", "PATH"],
        ["6", "0", "2", "4", "0", "84", "-", "/chats"],
        ["4", "0", "0", "4", "0", "64", "-", "/docs"],
        ["6", "0", "6", "0", "0", "148", "-", "/"],
    ]
    assert len(fs("du", "/docs/manual").splitlines()) == 2
    assert json.loads(fs("du", "/docs", "--json"))["space"][-1]["path"] == "/docs"


def test_check(fs: Fs, write: Callable[..., int]) -> None:
    write("/docs/manual", "m" * 64)
    assert fs("check") == "0 files, 0 pages: none damaged\n"
    assert json.loads(fs("check", "/docs", "--repair", "--json"))["damaged"] == []


def test_stat_and_cat(fs: Fs, write: Callable[..., int]) -> None:
    write("/a b/ü", "grüße\n" * 3)
    shown = dict(line.split(maxsplit=1) for line in fs("stat", "/a b/ü").splitlines())
    assert shown["file"] == "/a b/ü"
    assert shown["length"] == "24 tokens"
    assert shown["mode"] == "rw-r-----"
    assert shown["pages"] == "2: 1 of its own, 1 shared with other files or the prefix cache"
    assert fs("cat", "/a b/ü") == "grüße\n" * 3
    assert fs("cat", "/a b/ü", "/a b/ü") == "grüße\n" * 6
    assert fs("cat", "--tokens", "/a b/ü").split() == [str(byte) for byte in ("grüße\n" * 3).encode()]
    assert json.loads(fs("cat", "--json", "/a b/ü"))["text"] == "grüße\n" * 3
    assert json.loads(fs("stat", "--json", "/a b/ü"))["plain"] == 24


def test_changes_are_silent(fs: Fs, write: Callable[..., int], terminal: Terminal, server: Server[FakeRuntime]) -> None:
    write("/a", "text")
    for words in (
        ("cp", "/a", "/b"),
        ("cp", "-f", "a", "/b"),
        ("cp", "/a", "/d/"),
        ("mv", "/b", "/d/"),
        ("mv", "/d", "/e"),
        ("pin", "/e/a", "/e/b"),
    ):
        assert fs(*words) == ""
    assert fs("ls", "/e") == "a\nb\n"
    assert "pinned" in fs("ls", "-l", "/e")
    assert json.loads(fs("unpin", "--json", "/e/a"))["held"] is False
    assert json.loads(fs("rm", "--json", "/e/a")) == {"path": "/e/a", "removed": True}
    for name in ("/x/1", "/x/y/2"):
        assert fs("cp", "/a", name) == ""
    assert fs("rm", "/e/b", "a") == ""
    assert fs("rm", "-r", "/x") == ""
    assert fs("ls") == ""


def test_refusals_name_the_fix(terminal: Terminal, write: Callable[..., int], server: Server[FakeRuntime]) -> None:
    write("/a", "x")
    write("/d/b", "x")
    for status, words, text in (
        (2, ("cat", "/no"), "no file is named /no"),
        (2, ("ls", "/no"), "nothing is named /no"),
        (2, ("cat", "/d"), "/d is a directory"),
        (2, ("rm", "/d"), "not empty"),
        (1, ("cp", "/a", "/d/b"), "/d/b exists already"),
        (1, ("mv", "/a", "/d/b"), "/d/b exists already"),
        (2, ("rm", "/.."), "component '..'"),
        (2, ("ls", os.fsdecode(b"/\xff")), "not UTF-8"),
        (2, ("cat", "/" + "x" * 2000), "longer than 1024 bytes"),
        (2, ("rm",), "Missing argument"),
        (2, ("frobnicate",), "No such command"),
    ):
        result = terminal("fs", *words, *(["--url", server.url] if words != ("frobnicate",) else []))
        assert result.exit_code == status, result.output
        assert text in result.stderr
        assert "Traceback" not in result.output
    gone = terminal("fs", "ls", "--url", "http://127.0.0.1:9")
    assert gone.exit_code == 1
    assert "fix: start a server (symphony serve)" in gone.stderr


def fork(number: int, path: str = "", parent: int | None = None, **fields: Any) -> dict[str, Any]:
    plain = {
        "length": 16,
        "pages": 1,
        "tier": "device",
        "pins": 0,
        "pids": [number],
        "names": [path],
        "parent_path": "",
    }
    shared = {"shared": 0 if parent is None else 1}
    return {**plain, **shared, "id": number, "path": path, "parent": parent, **fields}


def test_many_forks_are_counted() -> None:
    files = [fork(0, "/a"), *(fork(number, parent=0) for number in range(1, 1001))]
    lines = draw_directories("/", files)
    assert len(lines) == 2 + 8 + 1
    assert lines[-1] == "    └── (992 more open files; --all draws them)"
    assert len(draw_directories("/", files, whole=True)) == 1002
    assert len(draw_forks("/", files)) == 11


def test_other_names_and_pins_are_told() -> None:
    [_, line] = draw_directories("/", [fork(1, "/a", names=["/a", "/x/b"], pins=1)])
    assert line == "└── a  16 tokens, 1 pages, device, pinned, also /x/b"


def test_columns() -> None:
    assert columns(["a", "b"], 0) == "a\nb"
    assert columns([], 80) == ""
    assert columns(["aa", "b", "c", "d", "e"], 9) == "aa  d\nb   e\nc"
    assert columns(["世界", "b"], 10) == "世界  b"
    assert columns(["long" * 30], 10) == "long" * 30


def test_bars() -> None:
    assert bar([(5, "#"), (2, "+")], 10, 10) == "#####++···"
    assert bar([(0, "#")], 0, 4) == "····"
    assert bar([(1, "#")], 1000, 4) == "#···"
    assert bar([(999, "#"), (1, "+")], 1000, 4) == "####"
