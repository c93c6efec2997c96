"""Rows launched before their guests say the token: nobody can tell, but by the time it takes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from core_harness import Host, run, settle

from symphony.core.config import CoreConfig
from symphony.core.guess import GUESS_SCORE
from symphony.core.messages import Readings
from symphony.core.session import Handle
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import InternalError
from symphony.sched.batch import BatchLimits

TOP = Readings(top_k=1)
PROMPT = [1, 2, 3, 4, 5]


def config(guesses: bool = True, **more: object) -> CoreConfig:
    return CoreConfig(debug=True, pipelined=True, guesses=guesses, **more)  # type: ignore[arg-type]


async def guest(h: Host, rng: random.Random, number: int, follows: float) -> list[object]:
    """Says the most probable token with a probability, else does something else; what it saw."""
    s = h.core.open_session("ann" if number % 3 else "bob")
    f = await h.core.create(s, None)
    seen: list[object] = []
    tokens = [number, *PROMPT]
    [reading] = await h.pred(s, f, tokens, readings=TOP)
    for _ in range(40):
        for _ in range(rng.choice([0, 0, 1, 3, 9])):
            await asyncio.sleep(0)
        given = [reading.top_ids[0]]
        if rng.random() > follows:
            what = rng.randrange(8)
            if what == 0:
                given = [rng.randrange(200) for _ in range(rng.randrange(1, 5))]
            elif what == 1:
                length = rng.randrange(1, len(tokens))
                await h.core.truncate(s, f, length)
                del tokens[length:]
            elif what == 2:
                g = await h.core.fork(s, f)
                seen.append((await h.pred(s, g, [7], readings=TOP))[0].top_ids)
                seen.append(await h.contents(s, g))
                await h.core.close_file(s, g)
            elif what == 3:
                seen.append((await h.generate(s, f, given, max_tokens=3)).tokens)
                tokens = await h.contents(s, f)
                given = [9]
            elif what == 4:
                wrong = (given[0] + 1) % 200  # a right guess may be answered at once
                op = await h.start_pred(s, f, [wrong], readings=TOP)
                await h.core.cancel(s, op)
            elif what == 5:
                seen.append((await h.pred(s, f, [], readings=TOP))[0].top_ids)
            elif what == 6:
                await h.core.close_file(s, f)
                f = await h.core.create(s, None)
                await h.pred(s, f, tokens, readings=TOP)
            else:
                given = [rng.randrange(200)]
        [reading] = await h.pred(s, f, given, readings=TOP)
        tokens += given
        assert reading.top_ids[0] == h.engine.greedy(tokens)
        assert number % 5 or await h.core.length(s, f) == len(tokens)
    assert await h.contents(s, f) == tokens
    return [*seen, tokens]


async def crowd(seed: int, guesses: bool) -> tuple[list[list[object]], Counter[str]]:
    """Guests on few pages; and how many guesses there were."""
    rng = random.Random(seed)
    engine = FakeEngine(
        pages=rng.choice([40, 90]), page_size=rng.choice([4, 16]), host_pages=rng.choice([0, 30]), pipelined=True
    )
    limits = BatchLimits(rows=rng.choice([3, 64]))
    async with Host(engine, config(guesses, batch=limits)) as h:
        loop = h.core._loops["fake"]
        rngs = [random.Random(f"{seed} {i}") for i in range(6)]
        seen = await asyncio.gather(*(guest(h, each, i, (0.97, 0.9, 0.6)[i % 3]) for i, each in enumerate(rngs)))
        return list(seen), Counter(made=loop.guessed, right=loop.guessed_right)


@pytest.mark.parametrize("seed", [0, 1, 3])
@run
async def test_guests_see_the_same_with_and_without(seed: int) -> None:
    plain, none = await crowd(seed, False)
    ahead, some = await crowd(seed, True)
    assert ahead == plain
    assert not none["made"]
    assert some["right"]


async def follow(h: Host, s: int, f: int, tokens: list[int], count: int) -> None:
    """Say the most probable token so often; `tokens` are the file's and the one to be said."""
    for _ in range(count):
        [reading] = await h.pred(s, f, tokens[-1:], readings=TOP)
        tokens.append(reading.top_ids[0])


async def guessing(h: Host) -> tuple[int, int, list[int], Handle]:
    """A session and a file at which is guessed; its tokens and the one that is expected next; its handle."""
    s = h.core.open_session("t")
    f = await h.core.create(s, None)
    [reading] = await h.pred(s, f, PROMPT, readings=TOP)
    tokens = [*PROMPT, reading.top_ids[0]]
    await follow(h, s, f, tokens, GUESS_SCORE)
    handle = h.core._sessions[s].files[f]
    assert handle.guess is not None
    return s, f, tokens, handle


