"""What is wrong with a constraint is said, with the place; what is too much is refused before it harms anybody."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from symphony.constraint.checker import Checker
from symphony.constraint.compiler import Compiler
from symphony.constraint.grammar import Grammar
from symphony.constraint.workshop import Workshop
from symphony.engine.fake_tokenizer import ByteTokenizer
from symphony.errors import Invalid, LimitExceeded, SymphonyError, Unavailable
from symphony.param import CHECKER_CPU_SECONDS, MAX_CHOICES, MAX_GRAMMAR_CHARS


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    made = Workshop()
    yield made
    made.close()


def make(workshop: Workshop, kind: str, source: str | Sequence[str]) -> Any:
    grammar = Grammar(kind, source)
    grammar.check()
    return workshop.make("bytes", ByteTokenizer(), 259, (256, 258), grammar)


def refused(workshop: Workshop, kind: str, source: str | Sequence[str]) -> SymphonyError:
    with pytest.raises(SymphonyError) as caught:
        make(workshop, kind, source)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("kind", "source", "says"),
    [
        ("grammar", 'start: "a', "1(10): lexer error"),
        ("grammar", "start: foo", 'at 1(8): unknown name: "foo"'),
        ("grammar", 'start: "a"\nb: "c" )', "2(8)"),
        ("grammar", 'x: "a"', "no start rule"),
        ("grammar", "start: /[/", "unclosed character class"),
        ("regex", "ab(c", "    ab(c\n      ^\nerror: unclosed group"),
        ("regex", "a{3,2}", "the start must be <= the end"),
        ("regex", "(?=a)b", "look-around"),
        ("regex", r"(a)\1", "backreferences"),
        ("regex", r"a\b", "lookarounds not supported"),
        ("json-schema", '{"a"', "line 1 column 5"),
        ("json-schema", "5", "the schema is 5, not an object"),
        ("json-schema", '{"type": "foo"}', "Invalid type: foo"),
        ("json-schema", '{"$ref": "#/nope"}', "'/nope' does not exist"),
        ("json-schema", '{"$ref": "https://example.com/schema"}', "example.com"),
        ("json-schema", '{"not": {"type": "string"}}', '"not"'),
        ("json-schema", '{"type": "string", "pattern": "("}', "unclosed group"),
        ("choice", [], "nothing to choose from"),
    ],
)
def test_a_mistake_is_told_with_its_place(workshop: Workshop, kind: str, source: str, says: str) -> None:
    error = refused(workshop, kind, source)
    assert isinstance(error, Invalid)
    assert says in error.message


@pytest.mark.parametrize(
    ("kind", "source", "says"),
    [
        ("json-schema", '{"type": "integer", "minimum": 5, "maximum": 3}', "minimum (5) is greater than maximum (3)"),
        ("json-schema", '{"enum": []}', "anyOf is empty"),
        ("json-schema", "false", "it is false"),
        ("json-schema", '{"allOf": [{"type": "string"}, {"type": "integer"}]}', "incompatible types"),
        ("json-schema", '{"type": "string", "pattern": "^a$", "maxLength": 0}', "empty"),
        ("grammar", 'start: start "a"', ""),
    ],
)
def test_what_nothing_satisfies_is_refused(workshop: Workshop, kind: str, source: str, says: str) -> None:
    error = refused(workshop, kind, source)
    assert isinstance(error, Invalid)
    assert error.message.startswith("no text satisfies the")
    assert says in error.message


def _intersection(n: int) -> str:
    return "start: A\nA: " + " & ".join(f"/.*a{i}.*/" for i in range(n))


def _chain(n: int) -> str:
    return "start: r0\n" + "\n".join(f"r{i}: r{i + 1}" for i in range(n)) + f'\nr{n}: "x"'


def _references(n: int) -> str:
    chain: dict[str, Any] = {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(n)}
    return json.dumps({"$ref": "#/$defs/a0", "$defs": {**chain, f"a{n}": {"type": "integer"}}})


def _products(n: int) -> str:
    parts = [{"anyOf": [{"properties": {f"x{i}{j}": {"type": "integer"}}} for j in range(3)]} for i in range(n)]
    return json.dumps({"allOf": parts})


@pytest.mark.parametrize(
    ("kind", "source", "says"),
    [
        ("regex", "a" * (MAX_GRAMMAR_CHARS + 1), f"at most {MAX_GRAMMAR_CHARS}"),
        ("grammar", "a" * (MAX_GRAMMAR_CHARS + 1), f"at most {MAX_GRAMMAR_CHARS}"),
        ("json-schema", " " * (MAX_GRAMMAR_CHARS + 1), f"at most {MAX_GRAMMAR_CHARS}"),
        ("choice", ["a" * 1000] * (MAX_GRAMMAR_CHARS // 1000 + 1), f"at most {MAX_GRAMMAR_CHARS}"),
        ("choice", ["a"] * (MAX_CHOICES + 1), f"at most {MAX_CHOICES}"),
        ("json-schema", '{"items":' * 200 + "{}" + "}" * 200, "recursion limit"),
        ("json-schema", '{"items":' * 20_000 + "{}" + "}" * 20_000, "nests too deeply"),
        ("regex", "(" * 20_000 + "a" + ")" * 20_000, "nest"),
        ("grammar", "start: " + "(" * 20_000 + '"a"' + ")" * 20_000, ""),
        ("grammar", _chain(10_000), "nests too deeply"),
        ("json-schema", _references(5000), "nests too deeply"),
        ("json-schema", _products(12), "too large"),
        ("grammar", _intersection(40), f"takes longer than {CHECKER_CPU_SECONDS:g} s"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_bombs_are_refused_and_the_next_one_is_served(workshop: Workshop, kind: str, source: str, says: str) -> None:
    error = refused(workshop, kind, source)
    assert isinstance(error, LimitExceeded), error
    assert says in error.message
    assert make(workshop, "regex", "a").mask()


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("regex", "((a{1,1000}){1,1000}){1,1000}"),
        ("regex", "(a?){60}a{60}"),
        ("regex", r"(.*[ab].{60}c)"),
        ("regex", r"(\p{L}|\p{Greek}){1,5000}"),
        ("grammar", 'start: e\ne: e e e | e e | "a" | "aa" | ""'),
        ("json-schema", '{"type": "string", "minLength": 500000, "maxLength": 1000000}'),
        ("json-schema", '{"type": "array", "items": {}, "minItems": 100000}'),
        ("choice", [f"option {i}" for i in range(10_000)]),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_what_only_looks_like_a_bomb_is_stepped_within_its_bounds(workshop: Workshop, kind: str, source: str) -> None:
    """Every step either has a mask or says that the grammar is too much; both within llguidance's fuel."""
    matcher = make(workshop, kind, source)
    for _ in range(40):
        if matcher.done:
            break
        try:
            mask = int.from_bytes(matcher.mask(), "little")
        except LimitExceeded:
            with pytest.raises(LimitExceeded, match="cannot go on"):
                matcher.mask()
            break
        matcher.consume([(mask & -mask).bit_length() - 1])


