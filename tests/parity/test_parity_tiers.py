"""Through a core on real weights: swapping, dropping and preemption change no token; what extract and append-from give
equals the reference run of semantics 6.

Exactness as semantics 9 has it: a token is the reference's given the tokens before it, except where the reference's two
best are closer than 1e-4.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import torch
from parity_driver import load_reference, make_model

from engine.kv_files import PROBE, Reference
from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.messages import GenerateOptions, Readings
from symphony.core.room import RoomLimits
from symphony.engine.local import LocalEngine
from symphony.engine.messages import Reading
from symphony.errors import SymphonyError

MODELS = ("tiny", "small-gqa")
LENGTHS = (15, 16, 17, 31, 33)
TOLERANCE = 1e-4
PAGES = 17
MOVE, DROP = 1e9, 0.0
"""Seconds that computing a token is said to take."""


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    directory = make_model(request.param, tmp_path_factory.mktemp("models"))
    engine = LocalEngine.load(str(directory), device="cpu", pages=PAGES, page_size=16, host_pages=64, threads=1)
    yield engine, load_reference(directory), Reference(directory)
    engine.close()


def text(seed: int, count: int) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(11, 4096) for _ in range(count)]


class Desk:
    """One process on a core of its own."""

    def __init__(self, engine: LocalEngine, token_seconds: float) -> None:
        self.core = Core([engine], CoreConfig(room=RoomLimits(0.0, 0.0, 0.0), debug=True))
        self.core.connect(self.deliver)
        self.session = self.core.open_session("t")
        self.arrivals: dict[int, asyncio.Queue[Any]] = {}
        loop = self.core._loops[engine.info.name]
        self.room, self.arena = loop.room, loop.arena
        loop._prefilled = lambda seconds: None  # what is said, not what is measured
        self.arena.costs.token_seconds = token_seconds

    def deliver(self, op: int, answer: Any) -> None:
        self.arrivals[op].put_nowait(answer)

    def new_op(self) -> int:
        op = len(self.arrivals) + 1
        self.arrivals[op] = asyncio.Queue()
        return op

    async def file(self, tokens: Sequence[int]) -> int:
        file = await self.core.create(self.session, None)
        await self.pred(file, tokens)
        return file

    async def pred(self, file: int, tokens: Sequence[int]) -> torch.Tensor:
        """The log-probabilities [tokens, PROBE] after each."""
        op = self.new_op()
        await self.core.pred(self.session, file, op, tokens, range(len(tokens)), Readings(logprobs=PROBE))
        answer: list[Reading] | SymphonyError = await self.arrivals[op].get()
        assert isinstance(answer, list), answer
        return torch.tensor([reading.logprobs for reading in answer])

    async def generate(self, file: int, tokens: Sequence[int], count: int) -> list[int]:
        op, out = self.new_op(), []
        await self.core.generate(self.session, file, op, tokens, GenerateOptions(max_tokens=count, chunk_tokens=5))
        while True:
            assert await self.arrivals[op].get() is None
            chunk = await self.core.next(self.session, op)
            assert chunk is not None
            out += chunk.tokens
            if chunk.finish is not None:
                return out

    async def send_away(self, file: int) -> None:
        """To the host, or to nowhere."""
        await self.core.advise(self.session, file, "dont-need")
        while self.room.moves():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        for page in list(self.arena.cache.idle):  # so that nothing is found again
            self.arena.cache.forget(page)
            self.arena._free(page)
        tier = (await self.core.stat(self.session, file)).tier
        assert tier == ("host" if self.arena.costs.token_seconds else "evicted")


def run(engine: LocalEngine, token_seconds: float, test: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        desk = Desk(engine, token_seconds)
        running = asyncio.create_task(desk.core.run())
        await test(desk)
        desk.core.check_integrity()
        await desk.core.close()
        await running
        desk.core.check_integrity()

    asyncio.run(asyncio.wait_for(main(), 120))


def assert_greedy(reference: Any, prompt: Sequence[int], out: Sequence[int]) -> None:
    """Fed with what was drawn, the reference draws the same wherever it is decided."""
    logprobs = reference([*prompt, *out])[len(prompt) - 1 : -1]
    values, best = logprobs.topk(2)
    decided = values[:, 0] - values[:, 1] >= TOLERANCE
    assert decided.float().mean() > 0.9
    assert best[decided, 0].tolist() == torch.tensor(out)[decided].tolist()


@pytest.mark.parametrize("token_seconds", [MOVE, DROP])
@pytest.mark.parametrize("length", LENGTHS)
def test_tokens_after_swapping_and_dropping(model, length, token_seconds):
    engine, reference, _ = model
    prompt = text(length, length)

    async def test(desk: Desk) -> None:
        out = []
        file = await desk.file(prompt)
        for _ in range(4):
            await desk.send_away(file)
            out += await desk.generate(file, [], 5)
        fork = await desk.core.fork(desk.session, file)
        await desk.send_away(fork)
        await desk.send_away(file)
        assert_greedy(reference, prompt, out)
        assert_greedy(reference, prompt + out, await desk.generate(fork, [], 5))
        assert_greedy(reference, prompt + out, await desk.generate(file, [], 5))

    run(engine, token_seconds, test)


@pytest.mark.parametrize("token_seconds", [MOVE, DROP])
def test_tokens_of_a_crowd_that_is_preempted(model, token_seconds):
    """Twelve generations that need four times the pool."""
    engine, reference, _ = model
    prompts = [text(i, 15 + 4 * i) for i in range(12)]

    async def test(desk: Desk) -> None:
        async def one(prompt: list[int]) -> None:
            file = await desk.core.create(desk.session, None)
            assert_greedy(reference, prompt, await desk.generate(file, prompt, 40))

        await asyncio.gather(*map(one, prompts))
        assert desk.room.preemptions
        assert bool(desk.room.tiers.recalled_pages) == (token_seconds == MOVE)

    run(engine, token_seconds, test)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("rebase", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_extract_equals_the_reference_run(model, length, rebase, away):
    engine, _, reference = model
    source, ranges = text(length, length), [(1, 4), (9, length)]

    async def test(desk: Desk) -> None:
        file = await desk.file(source)
        if away:
            await desk.send_away(file)
        part = await desk.core.extract(desk.session, file, ranges, rebase)
        if away:
            await desk.send_away(part)
        shifts, end = ((-1, -6), length - 6) if rebase else ((0, 0), length)
        cache = reference.cache(source)
        parts = [reference.part(cache, a, b, shift) for (a, b), shift in zip(ranges, shifts, strict=True)]
        more = text(99, 6)
        got = torch.cat([await desk.pred(part, more[:5]), await desk.pred(part, more[5:])])
        expected = reference.after(parts, more, end)[:, list(PROBE)]
        torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)
        again = await desk.pred(file, more)  # the source is as before
        whole = reference.after([cache], more, length)[:, list(PROBE)]
        torch.testing.assert_close(again, whole, atol=TOLERANCE, rtol=0)

    run(engine, MOVE, test)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("before", [3, 16, 40])
@pytest.mark.parametrize("length", LENGTHS)
def test_append_from_equals_the_reference_run(model, length, before, away):
    engine, _, reference = model
    one, two = text(before, before), text(length, length)

    async def test(desk: Desk) -> None:
        target, source = await desk.file(one), await desk.file(two)
        if away:
            await desk.send_away(target)
            await desk.send_away(source)
        await desk.core.append_from(desk.session, target, source, 2, length)
        if away:
            await desk.send_away(target)
        first, second = reference.cache(one), reference.cache(two)
        parts = [reference.part(first, 0, before, 0), reference.part(second, 2, length, before - 2)]
        more = text(99, 5)
        got = await desk.pred(target, more)
        expected = reference.after(parts, more, before + length - 2)[:, list(PROBE)]
        torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)

    run(engine, MOVE, test)


@pytest.mark.parametrize("length", LENGTHS)
def test_append_from_itself_equals_the_reference_run(model, length):
    engine, _, reference = model
    source = text(length, length)

    async def test(desk: Desk) -> None:
        file = await desk.file(source)
        await desk.core.append_from(desk.session, file, file, 5, length)
        cache, more = reference.cache(source), text(99, 5)
        parts = [cache, reference.part(cache, 5, length, length - 5)]
        expected = reference.after(parts, more, 2 * length - 5)[:, list(PROBE)]
        torch.testing.assert_close(await desk.pred(file, more), expected, atol=TOLERANCE, rtol=0)

    run(engine, MOVE, test)
