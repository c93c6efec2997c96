"""Generations: tokens, text, chunks, ends and drops. Semantics 1, 2, 10."""

from __future__ import annotations

import asyncio
import math

import pytest
from core_harness import Gate, Host, run, settle

from symphony.core.messages import Sampling
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import Busy, InternalError, Invalid, NoSpace
from symphony.param import MAX_READ_VALUES, MAX_TOP_K, READ_VALUES_PER_OUTPUT

PROMPT = [1, 2, 3]


def says(text: str, after: int = len(PROMPT)) -> FakeEngine:
    """An engine that continues with `text`, whatever the context."""
    data = text.encode()
    return FakeEngine(script=lambda index: data[index - after] if 0 <= index - after < len(data) else 0)


@run
async def test_greedy_tokens_and_the_file_hold_the_same() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        whole = await h.generate(s, f, PROMPT, max_tokens=40)
        assert whole.tokens == h.expect(PROMPT, 40)
        assert whole.finish == ("length", None)
        assert await h.contents(s, f) == PROMPT + whole.tokens
        usage = h.core.usage(s)
        assert (usage.prompt_tokens, usage.generated_tokens, usage.forwards) == (3, 40, 40)


@run
async def test_split_calls_draw_the_same() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        sampling = Sampling(temperature=1.0, seed=11)
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        whole = await h.generate(s, f, PROMPT, max_tokens=30, sampling=sampling)
        first = await h.generate(s, g, PROMPT, max_tokens=13, sampling=sampling)
        rest = await h.generate(s, g, [], max_tokens=17, sampling=sampling)
        assert first.tokens + rest.tokens == whole.tokens
        assert await h.contents(s, f) == await h.contents(s, g)


@run
async def test_forks_with_the_same_seed_repeat_and_other_seeds_differ() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.pred(s, f, list(range(50)))
        forks = [await h.core.fork(s, f) for _ in range(6)]
        seeds = (1, 2, 3, 1, 2, 3)
        ops = [
            await h.start(s, g, [], max_tokens=20, sampling=Sampling(temperature=1.0, seed=seed))
            for g, seed in zip(forks, seeds, strict=True)
        ]
        tokens = [(await h.drain(s, op)).tokens for op in ops]
        assert tokens[:3] == tokens[3:]
        assert len({tuple(t) for t in tokens}) == 3


@run
async def test_stop_token_is_in_tokens_and_file_but_not_in_text() -> None:
    async with Host(says("hello!")) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        whole = await h.generate(s, f, PROMPT, max_tokens=40, stop_tokens=[ord("o")])
        assert (whole.text, bytes(whole.tokens), whole.finish) == ("hell", b"hello", ("stop-token", ord("o")))
        assert await h.contents(s, f) == PROMPT + list(b"hello")


@run
async def test_no_stop_token_is_implied() -> None:
    async with Host(FakeEngine(script=lambda index: 256)) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        whole = await h.generate(s, f, PROMPT, max_tokens=5)
        assert (whole.tokens, whole.text) == ([256] * 5, "")


@run
async def test_stop_string_ends_the_text_before_it_and_is_withheld() -> None:
    async with Host(says("one, two. STOP and more")) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=40, stop_strings=["three", "STOP"], chunk_tokens=1)
        texts = []
        finish = None
        while finish is None:
            chunk = await h.chunk(s, op)
            texts.append(chunk.text)
            finish = chunk.finish
        assert "".join(texts) == "one, two. "
        assert finish == ("stop-string", 1)
        assert bytes((await h.contents(s, f))[3:]) == b"one, two. STOP"


@run
async def test_withheld_text_comes_out_at_another_end() -> None:
    async with Host(says("abcST")) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=5, stop_strings=["STOP"], chunk_tokens=4)
        first = await h.chunk(s, op)
        if first.finish is None:
            assert first.text == "abc"
            first = await h.chunk(s, op)
            assert first.text == "ST"
        else:
            assert first.text == "abcST"


@run
async def test_characters_are_never_split() -> None:
    async with Host(says("héé→")) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=8, chunk_tokens=1)
        texts = []
        while True:
            chunk = await h.chunk(s, op)
            texts.append(chunk.text)
            if chunk.finish:
                break
        assert "".join(texts) == "héé→"
        assert not any("\ufffd" in text for text in texts)


