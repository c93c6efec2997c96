"""Settings: which of file, environment and flag wins, and what is said of a wrong one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from symphony.errors import Invalid, NotFound
from symphony.outside.config import McpConfig
from symphony.settings.reader import read, settings_of
from symphony.settings.sections import Settings
from tools import settings as settings_page


@dataclass(slots=True, frozen=True)
class Box:
    size: Annotated[int, Meta(ge=1)]
    labels: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Shop:
    open_hours: Annotated[float, Meta(gt=0, description="Hours a day.")] = 8.0
    names: tuple[str, ...] = ("corner",)
    lit: bool = False
    town: Annotated[int, Meta(ge=2)] | None = None


@dataclass(slots=True, frozen=True)
class Whole:
    shop: Shop = field(default_factory=Shop)
    boxes: Mapping[str, Box] = field(default_factory=dict[str, Box])
    orders: tuple[Box, ...] = ()


@dataclass(slots=True, frozen=True)
class Twice:
    one: Shop = field(default_factory=Shop)
    two: Shop = field(default_factory=Shop)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.toml"


def test_the_defaults(file: Path) -> None:
    file.write_text("")
    assert read(Whole, None, {}) == read(Whole, file, {}) == Whole()


def test_a_flag_wins_over_the_environment_and_that_over_the_file(file: Path) -> None:
    file.write_text("[shop]\nopen-hours = 3\nlit = true\ntown = 4\nnames = 'one'\n")
    assert read(Whole, file, {}).shop == Shop(3.0, ("one",), True, 4)
    environment = {"SYMPHONY_OPEN_HOURS": "4.5", "SYMPHONY_NAMES": "a:b", "SYMPHONY_TOWN": "5", "OPEN_HOURS": "1"}
    assert read(Whole, file, environment).shop == Shop(4.5, ("a", "b"), True, 5)
    flags = {"open_hours": "6", "names": ["c:d"], "lit": "false", "town": None}
    assert read(Whole, file, environment, flags).shop == Shop(6.0, ("c:d",), False, 5)


def test_records(file: Path) -> None:
    file.write_text("[boxes.small]\nsize = 1\n[boxes.big-one]\nsize = 9\nlabels = ['x']\n[[orders]]\nsize = 2\n")
    made = read(Whole, file, {})
    assert made.boxes == {"small": Box(1), "big-one": Box(9, ("x",))}
    assert made.orders == (Box(2),)
    assert read(Whole, file, {"SYMPHONY_ORDERS": '[{"size": 3}, {"size": 4}]'}).orders == (Box(3), Box(4))
    assert read(Whole, None, {}, {"boxes": '{"b": {"size": 5}}'}).boxes == {"b": Box(5)}


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("[shop]\nlitt = true", "[shop]: there is no setting 'litt'. Did you mean lit?", "open-hours"),
        ("[shopp]", "no section [shopp]. Did you mean shop?", "the sections are shop"),
        ("lit = true", "lit stands outside of its section", "below [shop]"),
        ("shop = 3", "shop is a section", "write [shop]"),
        ("[shop", "is not TOML", "[server]"),
        ("[shop]\nopen-hours = 'long'", "shop.open-hours is 'long': expected a number, got a text", "Hours a day."),
        ("[shop]\nopen-hours = 0", "shop.open-hours is 0: expected a number > 0", "Hours a day."),
        ("[shop]\nlit = 1", "shop.lit is 1: expected true or false", "write"),
        ("[shop]\nlit = 'true'", "shop.lit is 'true': expected true or false", "write"),
        ("[shop]\ntown = 1", "shop.town is 1: expected a whole number >= 2", "write"),
        ("[shop]\nnames = [1]", "shop.names is [1]: expected a text", "write"),
        ("[shop]\nnames = {a = 1}", "shop.names is {'a': 1}: expected a list, got a table", "write"),
        ("[boxes.b]", "boxes.b: size is missing", "size = ..."),
        ("[boxes]\nb = 1", "boxes.b: 1 is no table", "line"),
        ("[boxes.b]\nsize = 0", "boxes.b.size is 0: expected a whole number >= 1", "write"),
        (
            "[boxes.b]\nsize = 1\nlabel = 'x'",
            "boxes.b: there is no setting 'label'. Did you mean labels?",
            "size, labels",
        ),
        ("[[boxes]]\nsize = 1", "is no table", "[boxes.NAME]"),
        ("[orders]\nsize = 1", "is no list of tables", "[[orders]]"),
        ("[[orders]]\nsize = 1\n[[orders]]\nsize = 'x'", "orders[1].size is 'x'", "write"),
    ],
)
def test_a_wrong_file(file: Path, text: str, message: str, fix: str) -> None:
    file.write_text(text)
    with pytest.raises(Invalid) as caught:
        read(Whole, file, {})
    assert message in caught.value.message
    assert str(file) in caught.value.message
    assert fix in caught.value.hint


@pytest.mark.parametrize(
    ("environment", "flags", "message"),
    [
        ({"SYMPHONY_TOWN": "x"}, {}, "SYMPHONY_TOWN is 'x': expected a whole number"),
        ({"SYMPHONY_LIT": "maybe"}, {}, "SYMPHONY_LIT is 'maybe': expected true or false"),
        ({"SYMPHONY_BOXES": "{"}, {}, "SYMPHONY_BOXES: '{' is not JSON"),
        ({}, {"open_hours": "-1"}, "--open-hours is '-1': expected a number > 0"),
        ({}, {"boxes": '{"b": {"size": "5"}}'}, "--boxes.b.size is '5': expected a whole number"),
        ({}, {"orders": "3"}, "--orders: 3 is no list"),
    ],
)
def test_a_wrong_text(environment: dict[str, str], flags: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(Whole, None, environment, flags)
    assert message in caught.value.message
    assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no configuration file"):
        read(Whole, tmp_path / "none.toml", {})
    with pytest.raises(Invalid, match="cannot read"):
        read(Whole, tmp_path, {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(Invalid, match="is not TOML"):
        read(Whole, tmp_path / "bytes.toml", {})


def test_a_name_is_there_once() -> None:
    with pytest.raises(TypeError, match="two settings are called 'open_hours'"):
        settings_of(Twice)


def test_the_real_sections(file: Path) -> None:
    file.write_text("[mcp.files]\ncommand = ['files', '--root', '/srv']\n[server]\nport = 0\n")
    made = read(Settings, file, {})
    assert (made.mcp, made.server.port) == ({"files": McpConfig(("files", "--root", "/srv"))}, 0)
    assert len({setting.variable for setting in settings_of(Settings)}) == len(settings_of(Settings))


def test_the_page_for_operators_has_every_setting() -> None:
    page = settings_page.PAGE.read_text()
    assert settings_page.tables() in page, "run `make gen`"
    assert all(f"| `{setting.flag[2:]}` |" in page for setting in settings_of(Settings))


def test_the_examples_of_the_page_are_configurations(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", settings_page.PAGE.read_text(), re.DOTALL)
    assert len(examples) == 2
    for number, text in enumerate(examples):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        assert read(Settings, file, {}) != Settings()
