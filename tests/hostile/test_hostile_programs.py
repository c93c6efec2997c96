"""Every bad upload, argument and program that the project promises to survive: a clear error, and nothing else happens.

The `host` fixture checks after each one that the same host process predicts correctly and that nothing is left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile_host import HEALTHY, QUESTION, Host, lip

from program.program_guests import ECHO, NO_RUN, OTHER_TYPE, UNKNOWN_IMPORT, WRONG_RUN, wasm
from sandbox.sandbox_guests import RECURSE, SPIN, TRAP, guest
from symphony.errors import (
    Cancelled,
    Invalid,
    InvalidProgram,
    LimitExceeded,
    NotFound,
    ProgramError,
    SymphonyError,
    TimedOut,
)
from symphony.param import LAST_WORDS_CHARS
from symphony.process.process import LaunchOptions

COMPONENT = wasm(ECHO)
CORE_MODULE = wasm('(module (func (export "run")))')
PRED_LOOP = (Path(__file__).resolve().parents[2] / "bench" / "guests" / "pred_loop.wat").read_text()
OTHER_VERSION = UNKNOWN_IMPORT.replace("acme:rockets/launch", "symphony:lip/launch@0.9.0")
OTHER_TOKENS = wasm(PRED_LOOP.replace('(param "tokens" (list u32))', '(param "tokens" (list u64))'))
"""Declares `pred` with tokens of twice the size: linked, the host would read beyond the guest's list."""