@run
async def test_an_incomplete_character_at_the_end_becomes_a_replacement() -> None:
    async with Host(says("h→")) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        assert (await h.generate(s, f, PROMPT, max_tokens=3)).text == "h\ufffd"


@run
async def test_context_limit_ends_it_and_the_file_is_full() -> None:
    async with Host(context_limit=20) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        whole = await h.generate(s, f, PROMPT, max_tokens=100)
        assert (len(whole.tokens), whole.finish) == (17, ("context-limit", None))
        assert await h.core.length(s, f) == 20
        again = await h.generate(s, f, [], max_tokens=5)
        assert (again.tokens, again.finish) == ([], ("context-limit", None))
        with pytest.raises(Invalid, match="context of 20"):
            await h.start(s, f, [1], max_tokens=5)


@run
async def test_zero_tokens_keep_the_input() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        whole = await h.generate(s, f, PROMPT, max_tokens=0)
        assert (whole.tokens, whole.finish) == ([], ("length", None))
        [reading] = await h.pred(s, f, [])
        assert reading.sampled == h.engine.greedy(PROMPT)


@run
async def test_bad_arguments_are_refused_at_once() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        for options, word in (
            ({"chunk_tokens": 0}, "chunk-tokens is 0"),
            ({"chunk_tokens": 257}, "chunk-tokens is 257"),
            ({"stop_strings": ["x", ""]}, "empty stop string"),
            ({"stop_tokens": [400]}, "token id 400"),
            ({"logprobs": 5000}, "5000"),
            ({"sampling": Sampling(logit_bias=((300, 0.0),))}, "token id 300"),
        ):
            with pytest.raises(Invalid, match=word):
                await h.start(s, f, PROMPT, **options)
        with pytest.raises(Invalid, match="empty"):
            await h.start(s, f, [])
        assert await h.core.length(s, f) == 0


@run
async def test_many_alternatives_pause_it_sooner() -> None:
    async with Host(vocab_size=2000) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=200, logprobs=MAX_TOP_K)
        fits = MAX_READ_VALUES // (MAX_TOP_K + READ_VALUES_PER_OUTPUT)
        sizes: list[int] = []
        finish = None
        while finish is None:
            chunk = await h.chunk(s, op)
            assert {len(ids) for ids, _ in chunk.alternatives} <= {MAX_TOP_K}
            sizes.append(len(chunk.tokens))
            finish = chunk.finish
        assert (sum(sizes), finish) == (200, ("length", None))
        assert sizes[:-1] == [fits] * (200 // fits)


@run
async def test_logprobs_and_alternatives_one_a_token() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        alone = await h.generate(s, f, PROMPT, max_tokens=3, logprobs=0)
        assert alone.logprobs == pytest.approx([-math.log(2)] * 3)
        assert alone.alternatives == []
        both = await h.generate(s, f, [], max_tokens=2, logprobs=4)
        assert len(both.logprobs) == 2
        assert [ids[0] for ids, _ in both.alternatives] == both.tokens
        assert all(len(ids) == len(values) == 4 for ids, values in both.alternatives)


@run
async def test_the_guest_is_woken_once_a_chunk() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=64, chunk_tokens=16)
        sizes = []
        while True:
            chunk = await h.chunk(s, op)
            sizes.append(len(chunk.tokens))
            assert await h.core.next(s, op) is None if chunk.finish is None else True
            if chunk.finish:
                break
        assert sum(sizes) == 64
        assert h.deliveries == len(sizes) <= 4


@run
async def test_chunk_ms_wakes_for_a_token_that_grows_old() -> None:
    gate = Gate()
    steps = 0

    async def sleep(seconds: float) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            await gate.sleep(seconds)

    async with Host(step_seconds=1, sleep=sleep) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=64, chunk_tokens=256, chunk_ms=5)
        chunk = await h.chunk(s, op)  # although the device stands still
        assert len(chunk.tokens) == 3
        gate.open.set()
        assert len((await h.drain(s, op)).tokens) == 61


@run
async def test_pauses_at_256_undelivered_tokens() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=600)
        await settle(1000)
        assert h.engine.steps == 256
        assert len((await h.chunk(s, op)).tokens) == 256
        await settle(1000)
        assert h.engine.steps == 512
        rest = await h.drain(s, op)
        assert len(rest.tokens) == 344
        assert await h.contents(s, f) == PROMPT + h.expect(PROMPT, 600)


