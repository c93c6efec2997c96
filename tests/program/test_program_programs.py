"""From what a user hands in to what runs; and every bad input gets a clear error, with nothing kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from program_guests import (
    ECHO,
    NO_RUN,
    OTHER_TYPE,
    UNKNOWN_IMPORT,
    WRONG_RUN,
    Nobody,
    run,
    wasm,
)

from symphony.errors import Invalid, InvalidProgram, NotFound, SymphonyError
from symphony.program.interpreter import ensure
from symphony.program.programs import Programs
from symphony.sandbox import Sandbox

SOURCE = "from lip import main\n@main\nasync def app(x: int = 1, who: str = 'a') -> object:\n    return [x, who]\n"
WASM = wasm(ECHO)


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


BAD = {
    "empty": (b"", "is empty"),
    "binary": (b"\x7fELF\xff\xfe", "neither a Wasm component nor UTF-8 text"),
    "nul": (b"x = 1\0", "NUL bytes"),
    "wat": (ECHO.encode(), "text form"),
    "magic only": (b"\0asm", "Wasm version|truncated"),
    "core module": (wasm("(module)"), "core Wasm module"),
    "truncated": (WASM[:-9], "truncated|does not compile"),
    "cut short": (WASM[: len(WASM) // 2], "truncated|does not export"),
    "no run": (wasm(NO_RUN), "does not export `run`; it exports go"),
    "run of another type": (wasm(WRONG_RUN), "`run` has another type"),
    "unknown import": (wasm(UNKNOWN_IMPORT), "acme:rockets/launch"),
    "import of another type": (wasm(OTHER_TYPE), "emit"),
    "syntax error": (b"x = 1\ndef f(:\n", r"line 2\n    def f\(:"),
    "deep nesting": (b"x = " + b"(" * 100_000, "too many nested parentheses|cannot be parsed|not valid Python"),
    "deep operators": (b"x = " + b"-" * 200_000 + b"1", "cannot be parsed|not valid Python|RecursionError"),
    "no main": (b"def main():\n    return 1\nmain()\n", "no entry point"),
    "main imported only": (b"from lip import Context, main\n# @main\nasync def app(): ...\n", "no entry point"),
    "main of another": (
        b"from lip import emit as main\nfrom other import main as m\n@m\ndef f(): ...\n",
        "no entry point",
    ),
    "packages": (
        b"# /// script\n# dependencies = ['numpy']\n# ///\n" + SOURCE.encode(),
        r"packages \(numpy\), and none are",
    ),
    "block without end": (b"# /// script\n# dependencies = []\n" + SOURCE.encode(), "does not end"),
    "return outside": (b"return 1\n", "'return' outside function"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_uploads_are_refused_with_the_reason(case: str, programs: Programs, runner: asyncio.Runner) -> None:
    content, message = BAD[case]
    with pytest.raises(InvalidProgram, match=message):
        runner.run(programs.upload(content, "bad"))
    assert programs.list() == []
    assert runner.run(programs.upload(SOURCE.encode())).fresh, "the next one is served"


@pytest.mark.parametrize(
    "source",
    [
        "import lip\ndef f(x): ...\nlip.main(f)\n",
        "from lip import main as entry\n@entry\ndef f(x): ...\n",
        "from lip import *\nif True:\n    @main\n    def f(x): ...\n",
        "import lip as l\n@l.main\ndef f(x): ...\n",
    ],
)
def test_other_ways_to_mark_the_main_function(source: str, programs: Programs, runner: asyncio.Runner) -> None:
    assert runner.run(programs.upload(source)).parameters == {}


def test_a_source_without_a_main_function_is_told_how_to_mark_one(programs: Programs, runner: asyncio.Runner) -> None:
    with pytest.raises(InvalidProgram) as caught:
        runner.run(programs.upload("def app():\n    return 1\n"))
    assert caught.value.hint == "put @main (from lip import main) above its main function"


def test_upload_python(programs: Programs, runner: asyncio.Runner, sandbox: Sandbox) -> None:
    info = runner.run(programs.upload(SOURCE, "agent"))
    assert (info.kind, info.name, info.fresh, info.parameters) == ("python", "agent", True, {"x": "int", "who": "str"})
    assert not runner.run(programs.upload(SOURCE.encode(), "again")).fresh
    for ref in ("agent", "again", info.id, info.id[:10]):
        program = runner.run(programs.load(ref))
        assert runner.run(run(sandbox, program, x=5)) == [5, "a"]
    programs.remove("agent")
    with pytest.raises(NotFound, match="no program is called 'again'"):
        runner.run(programs.load("again"))


def test_upload_component(programs: Programs, runner: asyncio.Runner, sandbox: Sandbox) -> None:
    info = runner.run(programs.upload(WASM, "echo"))
    assert (info.kind, info.size) == ("component", len(WASM))
    assert runner.run(run(sandbox, runner.run(programs.load("echo")), a=1)) == {"a": 1}
    programs.remove("echo")
    assert programs.list() == []


def test_a_path_source_text_and_bytes_load_without_the_store(
    programs: Programs, runner: asyncio.Runner, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "my agent.py").write_text(SOURCE)
    (tmp_path / "echo.wasm").write_bytes(WASM)
    for given in (tmp_path / "my agent.py", str(tmp_path / "my agent.py"), SOURCE, SOURCE.encode()):
        assert runner.run(run(sandbox, runner.run(programs.load(given)), x=2)) == [2, "a"]
    assert runner.run(run(sandbox, runner.run(programs.load(tmp_path / "echo.wasm")), x=2)) == {"x": 2}
    assert programs.list() == []
    assert runner.run(programs.upload(tmp_path / "my agent.py")).names == ()
    assert runner.run(programs.upload(tmp_path / "echo.wasm")).names == ("echo",)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("nowhere.py", NotFound, "nowhere.py"),
        (Path("/nowhere/x.py"), NotFound, "there is no file /nowhere/x.py"),
        (Path("/"), Invalid, "is a directory"),
        ("x" * 5000, NotFound, "no program"),
    ],
)
def test_what_is_not_there(
    given: str | Path, kind: type[SymphonyError], message: str, programs: Programs, runner: asyncio.Runner
) -> None:
    with pytest.raises(kind, match=message):
        runner.run(programs.load(given))


def test_in_the_sandbox_python_behaves(programs: Programs, runner: asyncio.Runner, sandbox: Sandbox) -> None:
    source = """