def test_a_checker_that_is_killed_is_replaced_and_a_closed_one_says_so() -> None:
    checker = Checker()
    grammar = Grammar("regex", "a+")
    checker.check(grammar, ())
    process = checker._process
    assert process is not None
    process.kill()
    process.wait()
    checker.check(grammar, ())
    checker.close()
    with pytest.raises(Unavailable, match="shutting down"):
        checker.check(grammar, ())


def test_a_tenants_bombs_hold_up_others_once_at_most() -> None:
    """Of one tenant one is compiled at a time: who comes later overtakes what waits behind it."""

    async def scenario() -> list[str]:
        compiler, order = Compiler(), list[str]()

        async def compile(tenant: str, source: str) -> None:
            await compiler.compile(tenant, "bytes", ByteTokenizer(), 259, (256,), Grammar("regex", source))
            order.append(tenant)

        try:
            await asyncio.gather(*(compile("many", f"a{i}") for i in range(8)), compile("one", "b"))
        finally:
            compiler.close()
        return order

    order = asyncio.run(scenario())
    assert order.index("one") <= 2


def test_who_gives_up_keeps_the_line_until_the_thread_is_free_and_asks_for_nothing_more() -> None:
    """Else one tenant could fill the thread's queue with bombs by leaving them behind."""

    async def scenario() -> list[str]:
        compiler, made = Compiler(), list[str]()
        make = compiler._make
        gate = threading.Event()

        def watched(model: str, tokens: Any, size: int, ends: Sequence[int], grammar: Grammar) -> Any:
            made.append(str(grammar.source))
            gate.wait(10)
            return make(model, tokens, size, ends, grammar)

        compiler._make = watched

        def compile(tenant: str, source: str) -> asyncio.Task[Any]:
            grammar = Grammar("regex", source)
            return asyncio.create_task(compiler.compile(tenant, "bytes", ByteTokenizer(), 259, (256,), grammar))

        try:
            gone = [compile("many", source) for source in ("a", "b", "c")]
            while not made:  # noqa: ASYNC110 - a thread says so
                await asyncio.sleep(0.01)
            for task in gone:
                task.cancel()
            other, last = compile("one", "d"), compile("many", "e")
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(other, last)
            assert all(task.cancelled() for task in gone)
        finally:
            compiler.close()
        return made

    assert sorted(asyncio.run(scenario())) == ["a", "d", "e"]


def _wait_for_process(compiler: Compiler) -> None:
    while compiler._workshop is None or compiler._workshop._checker._process is None:
        time.sleep(0.01)


def test_closing_ends_what_is_being_compiled() -> None:
    async def scenario() -> None:
        compiler = Compiler()
        grammar = Grammar("grammar", _intersection(40))
        running = asyncio.ensure_future(compiler.compile("t", "bytes", ByteTokenizer(), 259, (256,), grammar))
        await asyncio.to_thread(_wait_for_process, compiler)
        compiler.close()
        with pytest.raises(Unavailable):
            await running

    asyncio.run(scenario())
