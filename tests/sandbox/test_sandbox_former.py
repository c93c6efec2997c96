"""A component built for an earlier version of an interface runs on a host whose records have grown since."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sandbox_guests import CACHE, Loop, compiled, guest

from symphony.errors import InvalidProgram
from symphony.sandbox import Returned, Sandbox, SandboxConfig
from symphony.sandbox.codec import Codec
from symphony.sandbox.former import widened
from symphony.syscall.values import Ok

U32, TEXT = ("u32",), ("string",)
ASK, ASK_NOW = ("record", (("a", U32),)), ("record", (("a", U32), ("b", ("option", U32))))
TELL, TELL_NOW = ("record", (("x", U32),)), ("record", (("x", U32), ("y", ("option", TEXT))))
KEY = "symphony:test/growing#ask"
HOW, HOW_NOW = ("enum", ("low", "high")), ("enum", ("low", "high", "higher"))
REFERENCE: dict[str, Any] = {KEY: ((("question", ASK_NOW), ("how", HOW_NOW)), TELL_NOW)}
FORMER: dict[str, Any] = {KEY: (((("question", ASK), ("how", HOW)), TELL),)}


class Answer:
    """What the handler of today returns."""

    def __init__(self, x: int) -> None:
        self.x = x
        self.y = "a text that older guests do not know"


def program(question: str, how: str, answer: str, parameters: str, arguments: str, pointer: str = "") -> str:
    """A guest that asks with a = 5 and returns x in decimal. `pointer`: the answer goes through memory."""
    lowered = "(memory $mem) (realloc $realloc)" if pointer else ""
    call = f"(call $ask {arguments} {pointer})"
    return guest(
        f"{call} (call $number (i32.load (i32.const 128)))" if pointer else f"(call $number {call})",
        f"""(import "symphony:test/growing@0.1.0" (instance $g
            (type $q' (record {question})) (export "question" (type $q (eq $q')))
            (type $h' (enum {how})) (export "how" (type $h (eq $h')))
            (type $t' (record {answer})) (export "tell" (type $t (eq $t')))
            (export "ask" (func (param "question" $q) (param "how" $h) (result $t)))))""",
        f'(core func $ask (canon lower (func $g "ask") {lowered}))',
        f'(import "host" "ask" (func $ask (param {parameters}) {"" if pointer else "(result i32)"}))',
    )


OLD = program('(field "a" u32)', '"low" "high"', '(field "x" u32)', "i32 i32", "(i32.const 5) (i32.const 1)")
GROWN = ('(field "a" u32) (field "b" (option u32))', '"low" "high" "higher"')
NEW = program(
    *GROWN,
    '(field "x" u32) (field "y" (option string))',
    "i32 i32 i32 i32 i32",
    "(i32.const 5) (i32.const 1) (i32.const 7) (i32.const 2)",
    "(i32.const 128)",
)
NEITHER = program(
    *GROWN, '(field "x" u32)', "i32 i32 i32 i32", "(i32.const 5) (i32.const 1) (i32.const 7) (i32.const 2)"
)


@pytest.fixture(scope="module")
def seen() -> list[Any]:
    return []


@pytest.fixture(scope="module")
def host(seen: list[Any]) -> Iterator[Sandbox]:
    def ask(caller: Any, question: Any, how: str) -> Answer:
        seen.append((question.a, question.b, how))
        return Answer(question.a + (question.b or 0))

    sandbox = Sandbox(SandboxConfig(max_instances=4), {KEY: ask}, REFERENCE, FORMER)
    yield sandbox
    sandbox.close()


def run(host: Sandbox, source: str) -> Any:
    return Loop(host).outcome(host.load(compiled(source, host.config, CACHE)))


def test_old_and_new_run_side_by_side(host: Sandbox, seen: list[Any]) -> None:
    assert run(host, OLD) == Returned(Ok("5"))
    assert seen.pop() == (5, None, "high")
    assert run(host, NEW) == Returned(Ok("12"))
    assert seen.pop() == (5, 7, "higher")


def test_a_function_that_never_was_is_refused(host: Sandbox) -> None:
    with pytest.raises(InvalidProgram, match=r"other types.*growing#ask"):
        run(host, NEITHER)


def test_without_an_archive_the_old_one_is_refused() -> None:
    sandbox = Sandbox(SandboxConfig(max_instances=4), {}, REFERENCE, {})
    with pytest.raises(InvalidProgram, match=r"growing#ask \(parameter `question`\)"):
        run(sandbox, OLD)
    sandbox.close()


def test_records_are_widened_wherever_they_are() -> None:
    missing = ("record", (("a", U32),), ("b",))
    assert widened(ASK_NOW, ASK_NOW) is ASK_NOW
    assert widened(ASK, ASK_NOW) == missing
    assert widened(("list", ("option", ASK)), ("list", ("option", ASK_NOW))) == ("list", ("option", missing))
    assert widened(("tuple", (U32, ASK)), ("tuple", (U32, ASK_NOW))) == ("tuple", (U32, missing))
    assert widened(("result", ASK, None), ("result", ASK_NOW, None)) == ("result", missing, None)
    older, newer = ("variant", (("none", None), ("some", ASK))), ("variant", (("none", None), ("some", ASK_NOW)))
    assert widened(older, newer) == ("variant", (("none", None), ("some", missing)))
    inner = (("record", (("q", ASK),)), ("record", (("q", ASK_NOW), ("r", ("option", U32)))))
    assert widened(*inner) == ("record", (("q", missing),), ("r",))
    Codec({}).reader(widened(*inner))
