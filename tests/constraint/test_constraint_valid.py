"""What comes out of a constrained generation, on the model that ships: 200 of 200 texts over 20 grammars are valid, and
what was valid without a constraint comes out unchanged.

Schemas and checks of JSON are msgspec's, so that nobody checks himself.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pytest
from msgspec import Meta

from symphony.constraint.grammar import Grammar
from symphony.core.core import Core
from symphony.core.messages import Chunk, GenerateOptions, Sampling
from symphony.engine.local import LocalEngine

SEEDS = 10
Word = Annotated[str, Meta(max_length=12)]
Small = Annotated[int, Meta(ge=0, le=99)]


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Person(Strict):
    name: Word
    age: Annotated[int, Meta(ge=0, le=150)]


class Ticket(Strict):
    state: Literal["open", "closed", "won't fix"]
    priority: Literal[1, 2, 3]
    assignee: Word | None


class Order(Strict):
    customer: Person
    items: Annotated[list[Word], Meta(min_length=1, max_length=3)]
    paid: bool


class Group(Strict):
    members: Annotated[list[Person], Meta(min_length=1, max_length=2)]
    tags: Annotated[list[Literal["a", "b", "c"]], Meta(max_length=2)] = []


class Circle(Strict, tag="circle"):
    r: Small


class Box(Strict, tag="box"):
    w: Small
    h: Small


class Contact(Strict):
    mail: Annotated[str, Meta(pattern=r"^[a-z]{1,8}@[a-z]{1,8}\.(com|org)$")]
    phone: Annotated[str, Meta(pattern=r"^\+[0-9]{2} [0-9]{3}-[0-9]{4}$")]


class Café(Strict):
    größe: Literal["groß", "klein"]
    stadt: Literal["Zürich", "東京", "São Paulo"]
    laune: Literal["🙂", "🙁"]


TYPES: dict[str, Any] = {
    "person": Person,
    "ticket": Ticket,
    "order": Order,
    "group": Group,
    "shape": Circle | Box,
    "contact": Contact,
    "unicode": Café,
    "integers": Annotated[list[Small], Meta(min_length=2, max_length=5)],
    "matrix": Annotated[
        list[Annotated[list[bool], Meta(min_length=2, max_length=2)]], Meta(min_length=2, max_length=2)
    ],
    "optional": Annotated[str, Meta(max_length=6)] | Small | None,
    "date": Annotated[str, Meta(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]$")],
}
REGEXES = {
    "colour": r"#[0-9a-f]{6}",
    "address": r"((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)",
    "cyrillic": r"[а-яё]{3,8}( [а-яё]{3,8}){0,2}!",
    "lines": r"(- [A-Za-z ]{1,12}\n){2}",
    "quoted": r'"([^"\\\n]|\\["\\n]){1,10}"',
}
LARKS: dict[str, tuple[str, str]] = {
    "sum": (
        'start: product (("+" | "-") product){0,2}\nproduct: NUMBER ("*" NUMBER)?\nNUMBER: /[1-9][0-9]?/',
        r"[1-9][0-9]?(\*[1-9][0-9]?)?([+-][1-9][0-9]?(\*[1-9][0-9]?)?){0,2}",
    ),
    "query": (
        'start: "SELECT " COLUMN (", " COLUMN){0,2} " FROM " TABLE ";"\nCOLUMN: "id" | "name"\nTABLE: /[a-z]{1,6}/',
        r"SELECT (id|name)(, (id|name)){0,2} FROM [a-z]{1,6};",
    ),
    "brackets": ('start: "(" start ")" | "[" start "]" | "x"', ""),
}
CHOICES = ["yes", "no", "I do not know", 'say "é"', "不知道"]


class Case(NamedTuple):
    grammar: Grammar
    valid: Callable[[str], bool]


def _fits(kind: Any) -> Callable[[str], bool]:
    def valid(text: str) -> bool:
        msgspec.json.decode(text, type=kind)
        spaced = json.dumps(json.loads(text), ensure_ascii=False)
        return sorted(text) == sorted(spaced) or "\\" in text  # the same spaces; an escape may be written in other ways

    return valid


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


def _balanced(text: str) -> bool:
    while text != "x":
        text, before = re.sub(r"\(x\)|\[x\]", "x", text, count=1), text
        if text == before:
            return False
    return True


CASES = {
    **{n: Case(Grammar("json-schema", json.dumps(msgspec.json.schema(t))), _fits(t)) for n, t in TYPES.items()},
    **{name: Case(Grammar("regex", pattern), _matches(pattern)) for name, pattern in REGEXES.items()},
    **{n: Case(Grammar("grammar", g), _matches(p) if p else _balanced) for n, (g, p) in LARKS.items()},
    "choice": Case(Grammar("choice", CHOICES), lambda text: text in CHOICES),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    loaded = LocalEngine.load("tiny", device="cpu", pages=4096, host_pages=0, threads=1)
    yield loaded
    loaded.close()


def on_core(engine: LocalEngine, work: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        desk = Desk(engine)
        running = asyncio.create_task(desk.core.run())
        try:
            await work(desk)
            desk.core.check_integrity()
        finally:
            await desk.core.close()
            await running

    asyncio.run(scenario())


class Desk:
    """Generations on a core, many at a time."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine
        self.core = Core([engine])
        self.core.connect(self._deliver)
        self._arrivals: dict[int, asyncio.Event] = {}

    def _deliver(self, op: int, _: Any) -> None:
        self._arrivals[op].set()

    async def generate(self, prompt: str, grammar: Grammar | None, **options: Any) -> Chunk:
        """The whole of it as one chunk."""
        core, stops = self.core, self.engine.info.stop_tokens
        session = core.open_session("t")
        constraint = None if grammar is None else await core.constraints.compile(session, None, grammar)
        file = await core.create(session, None)
        tokens = self.engine.tokenizer.encode(self.rendered(prompt), True)
        op = session
        arrived = self._arrivals[op] = asyncio.Event()
        wanted = GenerateOptions(constraint=constraint, stop_tokens=stops, **options)
        await core.generate(session, file, op, tokens, wanted)
        whole = Chunk()
        while whole.finish is None:
            await arrived.wait()
            arrived.clear()
            chunk = await core.next(session, op)
            if chunk is not None:
                whole.tokens += chunk.tokens
                whole.text += chunk.text
                whole.finish = chunk.finish
        await core.close_session(session)
        return whole

    def rendered(self, prompt: str) -> str:
        assert self.engine.chat is not None
        return self.engine.chat.render(
            {"messages": [{"role": "user", "content": prompt}], "add_generation_prompt": True}
        )


