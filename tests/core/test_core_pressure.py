"""Too few pages: everything finishes, with the tokens of an undisturbed run; nothing waits for good. Semantics 19."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest
from core_harness import Host, run, settle

from symphony.core.core import CoreConfig
from symphony.errors import Exists
from symphony.sched.batch import BatchLimits


@run
async def test_generations_that_need_four_times_the_pool_all_finish() -> None:
    async with Host(pages=33, page_size=16) as h:  # 512 entries
        sessions = [h.core.open_session(f"t{i % 3}") for i in range(16)]

        async def guest(s: int, i: int) -> None:
            prompt = [i, i + 1, i + 2]
            f = await h.core.create(s, None)
            whole = await h.generate(s, f, prompt, max_tokens=125, chunk_tokens=7)
            assert whole.tokens == h.expect(prompt, 125)
            assert await h.contents(s, f) == prompt + whole.tokens
            h.core.check_integrity()

        await asyncio.gather(*(guest(s, i) for i, s in enumerate(sessions)))
        assert h.engine.tokens <= 1.3 * 16 * 127, "newcomers leave the others room to grow: little is computed twice"


@run
async def test_in_loop_guests_that_need_four_times_the_pool_all_finish() -> None:
    async with Host(pages=17, page_size=16) as h:
        sessions = [h.core.open_session("t") for _ in range(16)]

        async def guest(s: int, i: int) -> None:
            tokens = [i] * 34
            f = await h.core.create(s, None)
            fed = tokens[:]
            for _ in range(30):
                [reading] = await h.pred(s, f, fed)
                assert reading.sampled == h.engine.greedy(tokens)
                fed = [reading.sampled]
                tokens += fed

        await asyncio.gather(*(guest(s, i) for i, s in enumerate(sessions)))
        h.core.check_integrity()


@run
async def test_a_large_operation_is_not_starved_by_small_ones() -> None:
    async with Host(pages=17, page_size=16) as h:
        s = h.core.open_session("t")
        stop = False

        async def small(i: int) -> None:
            n = 0
            while not stop:
                f = await h.core.create(s, None)
                await h.generate(s, f, [i, n % 250], max_tokens=40)
                await h.core.close_file(s, f)
                n += 1

        guests = [asyncio.create_task(small(i)) for i in range(12)]
        await settle(200)
        f = await h.core.create(s, None)
        prompt = [i % 250 for i in range(250)]
        [reading] = await h.pred(s, f, prompt)
        assert reading.sampled == h.engine.greedy(prompt)
        stop = True
        await asyncio.gather(*guests)


@run
async def test_a_paused_generation_gives_way_and_goes_on_later() -> None:
    async with Host(pages=21, page_size=16) as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        paused = await h.start(s, f, [1], max_tokens=300)
        await h.arrival(paused)  # 256 tokens wait: 17 of 20 pages
        prompt = [i % 250 for i in range(310)]
        [reading] = await h.pred(s, g, prompt)
        assert reading.sampled == h.engine.greedy(prompt)
        first = await h.core.next(s, paused)
        assert first is not None
        rest = await h.drain(s, paused)
        assert first.tokens + rest.tokens == h.expect([1], 300)


@run
async def test_idle_files_give_way_and_are_computed_again() -> None:
    async with Host(pages=9, page_size=16) as h:
        s = h.core.open_session("t")
        files = []
        for i in range(10):
            f = await h.core.create(s, None)
            await h.pred(s, f, [i] * 40)
            files.append(f)
        for i, f in enumerate(files):
            [reading] = await h.pred(s, f, [])
            assert reading.sampled == h.engine.greedy([i] * 40)
            assert await h.core.length(s, f) == 40
        h.core.check_integrity()


@run
async def test_the_cache_goes_before_anybody_loses_pages() -> None:
    async with Host(pages=9, page_size=16) as h:
        s = h.core.open_session("t")
        keep = await h.core.create(s, None)
        await h.pred(s, keep, [1] * 40)
        for i in range(2, 6):
            f = await h.core.create(s, None)
            await h.pred(s, f, [i] * 48)
            await h.core.close_file(s, f)
        prompts = h.core.usage(s).prompt_tokens
        await h.pred(s, keep, [1])
        assert h.core.usage(s).prompt_tokens == prompts + 1


@pytest.mark.parametrize("seed", range(12))
def test_random_guests_on_a_tiny_pool(seed: int) -> None:
    """Guests that predict, generate, fork, truncate, save, cancel and vanish at random; every answer is checked."""

    @run
    async def test() -> None:
        rng = random.Random(seed)
        limits = BatchLimits(tokens=rng.choice([5, 16, 100]), rows=rng.choice([2, 4, 64]))
        steps = rng.choice([0, 1])

        async def sleep(seconds: float) -> None:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)

        config = CoreConfig(batch=limits)
        async with Host(None, config, pages=14, page_size=4, step_seconds=steps, sleep=sleep) as h:

            async def guest(i: int) -> None:
                s = h.core.open_session(f"t{i % 2}")
                files: list[tuple[int, list[int]]] = [(await h.core.create(s, None), [])]
                for _ in range(25):
                    f, tokens = rng.choice(files)
                    new = [rng.randrange(3) for _ in range(rng.randrange(1, 8))]
                    if len(tokens) > 30:
                        await h.core.truncate(s, f, n := rng.randrange(20))
                        del tokens[n:]
                    match rng.randrange(7):
                        case 0:
                            [reading] = await h.pred(s, f, new)
                            tokens += new
                            assert reading.sampled == h.engine.greedy(tokens)
                        case 1:
                            whole = await h.generate(s, f, new, max_tokens=6, chunk_tokens=rng.randrange(1, 7))
                            tokens += new
                            assert whole.tokens == h.expect(tokens, 6)
                            tokens += whole.tokens
                        case 2 if len(files) < 4:
                            files.append((await h.core.fork(s, f), list(tokens)))
                        case 3:
                            op = await h.start_pred(s, f, new)
                            await settle(rng.randrange(4))
                            if h.answers.get(op):
                                tokens += new
                            await h.core.cancel(s, op)
                        case 4:
                            op = await h.start(s, f, new, max_tokens=20, chunk_tokens=3)
                            await settle(rng.randrange(8))
                            chunk = await h.core.next(s, op)
                            await h.core.cancel(s, op)
                            tokens += new + (chunk.tokens if chunk else [])
                        case 5:
                            path = f"/{rng.randrange(2)}"
                            with suppress(Exists):
                                await h.core.save(s, f, path, rng.random() < 0.5)
                                if len(files) < 4:
                                    files.append((await h.core.open(s, None, path), list(tokens)))
                        case _:
                            await h.core.truncate(s, f, n := rng.randrange(len(tokens) + 1))
                            del tokens[n:]
                    assert await h.contents(s, f) == tokens
                    h.core.check_integrity()
                    if len(files) > 1 and rng.random() < 0.3:
                        f, _ = files.pop(rng.randrange(len(files)))
                        await h.core.close_file(s, f)
                await h.core.close_session(s)

            await asyncio.gather(*(guest(i) for i in range(8)))

    test()
