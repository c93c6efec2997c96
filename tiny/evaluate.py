"""`symphony bench tiny`: what a model is worth on fresh items of every task, greedily, through our own engine.

Three manners (`pen.Manner`): plain wordings, varied ones that training may see, and unseen ones. An answer counts when
it is the expected text exactly; a proposed step when it is a valid one. Transformers is not needed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from symphony.bench.report import Report
from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.messages import Chunk, Draft, GenerateOptions
from symphony.engine.engine import Engine
from tiny import agent, calls, documents, extraction, lists, memory, sums, talk
from tiny.corpus import Task, dialogue, rendered
from tiny.pen import Manner, Pen
from tiny.turns import Turns

SEED = "evaluation"
"""No document of the corpus has such a seed."""
AT_ONCE = 32
DRAFTS = 4
"""Tokens of a draft, for the figure of `tiny-draft`."""
Judge = Callable[[Turns, str], bool]


@dataclass(slots=True, frozen=True)
class Measure:
    """A task, and the share of right answers that is promised of each manner."""

    name: str
    task: Task
    promised: dict[Manner, float] = field(default_factory=dict[Manner, float])
    tokens: int = 160
    """Of an answer at most."""


def _promise(known: float, unseen: float | None = None) -> dict[Manner, float]:
    both = {Manner.PLAIN: known, Manner.VARIED: known}
    return both if unseen is None else {**both, Manner.UNSEEN: unseen}


MEASURES = [
    Measure("tool calls", calls.call, _promise(0.97, 0.90)),
    Measure("JSON extraction", extraction.extraction, _promise(0.97, 0.75)),
    Measure("citations", documents.citation, _promise(0.97, 0.95), 48),
    Measure("24 documents", documents.many_citations, _promise(0.97), 48),
    Measure("reading", documents.reading, {}, 48),
    Measure("recall", memory.recall, {}, 32),
    Measure("1,500 tokens", memory.long_recall, _promise(0.93), 32),
    Measure("two-digit sums", sums.arithmetic, _promise(0.97), 16),
    Measure("subtraction in words", sums.subtraction, {Manner.UNSEEN: 0.90}, 16),
    Measure("sums by steps", sums.steps, {}, 96),
    Measure("lists", lists.lists, _promise(0.97)),
    Measure("more lists", lists.more_lists, {}),
    Measure("text", lists.text_operations, {}, 64),
    Measure("classes", lists.classify, {}, 8),
    Measure("ReAct", agent.react, _promise(0.97), 64),
    Measure("judge", sums.judge, _promise(0.97), 8),
    Measure("proposals", sums.propose, {}, 48),
    Measure("small talk", talk.talk, {}, 48),
]
BY_NAME = {measure.name: measure for measure in MEASURES}
STEP = re.compile(r"(\d+) ([+*-]) (\d+) = (\d+) \(left: ([\d ]+)\)")


@dataclass(slots=True, frozen=True)
class Miss:
    """An answer that is not the expected one."""

    measure: str
    asked: str
    wanted: str
    got: str


@dataclass(slots=True, frozen=True)
class Answer:
    """What came of a prompt, and of how many forward passes."""

    text: str
    tokens: int
    forwards: int


async def measure_all(
    report: Report,
    engine: Engine,
    measures: Sequence[Measure],
    manners: Sequence[Manner],
    items: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Miss]:
    """A figure for each measure and manner; returns what was wrong. `tell` hears of each figure when it is there."""
    missed: list[Miss] = []
    async with _Desk([engine]) as desk:
        for measure in measures:
            for manner in manners:
                asked = [measure.task(Pen(f"{SEED}/{seed}/{measure.name}/{i}", manner)) for i in range(items)]
                answers = await desk.answer([turns[:-1] for turns in asked], measure.tokens)
                wrong = [
                    Miss(f"{measure.name}, {manner.value}", turns[-2][1], turns[-1][1], answer.text)
                    for turns, answer in zip(asked, answers, strict=True)
                    if not right(measure, turns, answer.text)
                ]
                missed += wrong
                share = 1 - len(wrong) / items
                report.add(f"{measure.name}, {manner.value}", share, "", at_least=measure.promised.get(manner))
                tell(f"{measure.name}, {manner.value}: {share:.3f}")
    return missed


async def measure_drafts(report: Report, engine: Engine, draft: Engine, items: int, seed: int = 0) -> None:
    """Tokens a forward pass of the large model on dialogues of the corpus, the small one `DRAFTS` tokens ahead."""
    total: Counter[str] = Counter()
    async with _Desk([engine, draft]) as desk:
        asked = [_begun(dialogue(f"{SEED}/{seed}/drafts/{i}")) for i in range(items * len(MEASURES))]
        for answer in await desk.answer(asked, 160, draft.info.name):
            total.update(tokens=answer.tokens, forwards=answer.forwards)
    report.add(f"tokens a forward pass, drafts of {DRAFTS}", total["tokens"] / total["forwards"], "", at_least=3.5)


def _begun(turns: Turns) -> Turns:
    """A dialogue up to one of its answers."""
    answers = [at for at, (role, _) in enumerate(turns) if role == "assistant"]
    return turns[: answers[len(turns) % len(answers)]]


def right(measure: Measure, turns: Turns, answer: str) -> bool:
    return valid_step(turns[-2][1], answer) if measure.task is sums.propose else answer == turns[-1][1]


def valid_step(asked: str, answer: str) -> bool:
    """Whether the numbers asked about allow the step, and what is said to be left is left."""
    found = STEP.fullmatch(answer)
    if found is None:
        return False
    a, sign, b, result, left = found.groups()
    numbers = Counter(asked.splitlines()[0].removeprefix("Numbers: ").split())
    if Counter([a, b]) - numbers:
        return False
    value = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]
    return int(result) == value and Counter(left.split()) == numbers - Counter([a, b]) + Counter([result])


class _Desk:
    """A core with a model or two, at which prompts are answered `AT_ONCE` at a time."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engine = engines[0]
        self._core = Core(engines, CoreConfig())
        self._ready: dict[int, asyncio.Event] = {}
        self._core.connect(lambda op, _: self._ready[op].set())

    async def __aenter__(self) -> _Desk:
        self._running = asyncio.create_task(self._core.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._core.close()
        await self._running

    async def answer(self, asked: Sequence[Turns], tokens: int, draft: str | None = None) -> list[Answer]:
        """In the order of `asked`."""
        places = asyncio.Semaphore(AT_ONCE)

        async def one(turns: Turns) -> Answer:
            async with places:
                return await self._answer(rendered(turns, answering=True), tokens, draft)

        return list(await asyncio.gather(*(one(turns) for turns in asked)))

    async def _answer(self, prompt: str, tokens: int, draft: str | None) -> Answer:
        core, info = self._core, self._engine.info
        session, op = core.open_session("bench"), len(self._ready) + 1
        ready = self._ready[op] = asyncio.Event()
        file = await core.create(session, None)
        drafting = None if draft is None else await core.create(session, draft)
        how = None if draft is None else Draft(DRAFTS)
        options = GenerateOptions(max_tokens=tokens, stop_tokens=info.stop_tokens, draft=how)
        encoded = self._engine.tokenizer.encode(prompt, special=True)
        await core.generate(session, file, op, encoded, options, drafting)
        chunks: list[Chunk] = []
        while not chunks or chunks[-1].finish is None:
            await ready.wait()
            ready.clear()
            while (chunk := await core.next(session, op)) is not None:
                chunks.append(chunk)
                if chunk.finish is not None:
                    break
        used = core.usage(session)
        await core.close_session(session)
        return Answer("".join(chunk.text for chunk in chunks), used.generated_tokens, used.forwards)


async def answer_page(engine: Engine, asked: Sequence[Turns]) -> list[str]:
    """The answers to a page of prompts."""
    async with _Desk([engine]) as desk:
        return [answer.text for answer in await desk.answer(asked, 160)]


def as_lines(missed: Sequence[Miss], most: int) -> list[str]:
    """The first few misses of each figure, a line of JSON each."""
    seen: Counter[str] = Counter()
    lines: list[str] = []
    for miss in missed:
        seen[miss.measure] += 1
        if seen[miss.measure] <= most:
            shown = {"measure": miss.measure, "asked": miss.asked[-200:], "wanted": miss.wanted, "got": miss.got}
            lines.append(json.dumps(shown, ensure_ascii=False))
    return lines