@pytest.mark.slow
def test_200_of_200_texts_over_20_grammars_are_valid(engine: LocalEngine) -> None:
    assert len(CASES) * SEEDS == 200

    async def work(desk: Desk) -> None:
        async def one(name: str, seed: int) -> None:
            sampling = Sampling(temperature=1.5 if seed % 2 else 1.0, seed=seed)
            chunk = await desk.generate(f"Invent a {name}.", CASES[name].grammar, sampling=sampling, max_tokens=400)
            assert chunk.finish is not None
            assert chunk.finish[0] in ("constraint", "stop-token"), f"{name} {seed}: {chunk.text!r} {chunk.finish}"
            assert CASES[name].valid(chunk.text), f"{name} {seed}: {chunk.text!r}"
            texts.setdefault(name, set()).add(chunk.text)

        texts: dict[str, set[str]] = {}
        await asyncio.gather(*(one(name, seed) for name in CASES for seed in range(SEEDS)))
        assert sum(map(len, texts.values())) > 120, "the model chooses, not the grammar"

    on_core(engine, work)


QUESTIONS: dict[str, str] = {
    "Extract name, city as JSON.\nAda lives in Paris.": "",
    "Extract name, age as JSON.\nBob is 42 years old.": "",
    "Make a JSON list: 3, 5, 8": "",
    "Who are you?": r"(?s:.*)",
    "What is 12 + 30?": r"[0-9]+\.?|[A-Za-z0-9 +=.]+",
    "Is 2 + 2 = 4 correct?": r"[A-Za-z0-9 +=.,!?]+",
}


@pytest.mark.slow
def test_what_is_valid_anyway_comes_unchanged(engine: LocalEngine) -> None:
    """Greedily, and with a seed. JSON is held against a schema made of the very keys that came."""

    async def work(desk: Desk) -> None:
        held = 0
        for question, pattern in QUESTIONS.items():
            for sampling in (Sampling(), Sampling(temperature=0.8, seed=7)):
                plain = await desk.generate(question, None, sampling=sampling, max_tokens=60)
                grammar = Grammar("regex", pattern) if pattern else _schema_of(plain.text)
                if grammar is None or (pattern and not re.fullmatch(pattern, plain.text)):
                    continue
                chunk = await desk.generate(question, grammar, sampling=sampling, max_tokens=60)
                assert chunk.text == plain.text
                held += 1
        assert held >= 9

    on_core(engine, work)


def _schema_of(text: str) -> Grammar | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, list):
        return Grammar("json-schema", '{"type": "array", "items": {"type": ["integer", "string"]}}')
    kinds = {str: "string", int: "integer"}
    properties = {key: {"type": kinds[type(found)]} for key, found in value.items()}
    return Grammar("json-schema", json.dumps({"type": "object", "properties": properties, "required": list(value)}))