@pytest.mark.parametrize(
    ("program", "kind", "what", "fix"),
    [
        (Path("nowhere.py"), NotFound, "nowhere.py", "give a path"),
        ("nowhere.py", NotFound, "nowhere.py", ""),
        ("\0", SymphonyError, "", ""),
        ("\ud800.py", SymphonyError, "", ""),
        (b"", InvalidProgram, "empty", "upload"),
        (b"\x7fELF\x02\x01\x01" + bytes(64), InvalidProgram, "neither a Wasm component nor", "symphony build"),
        (b"\xff\xfe\x00", InvalidProgram, "neither a Wasm component nor UTF-8 text", "symphony build"),
        (b"x = 1\0", InvalidProgram, "NUL", "symphony build"),
        (ECHO.encode(), InvalidProgram, "WAT", "wasm-tools"),
        (CORE_MODULE, InvalidProgram, "core Wasm module", "wasm-tools component new"),
        (wasm(NO_RUN), InvalidProgram, "does not export `run`; it exports go", "export `run"),
        (wasm(UNKNOWN_IMPORT), InvalidProgram, "acme:rockets/launch", "symphony:lip"),
        (wasm(OTHER_VERSION), InvalidProgram, "symphony:lip/launch#go", "it was built for symphony:lip 0.9.0"),
        (wasm(OTHER_TYPE), InvalidProgram, "symphony:lip/ipc#emit", "it was built for symphony:lip 0.1.0"),
        (wasm(WRONG_RUN), InvalidProgram, "export `run` has another type", "run: func"),
        (OTHER_TOKENS, InvalidProgram, "symphony:lip/infer#pred (parameter `tokens`)", ""),
        (COMPONENT[:8], InvalidProgram, "", ""),
        (COMPONENT[: len(COMPONENT) // 2], InvalidProgram, "", ""),
        (COMPONENT[:-1], InvalidProgram, "", ""),
        (COMPONENT + bytes([200]), InvalidProgram, "", ""),
    ],
)
def test_what_is_not_a_program(
    program: Any, kind: type[SymphonyError], what: str, fix: str, host: Host, tmp_path: Path
) -> None:
    for attempt in (host.runtime.run, host.runtime.upload):
        with pytest.raises(kind) as caught:
            host.run(attempt(program))
        assert what in caught.value.message, caught.value.message
        assert fix in caught.value.hint, caught.value.hint
    assert host.runtime.programs() == []


def test_a_program_of_more_than_the_limit(host: Host) -> None:
    with pytest.raises(LimitExceeded, match="67108865 bytes"):
        host.run(host.runtime.upload(b"#" * ((64 << 20) + 1)))


def test_a_syntax_error_shows_its_line(host: Host, tmp_path: Path) -> None:
    source = "from lip import main\n\n@main\ndef app(:\n    pass\n"
    (tmp_path / "broken.py").write_text(source)
    for program in (source, tmp_path / "broken.py"):
        error = host.error(program)
        assert isinstance(error, ProgramError)
        assert "SyntaxError" in error.message
        assert "line 4" in error.traceback
        assert "def app(:" in error.traceback
    with pytest.raises(InvalidProgram, match=r'(?s)broken.py", line 4.*def app\(:.*SyntaxError'):
        host.run(host.runtime.upload(tmp_path / "broken.py"))


@pytest.mark.parametrize("source", ["x = " + "(" * 5000 + ")" * 5000, "x = " + "-" * 100_000 + "1", "if 1:\n" * 200])
def test_a_source_that_breaks_parsers(source: str, host: Host) -> None:
    source += "\n"
    assert isinstance(host.error(source), ProgramError)
    with pytest.raises(InvalidProgram):
        host.run(host.runtime.upload(source))


@pytest.mark.parametrize("source", ["x = 1\n", "def main():\n    return 1\n", "\n# @main\n"])
def test_a_source_without_a_main_function(source: str, host: Host, tmp_path: Path) -> None:
    (tmp_path / "mainless.py").write_text(source)
    for program in (source, source.encode(), tmp_path / "mainless.py"):
        with pytest.raises(InvalidProgram, match="no entry point") as caught:
            host.run(host.runtime.upload(program))
        assert "@main" in caught.value.hint
    assert host.runtime.programs() == []
    assert "no entry point" in host.error(source).message


def test_an_exception_comes_with_the_guests_traceback(host: Host) -> None:
    error = host.error(lip("inner = lambda: {}['missing key']\nreturn inner()"))
    assert isinstance(error, ProgramError)
    assert error.message == "KeyError: 'missing key'"
    assert "in app" in error.traceback
    assert "inner = lambda" in error.traceback


@pytest.mark.parametrize(
    ("source", "what", "hint"),
    [
        ("x = 1\n", "no entry point", "@main"),
        ("from lip import main\n@main\ndef a(): pass\n@main\ndef b(): pass\n", "two @main functions: a and b", ""),
        ("from lip import main\n@main\ndef a(x, /): pass\n", "positional", ""),
        ("import numpy\n", "No module named 'numpy'", "numpy is native code"),
        (lip("sys.exit(3)"), "exited with status 3", ""),
        (lip("raise KeyboardInterrupt"), "KeyboardInterrupt", ""),
        (lip("raise asyncio.CancelledError"), "CancelledError", ""),
        (lip("return {1, 2}"), "result is not a JSON value", "return str"),
        (lip("return float('nan')"), "result is not a JSON value", ""),
        (lip("await asyncio.Event().wait()"), "every task of the program waits", ""),
        (lip("import os\nos._exit(3)"), r"", ""),
        (lip("import os\nos.abort()"), r"", ""),
        (lip("import ctypes"), "ctypes", ""),
        (lip("open('/etc/passwd')"), "Error", ""),
        (lip("import subprocess\nsubprocess.run(['ls'])"), "", ""),
        (lip("import socket\nsocket.create_connection(('127.0.0.1', 80))"), "", ""),
        (lip("import threading\nthreading.Thread(target=print).start()"), "thread", ""),
    ],
)
def test_a_program_that_fails_by_itself(source: str, what: str, hint: str, host: Host) -> None:
    error = host.error(source)
    assert isinstance(error, ProgramError), error
    assert what in error.message, error.message
    assert hint in error.hint + error.traceback


def test_a_component_that_traps(host: Host) -> None:
    error = host.error(wasm(TRAP))
    assert isinstance(error, ProgramError)
    assert "unreachable" in error.message
    assert "last said" not in error.message
    assert error.hint
    assert error.traceback


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("sys.stderr.write('Assertion failed: x > 0 (a.c: main: 3)')", "Assertion failed: x > 0 (a.c: main: 3)"),
        ("sys.stderr.write('\\n\\npanicked at src/lib.rs:3:\\nboom\\n')", "panicked at src/lib.rs:3: boom"),
        ("for i in range(9): print(i, file=sys.stderr)", "6 7 8"),
        ("print('much earlier', file=sys.stderr)\nsys.stderr.flush()\nlog('boom', level='error')", "boom"),
        ("sys.stderr.write('x' * 100_000)", "x" * LAST_WORDS_CHARS + " [...]"),
    ],
)
@pytest.mark.parametrize(("end", "told"), [("os.abort()", "the program trapped: "), ("os._exit(3)", "exit(")])
def test_a_program_that_breaks_off_is_quoted(before: str, said: str, end: str, told: str, host: Host) -> None:
    error = host.error(lip(f"import os\n{before}\nsys.stderr.flush()\n{end}"))
    assert isinstance(error, ProgramError)
    assert error.message.startswith("the program")
    assert told in error.message
    assert error.message.endswith(f"; it last said: {said}")


