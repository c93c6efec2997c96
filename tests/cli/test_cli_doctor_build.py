"""`symphony doctor` and `symphony build`: lines, fixes, exit statuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands_fixture import Terminal

from symphony.cli import doctor
from symphony.errors import Unavailable

NAMES = ("python", "wasmtime", "machine", "memory", "torch", "build", "directories", "model")


def test_quick_checks_hold_here(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY_HOME", str(terminal.directory / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(terminal.directory / "cache"))
    monkeypatch.setattr(doctor, "check_program", lambda model, device: "ran")
    result = terminal("doctor")
    assert result.exit_code == 0, result.stdout
    lines = result.stdout.splitlines()
    assert [tuple(line.split()[:2]) for line in lines[:-1]] == [("ok", name) for name in (*NAMES, "program")]
    assert lines[-1] == "all is well"


def test_a_problem_names_its_fix_and_the_rest_is_still_checked(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory() -> str:
        raise Unavailable("only 1 MiB of memory are available", "buy some")

    def broken() -> str:
        raise OSError("libtorch.so: cannot open")

    monkeypatch.setenv("SYMPHONY_HOME", str(terminal.directory / "file" / "home"))
    Path("file").write_text("")
    monkeypatch.setattr(doctor, "check_memory", no_memory)
    monkeypatch.setattr(doctor, "check_torch", broken)
    monkeypatch.setattr(doctor, "check_program", lambda model, device: "ran")
    result = terminal("doctor", "--model", "gpt-x")
    assert result.exit_code == 1
    problems = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("problem")]
    assert problems == ["memory", "torch", "directories", "model"]
    assert "fix: buy some" in result.stdout
    assert "OSError: libtorch.so: cannot open" in result.stdout
    assert "SYMPHONY_HOME" in result.stdout
    assert "ok      program" in result.stdout
    assert result.stdout.splitlines()[-1] == "4 problems"


def test_a_configuration_is_checked_as_it_would_be_served(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("machine", "memory", "torch", "build", "directories"):
        monkeypatch.setattr(doctor, f"check_{name}", lambda: "fine")
    for name in ("model", "program"):
        monkeypatch.setattr(doctor, f"check_{name}", lambda *words: "fine")
    monkeypatch.setenv("SYMPHONY_HOME", str(terminal.directory))
    file = terminal.directory / "host.toml"
    file.write_text("[tenants.acme]\nweight = 2\n")
    assert terminal("keys", "add", "acme").exit_code == 0
    good = terminal("doctor", "--config", "host.toml")
    assert (good.exit_code, "with 1 keys in its home, 1 tenants" in good.stdout) == (0, True)
    file.write_text("[tenants.acme]\nweigth = 2\n")
    bad = terminal("doctor", env={"SYMPHONY_CONFIG": "host.toml"})
    assert bad.exit_code == 1
    assert "problem config" in bad.stdout
    assert "no setting 'weigth'. Did you mean weight?" in bad.stdout


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 1 << 60)
    with pytest.raises(Unavailable, match="memory"):
        doctor.check_memory()


def test_build_hands_over_and_reports(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[Path, Path]] = []

    def build(source: Path, out: Path) -> None:
        built.append((source, out))
        out.write_bytes(b"\0" * 2_000_000)

    monkeypatch.setattr("symphony.program.build.build", build)
    Path("my.py").write_text("")
    result = terminal("build", "my.py", "-o", "out.wasm")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "built out.wasm (2.0 MB); run it: symphony run out.wasm\n"
    assert terminal("build", "my.py").exit_code == 0
    assert built == [(Path("my.py"), Path("out.wasm")), (Path("my.py"), terminal.directory / "my.wasm")]


def test_build_of_nothing(terminal: Terminal) -> None:
    result = terminal("build", "absent.py")
    assert result.exit_code == 2
    assert "absent.py" in result.stderr