@pytest.mark.parametrize("turns", range(7))
@pytest.mark.parametrize("what", ["right", "wrong", "many", "truncate", "fork", "link", "close", "end"])
@run
async def test_whatever_comes_while_a_guess_is_on_its_way(turns: int, what: str) -> None:
    """Waiting, running or known; the harness looks at the books."""
    async with Host(FakeEngine(page_size=64), config()) as h:
        s, f, tokens, handle = await guessing(h)
        for _ in range(turns):
            await asyncio.sleep(0)
        match what:
            case "truncate":
                await h.core.truncate(s, f, 7)
                tokens = [*tokens[:7], 9]
            case "fork":
                f = await h.core.fork(s, f)
            case "link":
                await h.core.link(s, f, "/name")
                assert handle.guess is None
                await h.core.unlink(s, "/name")
            case "close":
                await h.core.close_file(s, f)
                return
            case "end":
                await h.core.close_session(s)
                return
            case _:
                tokens[-1:] = {"right": tokens[-1:], "wrong": [9], "many": [9, 8, 7]}[what]
        new = tokens[len(await h.contents(s, f)) if what != "right" else -1 :]
        [reading] = await h.pred(s, f, new, readings=TOP)
        assert reading.top_ids == [h.engine.greedy(tokens)]
        assert await h.contents(s, f) == tokens


@run
async def test_what_a_guess_costs_is_not_the_guests() -> None:
    async with Host(FakeEngine(page_size=64), config()) as h:
        s, f, tokens, handle = await guessing(h)
        loop = handle.loop
        for token in (*[None] * 6, 9, *[None] * 6):
            [reading] = await h.pred(s, f, tokens[-1:] if token is None else [token], readings=TOP)
            tokens[-1:] = [tokens[-1] if token is None else token, reading.top_ids[0]]
        usage = h.core.usage(s)
        said = len(tokens) - 1
        assert (usage.prompt_tokens, usage.forwards) == (said, said - len(PROMPT) + 1)
        assert (usage.generated_tokens, usage.reused_tokens, usage.pages) == (0, 0, 1)
        assert h.engine.tokens > said
        assert loop.guessed == loop.guessed_right + 2 > 10, "one was wrong, of one nobody has asked"


@run
async def test_no_guesses_where_they_are_wrong_as_a_rule() -> None:
    async with Host(FakeEngine(page_size=64), config()) as h:
        s, f, _, handle = await guessing(h)
        for _ in range(3):
            await h.pred(s, f, [9], readings=TOP)
        assert handle.guess is None
        assert handle.loop.guessed == handle.loop.guessed_right + 2


@run
async def test_a_row_that_fails_is_of_no_consequence_unless_somebody_asked() -> None:
    class Failing(FakeEngine):
        fail = False

        async def step(self, batch: Batch) -> list[RowResult]:
            results = await super().step(batch)
            return [RowResult(error="NaN")] * len(results) if self.fail else results

    engine = Failing(page_size=64)
    async with Host(engine, config()) as h:
        s, f, tokens, handle = await guessing(h)
        engine.fail = True
        await settle()
        engine.fail = False
        assert handle.guess is None
        await follow(h, s, f, tokens, 2)
        engine.fail = True
        with pytest.raises(InternalError, match="NaN"):
            await follow(h, s, f, tokens, 1)
        engine.fail = False
        assert await h.contents(s, f) == tokens[:-1]
        await follow(h, s, f, tokens, 2)
        assert tokens == [*PROMPT, *h.expect(PROMPT, len(tokens) - len(PROMPT))]


@pytest.mark.parametrize("turns", range(6))
@run
async def test_a_lost_step_with_guesses(turns: int) -> None:
    class Losing(FakeEngine):
        lose = False

        async def step(self, batch: Batch) -> list[RowResult]:
            if self.lose:
                self.lose = False
                raise OSError("gone")
            return await super().step(batch)

    engine = Losing(page_size=64)
    async with Host(engine, config()) as h:
        s, f, tokens, _ = await guessing(h)
        engine.lose = True
        for _ in range(turns):
            await asyncio.sleep(0)
        tokens[-1] = 9 if turns % 2 else tokens[-1]
        said = list(tokens)
        try:
            await follow(h, s, f, tokens, 1)
        except InternalError:
            await follow(h, s, f, tokens, 1)
        assert await h.contents(s, f) == said
        await follow(h, s, f, tokens, 3)
        assert tokens == [*said, *h.expect(said, 4)]


@run
async def test_who_lacks_pages_has_those_of_known_guesses() -> None:
    async with Host(FakeEngine(page_size=16, pages=4), config()) as h:
        s, f, tokens, handle = await guessing(h)
        await settle()
        other = h.core.open_session("t")
        g = await h.core.create(other, None)
        assert handle.guess is not None
        [reading] = await h.pred(other, g, list(range(40)), readings=TOP)
        assert handle.guess is None
        assert reading.top_ids == [h.engine.greedy(list(range(40)))]
        await follow(h, s, f, tokens, 1)
        assert tokens == [*PROMPT, *h.expect(PROMPT, len(tokens) - len(PROMPT))]