@run
async def test_a_drop_leaves_exactly_what_was_delivered() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=200, chunk_tokens=10)
        await settle(20)
        chunk = await h.chunk(s, op)
        await settle(20)
        await h.core.cancel(s, op)
        assert await h.contents(s, f) == PROMPT + chunk.tokens
        with pytest.raises(Invalid, match="ended"):
            await h.core.next(s, op)
        [reading] = await h.pred(s, f, [])
        assert reading.sampled == h.engine.greedy(PROMPT + chunk.tokens)


@run
async def test_a_drop_of_a_finished_generation_leaves_what_was_delivered_too() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=20, chunk_tokens=20)
        await h.arrival(op)
        with pytest.raises(Busy):
            await h.core.truncate(s, f, 0)
        await h.core.cancel(s, op)
        assert await h.contents(s, f) == PROMPT


@run
async def test_in_flight_the_length_is_the_old_one() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.pred(s, f, [9])
        op = await h.start(s, f, PROMPT, max_tokens=8, chunk_tokens=2)
        while True:
            chunk = await h.chunk(s, op)
            if chunk.finish:
                break
            assert await h.core.length(s, f) == 1
        assert await h.core.length(s, f) == 12


@run
async def test_next_after_the_end_is_invalid() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=2)
        await h.drain(s, op)
        with pytest.raises(Invalid):
            await h.core.next(s, op)


@run
async def test_a_row_error_comes_through_next_once() -> None:
    class Flawed(FakeEngine):
        async def step(self, batch: Batch) -> list[RowResult]:
            results = await super().step(batch)
            return [
                RowResult(error="not finite") if row.start >= 7 else r
                for row, r in zip(batch.rows, results, strict=True)
            ]

    async with Host(Flawed()) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=20, chunk_tokens=2)
        chunk = await h.chunk(s, op)
        await settle()
        assert await h.arrival(op) is None
        with pytest.raises(InternalError, match="not finite"):
            await h.core.next(s, op)
        assert await h.contents(s, f) == PROMPT + chunk.tokens
        with pytest.raises(Invalid):
            await h.core.next(s, op)


@run
async def test_a_late_drop_of_a_failed_generation_disturbs_nobody() -> None:
    gate = Gate()
    gate.open.set()
    async with Host(pages=3, step_seconds=1, sleep=gate.sleep) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        failed = await h.start(s, f, PROMPT, max_tokens=100)
        assert await h.arrival(failed) is None
        gate.open.clear()
        gate.entered.clear()
        op = await h.start_pred(s, f, [7])  # the file is free again
        await gate.entered.wait()
        await h.core.cancel(s, failed)
        with pytest.raises(Busy):
            await h.core.truncate(s, f, 0)
        gate.open.set()
        [reading] = await h.arrival(op)
        assert reading.sampled == h.engine.greedy([*PROMPT, 7])
        with pytest.raises(Invalid):
            await h.core.next(s, failed)


@run
async def test_growth_beyond_the_pool_says_what_would_have_fitted() -> None:
    async with Host(pages=4) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=100, chunk_tokens=10)
        delivered: list[int] = []
        with pytest.raises(NoSpace, match="the pool has 3"):
            await h.drain(s, op, delivered)
        assert await h.contents(s, f) == PROMPT + delivered
        assert delivered == h.expect(PROMPT, len(delivered))


@run
async def test_cancel_during_the_step() -> None:
    gate = Gate()
    async with Host(step_seconds=1, sleep=gate.sleep) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=5)
        await gate.entered.wait()
        await h.core.cancel(s, op)
        fork = asyncio.create_task(h.core.fork(s, f))
        await settle()
        assert not fork.done()
        gate.open.set()
        assert await h.contents(s, await fork) == PROMPT


@run
async def test_a_second_generation_reuses_the_first_one() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        first = await h.generate(s, f, PROMPT, max_tokens=61)
        before = h.core.usage(s)
        second = await h.generate(s, g, PROMPT + first.tokens, max_tokens=10)
        after = h.core.usage(s)
        assert after.reused_tokens - before.reused_tokens == 48  # the last drawn token has no K/V
        assert second.tokens == h.expect(PROMPT + first.tokens, 10)
