"""`symphony new`: what it makes, that it is tested, and what it refuses."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from commands_fixture import Terminal

from symphony.cli.new import project_name
from symphony.resources import resource

SDK = resource("sdk", "guest_sdk/python")


@pytest.fixture
def importing(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Modules of a project are not left behind."""
    monkeypatch.syspath_prepend(str(SDK))
    before = set(sys.modules)
    yield monkeypatch
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("app", "lip", "test_app"):
            del sys.modules[name]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_python_project_passes_its_own_tests(
    terminal: Terminal, tmp_path: Path, importing: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "My Agent"
    result = terminal("new", str(folder))
    assert result.exit_code == 0, result.output
    assert "symphony run app.py --tools tools.py" in result.output
    assert "-o my-agent.wasm" in result.output
    assert sorted(path.name for path in folder.iterdir()) == [
        ".gitignore",
        "README.md",
        "app.py",
        "test_app.py",
        "tools.py",
    ]
    importing.syspath_prepend(str(folder))
    tests = [value for name, value in vars(load(folder / "test_app.py")).items() if name.startswith("test_")]
    for test in tests:
        test()
    assert len(tests) == 4


def test_a_rust_project_knows_where_the_sdk_is(terminal: Terminal, tmp_path: Path) -> None:
    result = terminal("new", str(tmp_path / "agent"), "--lang", "rust")
    assert result.exit_code == 0, result.output
    assert "symphony build . -o app.wasm" in result.output
    manifest = (tmp_path / "agent/Cargo.toml").read_text()
    assert 'name = "agent"' in manifest
    assert str(resource("guest_sdk/rust", "guest_sdk/rust")) in manifest
    left = [path for path in (tmp_path / "agent").rglob("*") if path.is_file() and "@" in path.read_text()]
    assert [path.name for path in left if "@NAME@" in path.read_text() or "@SDK@" in path.read_text()] == []


def test_it_overwrites_nothing(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/diary.txt").write_text("dear")
    result = terminal("new", str(tmp_path / "notes"))
    assert result.exit_code == 1
    assert "is there already, and not an empty folder" in result.output
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["diary.txt"]
    assert terminal("new", str(tmp_path / "empty"), "--lang", "cobol").exit_code == 2


@pytest.mark.parametrize(("folder", "name"), [("My_Agent", "my-agent"), ("a..b", "a-b"), ("über-x", "ber-x")])
def test_project_names(folder: str, name: str) -> None:
    assert project_name(Path(folder)) == name


def test_a_name_needs_a_letter(terminal: Terminal, tmp_path: Path) -> None:
    result = terminal("new", str(tmp_path / "42"))
    assert (result.exit_code, "begins with a letter" in result.output) == (2, True)
    assert not (tmp_path / "42").exists()
