"""Paths and the trees of directories."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.errors import Exists, Invalid, NotFound
from symphony.kvfs.file import File
from symphony.kvfs.names import Directory, parse


def file(length: int = 0) -> File:
    arena: Any = SimpleNamespace(model="m")
    return File(arena, "t", "t", 0.0, 0.0, 0.0, length=length)


def take(root: Directory, path: str) -> Any:
    above = root.find(parse(path)[:-1])
    assert isinstance(above, Directory)
    return above.remove(parse(path)[-1])


@pytest.mark.parametrize(
    "path",
    [
        *("", "a", "./a", "/a/../b", "/..", "/.", "/a/./b", "//a", "/a//b", "/a/"),
        *("/a\x00b", "/a\nb", "/\x7f", "/\x85", "/\ud800", "/a\u2028b", "/a\u2029"),
        *("/" + "x" * 1024, "/a" * 33, "/" + "é" * 600, "/" + "e\u0301" * 100_000),
    ],
)
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(path)
    assert caught.value.hint


def test_paths_that_are_fine() -> None:
    assert parse("/") == ()
    assert parse("/a/b c/ü.txt") == ("a", "b c", "ü.txt")
    assert parse("/u\u0308") == parse("/ü"), "one name for one look"
    assert parse("/...") == ("...",)
    assert len(parse("/a" * 32)) == 32
    assert parse("/" + "x" * 1023)


@given(st.text())
def test_whatever_is_accepted_is_normal(path: str) -> None:
    try:
        parts = parse(path)
    except Invalid:
        return
    assert parse("/" + "/".join(parts)) == parts
    assert not {"", ".", ".."} & set(parts)


def test_a_directory_that_nobody_made_lives_while_a_name_lies_below() -> None:
    root = Directory(None, "")
    a, b = file(3), file(4)
    root.put(parse("/d/e/a"), a)
    root.put(parse("/d/b"), b)
    assert [(e.name, e.is_directory, e.length) for e in root.directory(("d",), "/d").list()] == [
        ("b", False, 4),
        ("e", True, 0),
    ]
    assert take(root, "/d/e/a") is a
    with pytest.raises(NotFound):
        root.directory(("d", "e"), "/d/e")
    take(root, "/d/b")
    assert root.list() == []
    assert (a.names, b.names) == ({}, {})


def test_a_directory_that_was_made_stays() -> None:
    root = Directory(None, "")
    root.put(parse("/d/e"), Directory(None, "", "t"))
    root.put(parse("/d/e/x/y"), file())
    take(root, "/d/e/x/y")
    assert [parts for parts, _ in root.walk()] == [("d",), ("d", "e")]


def test_files_know_their_places_when_directories_move() -> None:
    root = Directory(None, "")
    f = file()
    root.put(parse("/d/e/f"), f)
    root.put(parse("/g"), f)
    root.put(parse("/new/place"), take(root, "/d/e"))
    assert [parts for parts, _ in root.walk()] == [("g",), ("new",), ("new", "place"), ("new", "place", "f")]
    assert [(directory.name, name) for directory, name in f.names] == [("place", "f"), ("", "g")]
    for directory, name in list(f.names):
        directory.remove(name)
    assert list(root.walk()) == []


def test_files_and_directories_do_not_mix() -> None:
    root = Directory(None, "")
    root.put(parse("/d/a"), file())
    for path, why in (
        ("/d", "/d is a directory"),
        ("/d/a", "/d/a exists"),
        ("/d/a/x/y", "^/d/a is a file, so /d/a/x/y"),
    ):
        with pytest.raises(Exists, match=why):
            root.check_free(parse(path), path)
    root.check_free(parse("/d/b/c"), "/d/b/c")
    with pytest.raises(Invalid, match="is a file"):
        root.directory(parse("/d/a"), "/d/a")
    assert root.find(parse("/d/a/x")) is None