@pytest.mark.parametrize("program", [wasm(SPIN), "while True: pass\n", lip("while True: pass"), lip("10 ** 10 ** 10")])
def test_an_infinite_loop_ends_at_its_deadline(program: str | bytes, host: Host) -> None:
    for options, kind, what in (
        (LaunchOptions(wall_seconds=0.3), TimedOut, "longer than 0.3 s"),
        (LaunchOptions(cpu_seconds=0.3), LimitExceeded, "more than 0.3 s of CPU"),
    ):
        process = host.run(host.runtime.launch(program, {}, options))
        with pytest.raises(kind, match=what) as caught:
            host.run(process.wait())
        assert "raise" in caught.value.hint


GREEDY_MEMORY = guest(
    "(drop (memory.grow (i32.const 3000))) (loop $l (drop (memory.grow (i32.const 1024))) (br $l)) (unreachable)"
)


@pytest.mark.parametrize(
    ("program", "what"),
    [
        (lip("return len(bytearray(1 << 30))"), "MemoryError"),
        (lip("held = []\nwhile True: held.append(bytearray(1 << 20))"), "MemoryError"),
        (lip("return len('x' * (1 << 29))"), "MemoryError"),
        (lip("held = [0]\nwhile True: held += held"), "MemoryError"),
    ],
)
def test_a_memory_bomb(program: str, what: str, host: Host) -> None:
    error = host.error(program)
    assert isinstance(error, ProgramError)
    assert what in error.message


def test_a_memory_bomb_in_wasm_gets_no_more_than_its_limit(host: Host) -> None:
    process = host.run(host.runtime.launch(wasm(GREEDY_MEMORY), {}, LaunchOptions(cpu_seconds=0.5)))
    with pytest.raises(LimitExceeded):
        host.run(process.wait())


@pytest.mark.parametrize(
    "program",
    [
        lip("f = lambda: f()\nf()"),
        lip("sys.setrecursionlimit(10 ** 9)\nf = lambda: f()\nf()"),
        lip("class A:\n    def __repr__(self): return repr([self])\nsys.setrecursionlimit(10 ** 9)\nrepr(A())"),
        lip("sys.setrecursionlimit(10 ** 9)\nx = []\nfor _ in range(10 ** 6): x = [x]\nreturn x"),
        lip("sys.setrecursionlimit(10 ** 9)\nasync def f(): await f()\nawait f()"),
        wasm(RECURSE),
    ],
)
def test_deep_recursion(program: str | bytes, host: Host) -> None:
    error = host.error(program)
    assert isinstance(error, ProgramError)
    assert any(word in str(error) + error.traceback for word in ("RecursionError", "recursion", "stack", "unreachable"))


