"""Patterns: what they match, against plain models, and what they may cost."""

from __future__ import annotations

import re
from fnmatch import translate
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.errors import Invalid, LimitExceeded
from symphony.kvfs.file import File
from symphony.kvfs.glob import Component, Glob
from symphony.kvfs.names import Directory, parse


def tree(*paths: str) -> Directory:
    root = Directory(None, "")
    arena: Any = SimpleNamespace(model="m")
    for path in paths:
        root.put(parse(path), File(arena, "t", "t", 0.0, 0.0, 0.0))
    return root


def found(root: Directory, pattern: str, limit: int = 1000) -> list[str]:
    return ["/" + "/".join(parts) for parts in Glob(parse(pattern)).files(root, limit)]


ROOT = tree("/a", "/b", "/ab", "/d/a", "/d/x.kv", "/d/e/y.kv", "/d/e/f/z.kv", "/notes/2026-01", "/notes/2026-02")


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("/a", ["/a"]),
        ("/*", ["/a", "/ab", "/b"]),
        ("/?", ["/a", "/b"]),
        ("/[!a]", ["/b"]),
        ("/[a-b]", ["/a", "/b"]),
        ("/*/a", ["/d/a"]),
        ("/d/*.kv", ["/d/x.kv"]),
        ("/**/*.kv", ["/d/e/f/z.kv", "/d/e/y.kv", "/d/x.kv"]),
        ("/d/**", ["/d/a", "/d/e/f/z.kv", "/d/e/y.kv", "/d/x.kv"]),
        ("/**/a", ["/a", "/d/a"]),
        ("/**/**/e/**/z.kv", ["/d/e/f/z.kv"]),
        ("/notes/2026-0[12]", ["/notes/2026-01", "/notes/2026-02"]),
        ("/notes/2026-0[!1]", ["/notes/2026-02"]),
        ("/d/e", []),
        ("/d", []),
        ("/", []),
        ("/nothing/*", []),
    ],
)
def test_what_is_found(pattern: str, paths: list[str]) -> None:
    assert found(ROOT, pattern) == sorted(paths)


@given(st.text("ab-]!*?[", max_size=8), st.lists(st.text("ab-]!*?[", max_size=6), max_size=20))
@settings(max_examples=500)
def test_a_component_matches_as_fnmatch_does(pattern: str, names: list[str]) -> None:
    try:
        component = Component(pattern)
    except Invalid:
        assert "[" in pattern
        return
    model = re.compile(translate(pattern))
    for name in names:
        assert component.matches(name) == bool(model.match(name)), name


@given(
    st.lists(st.sampled_from(["*", "**", "a", "b", "?"]), max_size=5),
    st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=5), max_size=12),
)
def test_paths_match_as_a_regular_expression_does(pattern: list[str], paths: list[list[str]]) -> None:
    files: set[str] = set()
    for path in ("/" + "/".join(p) for p in paths):
        if not any(other.startswith(path + "/") or path.startswith(other + "/") for other in files):
            files.add(path)
    pieces = {"*": "/[ab]", "?": "/[ab]", "**": "(/[ab])*", "a": "/a", "b": "/b"}
    model = re.compile("".join(pieces[p] for p in pattern))
    assert found(tree(*sorted(files)), "/" + "/".join(pattern)) == sorted(f for f in files if model.fullmatch(f))


@pytest.mark.parametrize("pattern", ["a", "/a//b", "/../*", "/[a", "/x/[", "/a\0*", "/" + "*" * 1024, "/*" * 33])
def test_patterns_that_are_refused(pattern: str) -> None:
    with pytest.raises(Invalid) as caught:
        found(ROOT, pattern)
    assert caught.value.hint


def test_work_is_linear_in_the_names_whatever_the_pattern() -> None:
    """Patterns that take a backtracking matcher for ever; each character is one step here."""
    name = "a" * 1000
    for pattern in ("*a" * 500 + "b", "*" * 1000 + "b", "[a-z]" * 200 + "*" + "?" * 10 + "b", "a*" * 500 + "?b"):
        assert not Component(pattern).matches(name)
    assert Component("*a" * 500).matches(name)
    deep = tree(*("/" + "/".join("a" * depth) for depth in (30, 31) if depth == 31))
    assert found(deep, "/**/a" * 15) == ["/" + "/".join("a" * 31)]


def test_what_is_looked_at_is_limited() -> None:
    wide = tree(*(f"/d{i}/f" for i in range(50)))
    assert len(found(wide, "/*/f", limit=100)) == 50
    with pytest.raises(LimitExceeded, match="more than 99 names"):
        found(wide, "/*/f", limit=99)
    assert found(wide, "/d7/f", limit=2) == ["/d7/f"], "what is written out is looked up"
    long = tree("/" + "x" * 800)
    with pytest.raises(LimitExceeded):
        found(long, "/*", limit=100)
