"""`symphony run app.py` of a source that names packages: built once, and then run as it was built."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands_fixture import Terminal
from fake_runtime import FakeRuntime

from symphony.cli import packages
from symphony.errors import InvalidProgram

HEAD = '# /// script\n# dependencies = ["tabulate"]\n# ///\n'


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The sources that were built, by a builder that only copies."""
    sources: list[Path] = []

    def build(source: Path, out: Path) -> None:
        if "broken" in source.read_text():
            raise InvalidProgram("it does not build")
        sources.append(source)
        out.write_bytes(b"\0asm" + source.read_bytes())

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("symphony.program.build.build", build)
    return sources


def test_a_source_without_packages_is_run_as_it_is(tmp_path: Path, built: list[Path]) -> None:
    for name, text in (("a.py", "x = 1\n"), ("b.py", "# /// script\n# dependencies = []\n# ///\n"), ("c.wasm", HEAD)):
        path = tmp_path / name
        path.write_text(text)
        assert packages.runnable(path) == path
    assert built == []


def test_it_is_built_once_for_what_it_says(
    tmp_path: Path, built: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.py"
    path.write_text(HEAD)
    first = packages.runnable(path)
    assert first.read_bytes() == b"\0asm" + HEAD.encode()
    assert first.name == "a.wasm"
    assert packages.runnable(path) == first
    assert [source.name for source in built] == ["a.py"]
    assert capsys.readouterr().err == "note: building it with tabulate; once, about 20 s\n"
    path.write_text(HEAD + "x = 1\n")
    assert packages.runnable(path) != first
    assert len(built) == 2


def test_a_failed_build_leaves_nothing(tmp_path: Path, built: list[Path]) -> None:
    path = tmp_path / "a.py"
    path.write_text(HEAD + "broken\n")
    with pytest.raises(InvalidProgram, match="does not build"):
        packages.runnable(path)
    assert [found for found in (tmp_path / "cache").rglob("*") if found.is_file()] == []


def test_the_command_runs_what_was_built(terminal: Terminal, runtimes: list[FakeRuntime], built: list[Path]) -> None:
    name = terminal.write("my.py", "echo")
    path = Path(name)
    path.write_text(HEAD + path.read_text())
    assert "no parameter 'prompts'" in terminal("run", name, "prompts=a").stderr
    assert built == []  # a wrong word is refused first
    assert terminal("run", name, "prompt=a", "n=2").exit_code == 0
    program, args, _ = runtimes[0].launched[0]
    assert (program.name, args) == ("my.wasm", {"prompt": "a", "n": 2})