@pytest.mark.parametrize(
    ("call", "code", "what"),
    [
        ("await tool('triple', x=1)", "NotFound", "there is no tool 'triple'"),
        ("await tool('', x=1)", "NotFound", "there is no tool ''"),
        ("await tool('doub\\ud800le', x=1)", "NotFound", "there is no tool 'doub?le'"),
        ("await tool('double')", "Invalid", "missing a required argument: 'x'"),
        ("await tool('double', y=1)", "Invalid", "'x'"),
        ("await tool('double', x=1, self=2)", "Invalid", "'self'"),
        ("await tool('double', x=float('nan'))", "Invalid", "JSON"),
        ("await tool('double', x=object())", "Invalid", "JSON"),
        ("call(_host.tool.call, 'double', '[1]')", "Invalid", "not a JSON object"),
        ("call(_host.tool.call, 'double', '{')", "Invalid", "not JSON"),
        ("call(_host.tool.call, 'double', '[' * 100000)", "Invalid", "not JSON"),
        ("call(_host.tool.call, 'double', '{\"x\": NaN}')", "Invalid", "not JSON"),
        ("await tool('fails')", "Unavailable", "ValueError: the tool's own words"),
        ("await tool('fails', kind='StopIteration')", "Unavailable", "StopIteration"),
        ("await tool('fails', kind='SystemExit')", "Unavailable", "SystemExit"),
        ("await tool('fails', kind='TimeoutError')", "Unavailable", "TimeoutError: the tool's own words"),
        ("await tool('fails_async', kind='StopIteration')", "Unavailable", "StopIteration"),
        ("await tool('fails_async', kind='SystemExit')", "Unavailable", "SystemExit"),
        ("await tool('fails_async', kind='TimeoutError')", "Unavailable", "TimeoutError: the tool's own words"),
        ("await tool('odd', kind='object')", "Unavailable", "not JSON"),
        ("await tool('odd', kind='nan')", "Unavailable", "not JSON"),
        ("await tool('odd', kind='cycle')", "Unavailable", "not JSON"),
        ("await tool('odd', kind='large')", "Unavailable", "at most 4194304"),
        ("await tool('odd', kind='none such')", "Unavailable", "KeyError"),
    ],
)
def test_a_tool_that_cannot_be_called_or_fails(call: str, code: str, what: str, host: Host) -> None:
    body = f"try:\n    {call}\nexcept Error as e:\n    return [type(e).__name__, e.message, e.hint]"
    kind, message, hint = host.result(lip(body))
    assert kind == code, message
    assert what in message, message
    if code == "NotFound":
        assert "double, fails, fails_async, hangs, odd, waits" in hint


def test_a_tool_may_return_a_lone_surrogate(host: Host) -> None:
    assert host.result(lip("return ascii(await tool('odd', kind='surrogate'))")) == "'\\ud800'"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({}, "missing argument 'count'"),
        ({"count": 1, "colour": "red"}, "unknown argument 'colour'"),
        ({"count": "1"}, "argument 'count' must be a whole number, not a string"),
        ({"count": 1.5}, "argument 'count' must be a whole number, not a number"),
        ({"count": True}, "argument 'count' must be a whole number"),
        ({"count": None}, "argument 'count' must be a whole number, not null"),
        ({"count": 1, "names": [1]}, "argument 'names' must be a list of strings"),
        ({"count": 1, "\ud800": 1}, "unknown argument"),
        ({"count": 1, "count ": 1}, "unknown argument 'count '"),
    ],
)
def test_wrong_arguments_name_the_parameter(arguments: dict[str, Any], what: str, host: Host) -> None:
    error = host.error(lip("return 1", "count: int, names: list[str] = []"), **arguments)
    assert isinstance(error, ProgramError)
    assert what in error.message
    assert "count: a whole number (required)" in error.hint


@pytest.mark.parametrize("arguments", [{"count": object()}, {"count": float("nan")}, {"count": {1}}, {"count": b"1"}])
def test_arguments_that_are_not_json(arguments: dict[str, Any], host: Host) -> None:
    with pytest.raises(Invalid, match="arguments are not JSON"):
        host.result(HEALTHY, **arguments)


def test_an_unknown_model_is_named_with_those_that_are_loaded(host: Host) -> None:
    error = host.error(lip("Context(model='gpt-17')"))
    assert isinstance(error, ProgramError)
    assert "no model is named gpt-17" in error.message
    assert "fake" in error.hint


def test_a_fault_of_the_engine_is_one_predictions_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(batch: Any) -> Any:
        raise RuntimeError("the device fell off the bus")

    with monkeypatch.context() as patch:
        patch.setattr(type(host.engine), "step", lambda self, batch: broken(batch))
        error = host.error(HEALTHY, question=QUESTION)
    assert isinstance(error, ProgramError)
    assert "Internal" in error.message


def test_killed_before_its_first_turn(host: Host) -> None:
    async def scenario() -> None:
        process = await host.runtime.spawn(HEALTHY, question=QUESTION)
        await host.runtime.kill(process)
        with pytest.raises(Cancelled):
            await process.wait()

    host.run(scenario())
