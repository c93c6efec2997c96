"""`symphony bench constraint`: what a constraint costs a step, and what its forced tokens save.

Masks are measured along random walks through grammars of several kinds: the CPU time of the mask and of going on behind
one token, which is what a constrained row adds to a step on the host. The rest is a model's answers in JSON, with the
schema and without, from one prompt: the same text, counted and timed.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from symphony.bench.report import Report
from symphony.constraint.grammar import Grammar
from symphony.constraint.matcher import Matcher
from symphony.constraint.vocabulary import Tokens
from symphony.constraint.workshop import Workshop
from symphony.core.core import Core
from symphony.core.messages import GenerateOptions
from symphony.engine.engine import Engine
from symphony.errors import LimitExceeded

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "city": {"type": "string"}},
    "required": ["name", "age", "city"],
    "additionalProperties": False,
}
_NESTED = {"type": "array", "items": {**PERSON, "properties": {**PERSON["properties"], "tag": {"enum": ["a", "bc"]}}}}
GRAMMARS = {
    "flat object": Grammar("json-schema", json.dumps(PERSON)),
    "nested objects": Grammar("json-schema", json.dumps(_NESTED)),
    "any JSON": Grammar("json-schema", "{}"),
    "address by regex": Grammar("regex", r"[a-z0-9.]{1,20}@[a-z0-9]{1,20}\.(com|org|net)"),
    "prose of 400 characters": Grammar("regex", r"[A-Za-z0-9 ,.!?'-]{400}"),
    "arithmetic by Lark": Grammar("grammar", 'start: t (/[+-]/ t)*\nt: f (/[*\\/]/ f)*\nf: /[0-9]+/ | "(" start ")"'),
    "one of 1,000 choices": Grammar("choice", [f"option {i}, {i * i}" for i in range(1000)]),
}
PROMPT = "Extract name, age, city as JSON.\nNora Brandt is 34 years old and lives in Lisbon."


class Walk(NamedTuple):
    """Nanoseconds of CPU of each step, and how many of the tokens were forced."""

    masks: list[int]
    advances: list[int]
    forced: int


def bench_masks(report: Report, tokens: Tokens, vocab_size: int, ends: Sequence[int], steps: int) -> None:
    workshop = Workshop()
    try:
        workshop.make("bench", tokens, vocab_size, ends, Grammar("regex", "a"))  # what is done once
        for name, grammar in GRAMMARS.items():
            start, cpu = time.perf_counter(), time.thread_time_ns()
            matcher = workshop.make("bench", tokens, vocab_size, ends, grammar)
            report.add(f"{name}: compiling, CPU in the host", (time.thread_time_ns() - cpu) / 1e6, "ms")
            report.add(f"{name}: with trying it elsewhere", (time.perf_counter() - start) * 1e3, "ms")
            walk = _walk(matcher, random.Random(1), vocab_size, steps)
            report.add(f"{name}: mask, median", statistics.median(walk.masks) / 1e3, "us")
            report.add(f"{name}: mask, p99", float(np.percentile(walk.masks, 99)) / 1e3, "us")
            report.add(f"{name}: mask, most", max(walk.masks) / 1e3, "us")
            report.add(f"{name}: going on, median", statistics.median(walk.advances) / 1e3, "us")
            report.add(f"{name}: forced", 100 * walk.forced / len(walk.masks), "%")
    finally:
        workshop.close()


def _walk(matcher: Matcher, choose: random.Random, vocab_size: int, steps: int) -> Walk:
    """Random texts of the grammar, one after the other."""
    walk, forced = Walk([], [], 0), 0
    here = matcher.fork()
    while len(walk.masks) < steps:
        start = time.thread_time_ns()
        try:
            mask = here.mask()
        except LimitExceeded:
            here = matcher.fork()
            continue
        walk.masks.append(time.thread_time_ns() - start)
        bits = np.unpackbits(np.frombuffer(mask, np.uint8), count=vocab_size, bitorder="little")
        allowed = np.flatnonzero(bits)
        forced += len(allowed) == 1
        token = int(allowed[choose.randrange(len(allowed))])
        start = time.thread_time_ns()
        here.accept(token)
        walk.advances.append(time.thread_time_ns() - start)
        if here.done:
            here = matcher.fork()
    return walk._replace(forced=forced)


class Answer(NamedTuple):
    text: str
    tokens: int
    steps: int
    cpu: float


async def bench_answers(report: Report, engine: Engine, rounds: int) -> None:
    """Alternated rounds; CPU seconds of the whole process, medians."""
    core = Core([engine])
    arrived = asyncio.Event()
    core.connect(lambda op, answer: arrived.set())
    running = asyncio.create_task(core.run())
    grammar = Grammar("json-schema", json.dumps(PERSON))
    try:
        answers: dict[bool, list[Answer]] = {True: [], False: []}
        for _ in range(rounds + 1):  # the first one compiles and warms up
            for constrained in (True, False):
                answers[constrained].append(await _answer(core, engine, arrived, grammar if constrained else None))
        with_it, without = (_middle(answers[constrained][1:]) for constrained in (True, False))
        for name, answer in (("with a schema", with_it), ("without", without)):
            report.add(f"answer {name}: tokens", answer.tokens, "")
            report.add(f"answer {name}: forward passes", answer.steps, "")
            report.add(f"answer {name}: CPU", answer.cpu * 1e3, "ms")
        report.add("answers that are equal", float(with_it.text == without.text), "")
        report.add("CPU with a schema / without", with_it.cpu / without.cpu, "x", at_most=1.0)
    finally:
        await core.close()
        await running


def _middle(answers: Sequence[Answer]) -> Answer:
    return answers[0]._replace(cpu=statistics.median([answer.cpu for answer in answers]))


async def _answer(core: Core, engine: Engine, arrived: asyncio.Event, grammar: Grammar | None) -> Answer:
    session = core.open_session("bench")
    constraint = None if grammar is None else await core.constraints.compile(session, None, grammar)
    file, stops = await core.create(session, None), engine.info.stop_tokens
    assert engine.chat is not None
    messages = [{"role": "user", "content": PROMPT}]
    tokens = engine.tokenizer.encode(engine.chat.render({"messages": messages, "add_generation_prompt": True}), True)
    cpu = time.process_time()
    await core.generate(
        session, file, session, tokens, GenerateOptions(max_tokens=100, stop_tokens=stops, constraint=constraint)
    )
    text, count, finish = "", 0, None
    while finish is None:
        await arrived.wait()
        arrived.clear()
        chunk = await core.next(session, session)
        if chunk is not None:
            text, count, finish = text + chunk.text, count + len(chunk.tokens), chunk.finish
    cpu = time.process_time() - cpu
    steps = core.usage(session).forwards
    await core.close_session(session)
    return Answer(text, count, steps, cpu)
