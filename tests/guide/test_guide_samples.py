"""Every sample is in the README's list and in the cookbook, by what it says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.samples import ROOT, samples, shows, table

NAMES = [program.stem for program in samples(ROOT)]


def test_the_readmes_list_is_up_to_date() -> None:
    assert table(ROOT) in (ROOT / "README.md").read_text("utf-8"), "run: make gen"


def test_the_cookbook_knows_every_sample() -> None:
    known = re.findall(r"\]\(\.\./samples/(\w+)\)", (ROOT / "docs/cookbook.md").read_text("utf-8"))
    assert [name for name in NAMES if name not in known] == [], "say in docs/cookbook.md what problem it solves"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('"""Beam search: follow the `width` best. More of it."""', "follow the `width` best"),
        ('"""Two lines: first\nand second.\n\nMore."""', "first and second"),
        ('"""By hand: it picks each. Not the host: the program."""', "it picks each"),
    ],
)
def test_what_a_sample_shows(said: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(said)
    assert shows(tmp_path / "x.py") == shown


@pytest.mark.parametrize("said", ["", "x = 1", '"""No title."""', '"""Title:"""'])
def test_a_docstring_without_a_title_is_refused(said: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(said)
    with pytest.raises(ValueError, match="Title: what it shows"):
        shows(tmp_path / "x.py")


def test_rust_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "samples" / name).mkdir(parents=True)
        (tmp_path / "samples" / name / f"{name}.py").write_text(f'"""{name}: it is {name}."""')
    (tmp_path / "samples/b/rust").mkdir()
    assert table(tmp_path).splitlines()[2:] == [
        "| [a](samples/a) | it is a |",
        "| [b](samples/b) | it is b (also in Rust) |",
    ]
