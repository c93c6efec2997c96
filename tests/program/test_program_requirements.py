"""Packages that a program names: read from its source or folder, fetched by pip from a folder of wheels."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from symphony.errors import InvalidProgram
from symphony.program import packaged
from symphony.program.build import build
from symphony.program.requirements import fetch, requirements_of

SOURCE = """# /// script
# requires-python = ">=3.11"
# dependencies = ["greeting>=1", "other; python_version > '3'"]
# ///
from lip import main
"""


def wheel(folder: Path, name: str, tag: str, needs: str = "", version: str = "1.0") -> None:
    """A wheel that holds one module with a constant."""
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as archive:
        about = f"{name}-{version}.dist-info"
        archive.writestr(f"{name}.py", 'WORDS = "Hello from a package"\n')
        requires = f"Requires-Dist: {needs}\n" if needs else ""
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        archive.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{about}/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip finds its packages, and nowhere else."""
    from pip._vendor.packaging.tags import sys_tags

    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "greeting", "py3-none-any")
    wheel(folder, "machine", str(next(iter(sys_tags()))))
    wheel(folder, "wrapper", "py3-none-any", needs="machine")
    for version in ("1.0", "1.1", "2.0"):
        wheel(folder, "template", "py3-none-any", needs="machine>=1", version=version)
    wheel(folder, "picky", "py3-none-any", needs="template<1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_they_are_read_from_the_source_and_the_folder(tmp_path: Path) -> None:
    assert requirements_of("import json\n", None) == []
    assert requirements_of(SOURCE, None) == ["greeting>=1", "other; python_version > '3'"]
    (tmp_path / "requirements.txt").write_text("# needed\n\nthird==2  # a note\n")
    assert requirements_of("", tmp_path) == ["third==2"]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("# /// script\n# dependencies = ['a']\nimport x\n", "does not end"),
        ("# /// script\n# dependencies = [\n# ///\n", "is not TOML"),
        ("# /// script\n# dependencies = 'a'\n# ///\n", "is not a list of texts"),
        ("# /// script\n# dependencies = ['--index-url=x']\n# ///\n", "is an option, not a package"),
        (f"# /// script\n# dependencies = {'[' * 3000}\n# ///\n", "is not TOML"),
        (f"# /// script\n# {'.'.join('a' * 8000)} = 1\n# ///\n", "more than 4096 characters"),
    ],
)
def test_mistakes_are_named(source: str, what: str) -> None:
    with pytest.raises(InvalidProgram, match=what) as caught:
        requirements_of(source, None)
    assert caught.value.hint


@pytest.mark.parametrize(
    "requirement",
    [
        "evil @ https://example.com/evil-1.0.tar.gz",
        "evil @ git+https://example.com/evil",
        "git+https://example.com/evil",
        "https://example.com/evil-1.0-py3-none-any.whl",
        "/tmp/evil",
        "./evil",
        "evil/",
        "evil\\\\",
        "evil-1.0.tar.gz",
        "evil-1.0.ZIP[x]",
        "evil==1.tar.bz2 ; python_version > '3'",
        "a\\u0000b",
        "a\\n--index-url=x",
        "",
        "--index-url=x",
    ],
)
def test_nothing_is_taken_that_pip_would_build(requirement: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidProgram, match=r"is not the name of a package|is an option"):
        requirements_of(f'# /// script\n# dependencies = ["{requirement}"]\n# ///\n', None)
    if not requirement or "\\" in requirement:
        return
    (tmp_path / "requirements.txt").write_text(requirement)
    with pytest.raises(InvalidProgram, match=r"is not the name of a package|is an option"):
        requirements_of("", tmp_path)


@pytest.mark.parametrize(
    "requirement",
    [
        "a",
        "ruamel.yaml",
        "a[b,c-d] >= 1.2, != 1.3.*",
        "a (>=1)",
        "a~=1.0 ; sys_platform == 'linux/x' and extra == 'b'",
        "a==1+b",
    ],
)
def test_names_with_versions_are_taken(requirement: str) -> None:
    assert requirements_of(f'# /// script\n# dependencies = ["{requirement}"]\n# ///\n', None) == [requirement]


def test_pure_packages_are_fetched_and_native_ones_refused_by_name(wheels: Path, tmp_path: Path) -> None:
    fetch(["greeting"], tmp_path / "packages")
    assert (tmp_path / "packages/greeting.py").is_file()
    with pytest.raises(InvalidProgram, match="needs machine, which is native code") as caught:
        fetch(["machine"], tmp_path / "native")
    assert "a tool, which runs outside the sandbox" in caught.value.hint
    with pytest.raises(InvalidProgram, match=r"needs machine \(which wrapper needs\), which is native code"):
        fetch(["wrapper"], tmp_path / "indirect")
    with pytest.raises(InvalidProgram, match=r"needs machine \(which template needs\), which is native code"):
        fetch(["template"], tmp_path / "any")
    with pytest.raises(InvalidProgram, match="needs absent, of which pip finds no wheel"):
        fetch(["absent"], tmp_path / "absent")


@pytest.mark.parametrize("requirement", ["greeting ; python_version >", "greeting (>=1"])
def test_what_pip_cannot_read_is_named_in_a_line(requirement: str, wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidProgram) as caught:
        fetch(["greeting", requirement], tmp_path / "packages")
    assert caught.value.message.startswith(repr(requirement))
    assert "\n" not in caught.value.message


def test_what_is_built_is_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has changed meanwhile."""
    path = tmp_path / "app.py"
    path.write_text("import changed\n")

    def build(source: Path, out: Path) -> None:
        assert source.name == "app.py", "tracebacks name it"
        out.write_bytes(source.read_bytes())

    monkeypatch.setattr(packaged.build, "build", build)
    made = packaged.built(path, SOURCE.encode(), tmp_path / "cache")
    assert made.read_text() == SOURCE


def test_a_build_refuses_before_it_takes_long(wheels: Path, tmp_path: Path) -> None:
    app = tmp_path / "agent"
    app.mkdir()
    (app / "app.py").write_text("from lip import main\n@main\ndef app() -> int:\n    return 1\n")
    (app / "requirements.txt").write_text("machine\n")
    with pytest.raises(InvalidProgram, match="machine, which is native code"):
        build(app, tmp_path / "out.wasm")
    assert not (tmp_path / "out.wasm").exists()
