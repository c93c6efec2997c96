"""Paths and the tree of names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.errors import Exists, Invalid, LimitExceeded, NotFound
from symphony.kvfs import names as names_module
from symphony.kvfs.file import File
from symphony.kvfs.names import Namespace, parse


def file(length: int = 0) -> File:
    arena: Any = SimpleNamespace(model="m")
    return File(arena, "t", "t", 0.0, 0.0, length=length)


@pytest.mark.parametrize(
    "path",
    [
        *("", "a", "./a", "/a/../b", "/..", "/.", "/a/./b", "//a", "/a//b", "/a/"),
        *("/a\x00b", "/a\nb", "/\x7f", "/\x85", "/\ud800"),
        *("/" + "x" * 1024, "/a" * 33, "/" + "é" * 600),
    ],
)
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(Invalid):
        parse(path)


def test_paths_that_are_fine() -> None:
    assert parse("/") == ()
    assert parse("/a/b c/ü.txt") == ("a", "b c", "ü.txt")
    assert parse("/u\u0308") == parse("/ü"), "one name for one look"
    assert parse("/...") == ("...",)


@given(st.text())
def test_whatever_is_accepted_is_normal(path: str) -> None:
    try:
        parts = parse(path)
    except Invalid:
        return
    assert parse("/" + "/".join(parts)) == parts
    assert not {"", ".", ".."} & set(parts)


def test_directories_exist_as_long_as_a_name_lies_below() -> None:
    names = Namespace()
    a, b = file(3), file(4)
    names.put("/d/e/a", a)
    names.put("/d/b", b)
    assert [(e.name, e.is_directory, e.length) for e in names.list("/d")] == [("b", False, 4), ("e", True, 0)]
    assert names.remove("/d/e/a") is a
    with pytest.raises(NotFound):
        names.list("/d/e")
    names.remove("/d/b")
    assert names.list("/") == []
    assert (names.count, a.names, b.names) == (0, 0, 0)


def test_files_and_directories_do_not_mix() -> None:
    names = Namespace()
    names.put("/d/a", file())
    for path in ("/d", "/"):
        with pytest.raises(Invalid):
            names.get(path)
    with pytest.raises(Exists, match="is a directory"):
        names.put("/d", file())
    with pytest.raises(Exists, match="/d/a is a file"):
        names.put("/d/a/x/y", file())
    with pytest.raises(Invalid, match="root"):
        names.put("/", file())
    with pytest.raises(Invalid, match="is a file"):
        names.list("/d/a")
    with pytest.raises(NotFound):
        names.get("/d/a/x")
    with pytest.raises(NotFound):
        names.remove("/x")
    assert names.count == 1


def test_put_replaces_and_says_whom() -> None:
    names = Namespace()
    a, b = file(), file()
    assert names.put("/x", a) is None
    assert names.put("/x", b) is a
    assert (a.names, b.names, names.count) == (0, 1, 1)
    assert list(names.files()) == [b]


def test_the_number_of_names_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "MAX_NAMES_PER_TENANT", 2)
    names = Namespace()
    names.put("/a", file())
    names.put("/b", file())
    with pytest.raises(LimitExceeded, match="2 names"):
        names.put("/d/c", file())
    assert names.put("/b", file()) is not None
    assert [e.name for e in names.list("/")] == ["a", "b"]
