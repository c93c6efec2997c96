"""@main, arguments, results, error texts: what the interpreter does with a source, outside Wasm."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
from fake_host import FakeHost


def execute(source: str, arguments: Any = None) -> Any:
    """What the interpreter answers: the value, or the error text."""
    interpreter, inner = importlib.import_module("lip._interpreter"), importlib.import_module("lip._host")
    request = {"source": source, "filename": "agent.py", "args": {} if arguments is None else arguments}
    try:
        return json.loads(interpreter.LipWorld().run(json.dumps(request)))
    except inner.Err as error:
        return error.value


APP = """from lip import main
@main
async def app(question: str, n: int = 3, rate: float = 1.0, tags: list[str] | None = None, deep: bool = False):
    return [question, n, rate, tags, deep]
"""


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ({"question": "x"}, ["x", 3, 1.0, None, False]),
        ({"question": "x", "n": 5, "rate": 2, "tags": ["a"], "deep": True}, ["x", 5, 2.0, ["a"], True]),
    ],
)
def test_arguments_arrive_by_name(host: FakeHost, arguments: dict[str, Any], result: list[Any]) -> None:
    assert execute(APP, arguments) == result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "missing argument 'question'"),
        ({"question": 3}, "argument 'question' must be a string, not a whole number (3)"),
        ({"question": "x", "n": True}, "argument 'n' must be a whole number, not true or false (True)"),
        ({"question": "x", "n": 1.5}, "argument 'n' must be a whole number, not a number (1.5)"),
        ({"question": "x", "tags": [1]}, "argument 'tags' must be a list of strings or null, not a list ([1])"),
        ({"question": "x", "m": 1}, "unknown argument 'm'"),
        (["x"], "the arguments must be a JSON object, not a list"),
    ],
)
def test_wrong_arguments_name_the_parameter_and_what_is_accepted(host: FakeHost, arguments: Any, message: str) -> None:
    text = execute(APP, arguments)
    assert text.startswith(message)
    assert "accepted: question: a string (required), n: a whole number = 3" in text


def test_any_name_is_accepted_where_the_function_says_so(host: FakeHost) -> None:
    assert execute("from lip import main\n@main\ndef app(**more): return more\n", {"a": 1}) == {"a": 1}
    text = execute("from lip import main\n@main\ndef app(*rest): return 1\n")
    assert "positional parameters" in text


def test_the_traceback_names_the_users_file_and_line(host: FakeHost) -> None:
    source = "from lip import main\ndef helper():\n    return 1 // 0\n@main\nasync def app():\n    return helper()\n"
    text = execute(source)
    assert text.splitlines() == [
        "Traceback (most recent call last):",
        '  File "agent.py", line 6, in app',
        "    return helper()",
        *[line for line in text.splitlines() if set(line.strip()) <= set("^~") and line.strip()][:1],
        '  File "agent.py", line 3, in helper',
        "    return 1 // 0",
        *[line for line in text.splitlines() if set(line.strip()) <= set("^~") and line.strip()][1:2],
        "ZeroDivisionError: integer division or modulo by zero",
    ]


def test_errors_of_the_host_keep_their_name_and_hint(host: FakeHost) -> None:
    text = execute("from lip import main, Context\n@main\nasync def app():\n    Context.open('/none')\n")
    assert text.endswith("lip.NotFound: no /none\n  hint: do this")
    assert "_host" not in text
    assert "errors.py" not in text


def test_chained_and_grouped_errors_are_told(host: FakeHost) -> None:
    source = """from lip import main
import asyncio
async def fails():
    try:
        {}["k"]
    except KeyError as e:
        raise ValueError("bad") from e
@main
async def app():
    async with asyncio.TaskGroup() as g:
        g.create_task(fails())
"""
    text = execute(source)
    assert "KeyError: 'k'" in text
    assert "ValueError: bad" in text
    assert "asyncio/" not in text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n", "the program has no entry point"),
        ("from lip import main\n@main\ndef a(): pass\n@main\ndef b(): pass\n", "two @main functions: a and b"),
        ("def broken(:\n    pass\n", 'File "agent.py", line 1\n    def broken(:'),
        ("import nosuchmodule\n", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("from lip import main\n@main\ndef a(): return {1}\n", "the result is not a JSON value"),
        ("from lip import main\n@main\ndef a(): return float('nan')\n", "the result is not a JSON value"),
        ("import sys\nfrom lip import main\n@main\ndef a(): sys.exit(3)\n", "the program exited with status 3"),
        ("import sys\nfrom lip import main\n@main\ndef a(): sys.exit('no luck')\n", "no luck"),
        ("from lip import main\n@main\ndef a(): raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("from lip import main\n@main\ndef a(): a()\n", "RecursionError"),
    ],
)
def test_what_goes_wrong_is_told(host: FakeHost, source: str, message: str) -> None:
    assert message in execute(source)


@pytest.mark.parametrize("code", ["0", "", "None"])
def test_exit_without_status_is_an_ordinary_end(host: FakeHost, code: str) -> None:
    assert execute(f"import sys\nfrom lip import main\n@main\nasync def a(): sys.exit({code})\n") is None
    assert execute(f"import sys\nsys.exit({code})\n") is None


def test_looking_at_a_source_does_not_run_it(host: FakeHost) -> None:
    interpreter = importlib.import_module("lip._interpreter")
    request = {"source": APP + "\nraise SystemExit(1)\n", "filename": "agent.py"}
    assert json.loads(interpreter.LipWorld().run(json.dumps(request))) == {
        "question": "str",
        "n": "int",
        "rate": "float",
        "tags": "list[str] | None",
        "deep": "bool",
    }


def test_outside_wasm_only_calls_of_the_host_fail(plain: Any) -> None:
    @plain.main
    async def app(x: int = 1) -> int:
        return x

    assert app.__name__ == "app"
    with pytest.raises(RuntimeError, match="symphony run"):
        plain.Context()
    with pytest.raises(RuntimeError, match=r"ipc\.emit is answered by Symphony's host"):
        plain.emit("x")