import asyncio, random, sys, time
from lip import main

@main
async def app() -> object:
    print("to the", "log")
    start = time.monotonic()
    await asyncio.gather(asyncio.sleep(0.05), asyncio.sleep(0.05))
    async def late():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
    try:
        import nosuch
    except ModuleNotFoundError as e:
        missing = str(e)
    try:
        open("/etc/passwd")
    except OSError as e:
        closed = type(e).__name__
    return [await late(), missing, closed, 0.05 <= time.monotonic() - start < 5, random.random()]
"""
    program = runner.run(programs.load(source))
    caller = Nobody()
    first = runner.run(run(sandbox, program, caller))
    assert first[:2] == ["timed out", "No module named 'nosuch'"]
    assert first[2] in ("FileNotFoundError", "PermissionError")
    assert first[3]
    assert bytes(caller.written) == b"to the log\n"
    assert runner.run(run(sandbox, program))[4] != first[4], "randomness is fresh in every run"


def test_in_the_sandbox_errors_are_told(programs: Programs, runner: asyncio.Runner, sandbox: Sandbox) -> None:
    source = "from lip import main\n@main\ndef app(x: int):\n    return 1 // x\n"
    program = runner.run(programs.load(source))
    with pytest.raises(AssertionError, match=r'(?s)program.py", line 4, in app\n    return 1 // x.*ZeroDivisionError'):
        runner.run(run(sandbox, program, x=0))
    with pytest.raises(AssertionError, match="missing argument 'x'"):
        runner.run(run(sandbox, program))
    with pytest.raises(AssertionError, match="RecursionError"):
        runner.run(run(sandbox, runner.run(programs.load("from lip import main\n@main\ndef f(): f()\n"))))
    with pytest.raises(AssertionError, match="MemoryError"):
        runner.run(run(sandbox, runner.run(programs.load("from lip import main\n@main\ndef f(): 'x' * (1 << 29)\n"))))


def test_the_interpreter_is_built_once(programs: Programs, runner: asyncio.Runner, cache: Path) -> None:
    runner.run(programs.interpreter())
    path = ensure(cache)
    made = path.stat().st_mtime_ns
    assert ensure(cache).stat().st_mtime_ns == made
    assert [p for p in path.parent.iterdir() if p.name.startswith("build-")] == []


def test_a_path_brings_its_packages(
    programs: Programs, runner: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a builder that does not read the source: fetching packages has tests of its own."""
    seen: list[Path] = []

    def build(source: Path, out: Path) -> None:
        seen.append(source)
        out.write_bytes(WASM)

    monkeypatch.setattr("symphony.program.build.build", build)
    monkeypatch.setattr(programs, "_cache", tmp_path / "cache")
    path = tmp_path / "app.py"
    path.write_text(f"# /// script\n# dependencies = ['tabulate']\n# ///\n{SOURCE}")
    info = runner.run(programs.upload(path))
    assert (info.name, info.kind) == ("app", "component")
    assert runner.run(programs.load(path)).name == "app"
    assert runner.run(programs.load(str(path))).called == ("app",)
    assert [source.name for source in seen] == ["app.py"], "built once"
    with pytest.raises(InvalidProgram, match="tabulate"):
        runner.run(programs.load(path.read_text()))
    programs.remove("app")


def test_what_is_known_of_a_program_is_forgotten_with_it(programs: Programs, runner: asyncio.Runner) -> None:
    first = runner.run(programs.upload(SOURCE, "known"))
    assert programs.get("known") is programs.get("known")
    second = runner.run(programs.upload(SOURCE + "x = 1\n", "known"))
    assert programs.get("known").id == second.id != first.id
    programs.remove("known")
    with pytest.raises(NotFound):
        programs.get("known")
    assert programs.get(first.id).names == ()
    programs.remove(first.id)
