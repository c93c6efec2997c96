"""What may change in a released type, and what is generated from the archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.witgen import former
from tools.witgen.library import Library
from tools.witgen.parser import parse

U32, TEXT = ("u32",), ("string",)


def record(*fields: tuple[str, Any]) -> Any:
    return ("record", fields)


ONE, OPTION = record(("a", U32)), ("option", U32)
GROWN = record(("a", U32), ("b", OPTION))
LOW, LOWER = ("enum", ("low", "high")), ("enum", ("low", "high", "lower"))


@pytest.mark.parametrize(
    ("old", "new", "passed", "returned"),
    [
        (U32, U32, True, True),
        (U32, ("u64",), False, False),
        (ONE, GROWN, True, True),
        (GROWN, ONE, False, False),
        (ONE, record(("b", OPTION), ("a", U32)), False, False),
        (ONE, record(("a", U32), ("b", U32)), False, False),
        (ONE, record(("z", U32), ("b", OPTION)), False, False),
        (ONE, record(("a", ("option", U32))), False, False),
        (LOW, LOWER, True, False),
        (LOW, ("enum", ("high", "low", "lower")), False, False),
        (("flags", ("x",)), ("flags", ("x", "y")), True, False),
        (("variant", (("n", None), ("s", ONE))), ("variant", (("n", None), ("s", GROWN))), True, True),
        (("variant", (("n", None),)), ("variant", (("n", None), ("s", ONE))), True, False),
        (("variant", (("n", None),)), ("variant", (("n", U32),)), False, False),
        (("list", ("option", ONE)), ("list", ("option", GROWN)), True, True),
        (("result", ONE, LOW), ("result", GROWN, LOWER), True, False),
        (("result", None, LOW), ("result", U32, LOW), False, False),
        (("tuple", (U32, ONE)), ("tuple", (U32, GROWN)), True, True),
        (("tuple", (U32,)), ("tuple", (U32, U32)), False, False),
        (("own", "p:q/i#r"), ("own", "p:q/i#s"), False, False),
        (None, U32, False, False),
        (U32, None, False, False),
    ],
)
def test_types(old: Any, new: Any, passed: bool, returned: bool) -> None:
    assert former.serves(old, new, passed=True) is passed
    assert former.serves(old, new, passed=False) is returned


def test_functions() -> None:
    old: Any = {"i#f": ((("x", ONE),), LOW), "i#g": ((), None), "i#h": ((("x", U32),), U32)}
    new: Any = {"i#f": ((("x", GROWN),), LOWER), "i#h": ((("y", U32),), U32)}
    assert list(former.broken(old, new)) == ["i#f returns another type", "i#g is gone", "i#h has other parameters: y"]
    assert list(former.broken(new, {**new, "i#f": ((("x", ONE),), LOWER)})) == ["i#f takes another type"]
    assert list(former.broken(old, {**old, "i#more": ((), None)})) == []


def library(version: str, fields: str) -> Library:
    functions = f"record r {{ {fields} }} f: func(r: r) -> r; g: func();"
    return Library([parse(f"package symphony:lip@{version}; interface i {{ {functions} }}", "i.wit")])


def test_only_what_differs_is_generated() -> None:
    first, second, today = (
        library("0.1.0", "a: u32"),
        library("0.1.1", "a: u32"),
        library("0.2.0", "a: u32, b: option<u32>"),
    )
    module: dict[str, Any] = {}
    exec(former.render(today, {"0.1.0": first, "0.1.1": second}), module)
    assert module["FORMER"] == {"symphony:lip/i#f": (((("r", ONE),), ONE),)}
    exec(former.render(second, {"0.1.0": first}), module)
    assert module["FORMER"] == {}


def test_a_folder_of_the_archive_is_named_after_its_version(tmp_path: Path) -> None:
    for version in ("0.10.0", "0.2.0"):
        folder = tmp_path / "archive" / version
        folder.mkdir(parents=True)
        (folder / "i.wit").write_text(f"package symphony:lip@{version};\ninterface i {{ f: func(); }}\n")
    assert list(former.archived(tmp_path)) == ["0.2.0", "0.10.0"]
    folder.rename(folder.with_name("0.3.0"))
    with pytest.raises(ValueError, match=r"holds version 0\.2\.0"):
        former.archived(tmp_path)
