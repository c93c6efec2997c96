"""`symphony bench kv`: what files cost, and what the host tier is worth.

    forks      one file forked many times: pages taken, CPU a fork (engine faked)
    agents     programs that pause for a tool between turns, on a pool that holds a quarter of their contexts: tokens a
               second of the turns with a host tier, against the same without (what left is computed again)
    resume     one long file off the device, back, and the next token; against computing it again

Programs are coroutines on the core's calls: this measures the core and the engine, not guests.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from symphony.bench.report import Report
from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.messages import GenerateOptions
from symphony.engine.engine import Engine
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import GREEDILY, ModelInfo
from symphony.errors import SymphonyError
from symphony.sim.lip import Inbox
from symphony.store.store import Store

Load = Callable[[int, int | None], Engine]
"""(pages of the pool, slots of the host tier) -> an engine."""


@dataclass(slots=True, frozen=True)
class Agents:
    """So many at once; each turn reads an observation and writes an answer, with a pause in between."""

    count: int = 8
    context: int = 512
    """Tokens at the start, which no other agent shares."""
    turns: int = 6
    observation: int = 16
    answer: int = 24
    pause: float = 0.1
    """Seconds."""
    share: float = 0.25
    """Of what all contexts need at their end, this fits into the pool."""

    @property
    def tokens(self) -> int:
        """Of one agent, at its end."""
        return self.context + self.turns * (self.observation + self.answer)

    def pages(self, page_size: int, share: float) -> int:
        """A share of what all contexts need at their end."""
        return int(self.count * -(-self.tokens // page_size) * share)


class Client:
    """One session and its calls, awaited."""

    def __init__(self, core: Core, inbox: Inbox, seed: int) -> None:
        self._core = core
        self._inbox = inbox
        self._seed = seed
        self._ops = seed * 1_000_000
        self.session = core.open_session("local")

    def text(self, count: int, vocab: int) -> list[int]:
        """Tokens that no other client has."""
        self._seed += 1
        low = min(300, vocab // 2)
        return [low + (self._seed * 7919 + i * 104729 + i * i * 31) % (vocab - low) for i in range(count)]

    async def pred(self, file: int, tokens: list[int]) -> int | None:
        """The most probable next token."""
        op = self.next_op()
        await self._core.pred(self.session, file, op, tokens, (max(len(tokens), 1) - 1,), GREEDILY)
        answer = await self._inbox.arrival(op)
        if isinstance(answer, SymphonyError):
            raise answer
        return answer[0].sampled

    async def generate(self, file: int, tokens: list[int], count: int) -> list[int]:
        op = self.next_op()
        await self._core.generate(self.session, file, op, tokens, GenerateOptions(max_tokens=count))
        written: list[int] = []
        while True:
            await self._inbox.arrival(op)
            chunk = await self._core.next(self.session, op)
            if chunk is not None:
                written += chunk.tokens
                if chunk.finish is not None:
                    return written

    def next_op(self) -> int:
        self._ops += 1
        return self._ops


@asynccontextmanager
async def running(engine: Engine, store: Store | None = None) -> AsyncGenerator[tuple[Core, Inbox]]:
    """A core at work; it is closed at the end, the engine and the store are not."""
    core, inbox = Core([engine], CoreConfig(), store), Inbox()
    core.connect(inbox.deliver)
    task = asyncio.create_task(core.run())
    try:
        await asyncio.sleep(0)
        yield core, inbox
    finally:
        await core.close()
        await task


async def bench_forks(report: Report, forks: int = 1000, tokens: int = 2048) -> None:
    """Pages and CPU of forks of one file."""
    engine = FakeEngine(pages=tokens // 16 + 16, check=False)
    async with running(engine) as (core, inbox):
        client = Client(core, inbox, 1)
        base = await core.create(client.session, None)
        await client.pred(base, client.text(tokens, 259))
        before = core.usage(client.session).pages
        report.add(f"pages of a file of {tokens} tokens", before, "pages")
        costs: list[float] = []
        taken = 0
        for _ in range(5):
            start = time.thread_time()
            files = [await core.fork(client.session, base) for _ in range(forks)]
            costs.append((time.thread_time() - start) / forks)
            taken = core.usage(client.session).pages - before
            start = time.thread_time()
            for file in files:
                await core.close_file(client.session, file)
            costs[-1] += (time.thread_time() - start) / forks
        report.add(f"pages that {forks} forks take", taken, "pages", at_most=0)
        report.add("fork and close, CPU", min(costs) * 1e6, "us", at_most=60)


async def bench_agents(report: Report, load: Load, work: Agents, rounds: int = 3) -> None:
    """Agents on a small pool, with and without a host tier, in turns."""
    info = model_info(load)
    size = info.page_size
    pages = 1 + work.pages(size, work.share)
    rates: dict[bool, list[float]] = {True: [], False: []}
    answers: dict[bool, Any] = {}
    for _ in range(rounds):
        for tiered in (True, False):
            engine = load(pages, None if tiered else 0)
            try:
                seconds, answers[tiered] = await run_agents(engine, work)
            finally:
                engine.close()
            rates[tiered].append(work.count * work.turns * work.answer / seconds)
    with_tier, without = statistics.median(rates[True]), statistics.median(rates[False])
    report.add("agents, with a host tier", with_tier, "tok/s")
    report.add("agents, recompute only", without, "tok/s")
    report.add("with / without", with_tier / without, "", at_least=2)
    same = sum(answers[True][i] == answers[False][i] for i in range(work.count)) / work.count
    report.add("agents with the same tokens", same, "", at_least=1 if not info.device.startswith("cuda") else None)


async def run_agents(engine: Engine, work: Agents, store: Store | None = None) -> tuple[float, list[list[int]]]:
    """Seconds of all turns, contexts not counted, and what each agent wrote."""
    ready = asyncio.Barrier(work.count + 1)
    async with running(engine, store) as (core, inbox), asyncio.TaskGroup() as tasks:
        agents = [tasks.create_task(_agent(core, inbox, engine, work, n + 1, ready)) for n in range(work.count)]
        await ready.wait()
        start = time.perf_counter()
        answers = await asyncio.gather(*agents)
        return time.perf_counter() - start, answers


async def _agent(
    core: Core, inbox: Inbox, engine: Engine, work: Agents, seed: int, ready: asyncio.Barrier
) -> list[int]:
    client = Client(core, inbox, seed)
    vocab = engine.info.vocab_size
    file = await core.create(client.session, None)
    await client.pred(file, client.text(work.context, vocab))
    await ready.wait()
    written: list[int] = []
    for _ in range(work.turns):
        await asyncio.sleep(work.pause)
        core.resume(client.session)
        written += await client.generate(file, client.text(work.observation, vocab), work.answer)
    await core.close_session(client.session)
    return written


async def bench_resume(report: Report, load: Load, tokens: int, rounds: int = 5) -> None:
    """One file off the device, back, and one token; against computing it again."""
    size = model_info(load).page_size
    engine = load(3 + 2 * -(-(tokens + 16) // size), None)
    compute: list[float] = []
    back: list[float] = []
    try:
        async with running(engine) as (core, inbox):
            client = Client(core, inbox, 1)
            vocab = engine.info.vocab_size
            for _ in range(rounds + 1):
                file = await core.create(client.session, None)
                start = time.perf_counter()
                await client.pred(file, client.text(tokens, vocab))
                compute.append(time.perf_counter() - start)
                start = time.perf_counter()
                await core.advise(client.session, file, "dont-need")
                while (await core.stat(client.session, file)).tier == "device":  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0)
                await client.pred(file, client.text(1, vocab))
                back.append(time.perf_counter() - start)
                await core.close_file(client.session, file)
    finally:
        engine.close()
    again, swap = statistics.median(compute[1:]), statistics.median(back[1:])
    report.add(f"computing {tokens} tokens", again * 1e3, "ms")
    report.add("out, back and the next token", swap * 1e3, "ms")
    report.add("swap / recompute", swap / again, "", at_most=0.2)


def model_info(load: Load) -> ModelInfo:
    engine = load(8, 0)
    try:
        return engine.info
    finally:
        engine.close()
