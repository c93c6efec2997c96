"""Predictions: what they answer, write, cost and refuse. Semantics 1, 3, 4, 10, 11."""

from __future__ import annotations

import math

import pytest
from core_harness import SAMPLE, Gate, Host, run, settle

from symphony.core.core import CoreConfig
from symphony.core.messages import Readings, Sampling
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import GREEDY, Batch, RowResult
from symphony.errors import Busy, InternalError, Invalid, LimitExceeded, NoSpace
from symphony.param import MAX_READ_VALUES, READ_VALUES_PER_OUTPUT
from symphony.sched.batch import BatchLimits


@run
async def test_answers_after_the_last_token() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        [reading] = await h.pred(s, f, [1, 2, 3])
        assert reading.sampled == h.engine.greedy([1, 2, 3])
        assert await h.contents(s, f) == [1, 2, 3]


@run
async def test_every_and_some_outputs_across_chunks() -> None:
    async with Host(config=CoreConfig(batch=BatchLimits(tokens=7))) as h:
        s = h.core.open_session("t")
        prompt = [i % 50 for i in range(40)]
        f = await h.core.create(s, None)
        every = await h.pred(s, f, prompt, range(40))
        assert [r.sampled for r in every] == [h.engine.greedy(prompt[: i + 1]) for i in range(40)]
        g = await h.core.create(s, None)
        some = await h.pred(s, g, prompt, [0, 6, 7, 20, 39])
        assert [r.sampled for r in some] == [every[i].sampled for i in (0, 6, 7, 20, 39)]
        assert h.engine.steps == 6 + 6  # 40 tokens in chunks of 7; an early output forbids reuse


@run
async def test_no_outputs_only_computes() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        assert await h.pred(s, f, [1, 2, 3], []) == []
        assert h.engine.tokens == 3
        [reading] = await h.pred(s, f, [4])
        assert reading.sampled == h.engine.greedy([1, 2, 3, 4])


@run
async def test_readings_arrive_inline() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        wanted = Readings(sample=GREEDY, top_k=3, logprobs=(7, 8), entropy=True)
        [reading] = await h.pred(s, f, [1], readings=wanted)
        best = h.engine.greedy([1])
        assert reading.top_ids == [best, (best + 1) % 259, (best + 2) % 259]
        assert reading.top_logprobs[0] == pytest.approx(-math.log(2))
        assert len(reading.logprobs) == 2
        assert reading.entropy == pytest.approx(2 * math.log(2))


@run
async def test_requery_writes_nothing_and_says_the_same() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        [first] = await h.pred(s, f, [1, 2, 3])
        [again] = await h.pred(s, f, [])
        assert again.sampled == first.sampled
        assert await h.contents(s, f) == [1, 2, 3]
        assert h.core.usage(s).prompt_tokens == 3
        assert h.core.usage(s).forwards == 2


@run
async def test_requery_of_an_empty_file_is_invalid() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        with pytest.raises(Invalid, match="empty"):
            await h.start_pred(s, f, [])


@run
async def test_pending_token_is_computed_by_the_next_operation_and_carried_by_fork() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        drawn = (await h.generate(s, f, [1, 2], max_tokens=1)).tokens
        g = await h.core.fork(s, f)
        for file in (f, g):
            assert await h.contents(s, file) == [1, 2, *drawn]
            [reading] = await h.pred(s, file, [])
            assert reading.sampled == h.engine.greedy([1, 2, *drawn])
            [reading] = await h.pred(s, file, [9])
            assert reading.sampled == h.engine.greedy([1, 2, *drawn, 9])


@pytest.mark.parametrize(
    ("tokens", "outputs", "readings", "word"),
    [
        ([259], [0], SAMPLE, "outside the vocabulary"),
        ([-1], [0], SAMPLE, "outside the vocabulary"),
        ([1], [1], SAMPLE, "index 1"),
        ([1, 2], [1, 0], SAMPLE, "ascend"),
        ([1, 2, 3], [0, 3], SAMPLE, "ascend"),
        ([0] * 65, [0], SAMPLE, "context of 64"),
        ([1], [0], Readings(logprobs=(300,)), "token id 300"),
        ([1], [0], Readings(top_k=2000), "top-k is 2000"),
        ([1], [0], Readings(sample=Sampling(logit_bias=((999, 1.0),))), "token id 999"),
    ],
)
def test_bad_arguments_are_refused_at_once(
    tokens: list[int], outputs: list[int], readings: Readings, word: str
) -> None:
    @run
    async def test() -> None:
        async with Host(context_limit=64) as h:
            s = h.core.open_session("t")
            f = await h.core.create(s, None)
            with pytest.raises(Invalid, match=word):
                await h.start_pred(s, f, tokens, outputs, readings)
            assert await h.core.length(s, f) == 0
            [reading] = await h.pred(s, f, [1])  # the file is as good as before
            assert reading.sampled == h.engine.greedy([1])

    test()


@run
async def test_in_flight_the_file_shows_its_old_length_and_is_busy() -> None:
    gate = Gate()
    async with Host(step_seconds=1, sleep=gate.sleep) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start_pred(s, f, [1, 2, 3])
        await gate.entered.wait()
        assert await h.core.length(s, f) == 0
        assert await h.contents(s, f) == []
        h.core.check_integrity()
        for mutation in (
            h.core.truncate(s, f, 0),
            h.core.fork(s, f),
            h.core.save(s, f, "/x", False),
            h.start_pred(s, f, [4]),
            h.start(s, f, [4]),
        ):
            with pytest.raises(Busy):
                await mutation
        gate.open.set()
        await h.arrival(op)
        assert await h.core.length(s, f) == 3


@run
async def test_cancel_before_the_step_leaves_no_trace() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start_pred(s, f, [1, 2, 3])
        await h.core.cancel(s, op)
        await h.core.cancel(s, op)
        await settle()
        assert (await h.core.length(s, f), h.engine.steps, h.deliveries) == (0, 0, 0)


@run
async def test_cancel_during_the_step_defers_pages_and_the_next_call_waits_for_it() -> None:
    gate = Gate()
    async with Host(step_seconds=1, sleep=gate.sleep) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start_pred(s, f, list(range(20)))
        await gate.entered.wait()
        await h.core.cancel(s, op)
        await h.core.cancel(s, op)
        assert h.core.usage(s).pages == 2, "the device may still touch them"
        h.core.check_integrity()
        import asyncio

        next_call = asyncio.create_task(h.pred(s, f, [7]))
        await settle()
        assert not next_call.done()
        gate.open.set()
        [reading] = await next_call
        assert reading.sampled == h.engine.greedy([7])
        assert await h.contents(s, f) == [7]
        assert h.deliveries == 1


@run
async def test_predict_is_pred_in_one_message() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        h.core.predict(s, f, 1, [1, 2], (1,), SAMPLE)
        with pytest.raises(Busy):
            h.core.predict(s, f, 2, [3], (0,), SAMPLE)
        [reading] = await h.arrival(1)
        assert reading.sampled == h.engine.greedy([1, 2])
        with pytest.raises(Invalid, match="vocabulary"):
            h.core.predict(s, f, 3, [1 << 30], (0,), SAMPLE)
        assert await h.contents(s, f) == [1, 2]


@run
async def test_predict_waits_for_a_cancelled_operation_and_delivers_what_is_wrong_then() -> None:
    gate = Gate()
    async with Host(step_seconds=1, sleep=gate.sleep) as h:
        s = h.core.open_session("t")
        files = [await h.core.create(s, None) for _ in range(3)]
        ops = [await h.start_pred(s, f, [5]) for f in files]
        await gate.entered.wait()
        for op in ops:
            await h.core.cancel(s, op)
        h.core.predict(s, files[0], 101, [7], (0,), SAMPLE)
        h.core.predict(s, files[1], 102, [1 << 30], (0,), SAMPLE)
        h.core.predict(s, files[2], 103, [7], (0,), SAMPLE)
        await settle()
        assert h.deliveries == 0
        await h.core.close_file(s, files[2])
        gate.open.set()
        [reading] = await h.arrival(101)
        assert reading.sampled == h.engine.greedy([7])
        assert isinstance(await h.arrival(102), Invalid)
        assert isinstance(await h.arrival(103), Invalid)
        assert await h.contents(s, files[0]) == [7]
        assert await h.contents(s, files[1]) == []


@run
async def test_a_session_that_closes_takes_a_waiting_predict_along() -> None:
    gate = Gate()
    async with Host(step_seconds=1, sleep=gate.sleep) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start_pred(s, f, [5])
        await gate.entered.wait()
        await h.core.cancel(s, op)
        h.core.predict(s, f, 101, [7], (0,), SAMPLE)
        await settle()
        await h.core.close_session(s)
        gate.open.set()
        assert isinstance(await h.arrival(101), Invalid)
        assert h.engine.steps == 1


@run
async def test_cancel_after_completion_changes_nothing() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start_pred(s, f, [1, 2])
        await h.arrival(op)
        await h.core.cancel(s, op)
        assert await h.contents(s, f) == [1, 2]


@run
async def test_limits_name_themselves() -> None:
    async with Host(config=CoreConfig(max_operations=2, max_open_files=3)) as h:
        s = h.core.open_session("t")
        files = [await h.core.create(s, None) for _ in range(3)]
        with pytest.raises(LimitExceeded, match="3 open KV files"):
            await h.core.create(s, None)
        with pytest.raises(LimitExceeded):
            await h.core.fork(s, files[0])
        ops = [await h.start_pred(s, f, [1]) for f in files[:2]]
        with pytest.raises(LimitExceeded, match="2 operations"):
            await h.start_pred(s, files[2], [1])
        for op in ops:
            await h.arrival(op)
        await h.pred(s, files[2], [1])


@run
async def test_what_one_prediction_reads_is_limited() -> None:
    async with Host(pages=600) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        each = READ_VALUES_PER_OUTPUT + 250 + 40
        fits = MAX_READ_VALUES // each
        wanted = Readings(top_k=250, logprobs=tuple(range(40)))
        tokens = [i % 250 for i in range(fits + 1)]
        with pytest.raises(LimitExceeded, match=f"top-k 250 and 40 .* of {fits + 1} outputs") as e:
            await h.start_pred(s, f, tokens, range(fits + 1), wanted)
        assert f"at most {fits} outputs fit" in e.value.hint
        assert await h.core.length(s, f) == 0
        readings = await h.pred(s, f, tokens, range(1, fits + 1), wanted)
        assert {(len(r.top_ids), len(r.logprobs)) for r in readings} == {(250, 40)}
        most = MAX_READ_VALUES - READ_VALUES_PER_OUTPUT
        with pytest.raises(LimitExceeded, match="of 1 outputs") as e:
            await h.start_pred(s, f, [], readings=Readings(logprobs=(7,) * (most + 1)))
        assert f"at most {most} tokens fit" in e.value.hint
        [reading] = await h.pred(s, f, [], readings=Readings(logprobs=(7,) * most))
        assert len(reading.logprobs) == most
        assert await h.pred(s, f, [1], [], wanted) == []


@run
async def test_ids_belong_to_their_session() -> None:
    async with Host() as h:
        mine, other = h.core.open_session("t"), h.core.open_session("t")
        f = await h.core.create(mine, None)
        op = await h.start_pred(mine, f, [1])
        with pytest.raises(Invalid):
            await h.start_pred(other, f, [1])
        await h.core.close_file(other, f)  # not its own: nothing happens
        await h.core.cancel(other, op)
        assert isinstance(await h.arrival(op), list)
        with pytest.raises(Invalid):
            await h.core.length(other, f)


@run
async def test_identical_prompt_computes_at_most_one_page_and_never_across_tenants() -> None:
    async with Host() as h:
        prompt = [i * 7 % 250 for i in range(100)]
        usage = []
        for tenant in ("ann", "ann", "bob"):
            s = h.core.open_session(tenant)
            f = await h.core.create(s, None)
            [reading] = await h.pred(s, f, prompt)
            assert reading.sampled == h.engine.greedy(prompt)
            usage.append(h.core.usage(s))
        assert [u.prompt_tokens for u in usage] == [100, 4, 100]
        assert [u.reused_tokens for u in usage] == [0, 96, 0]


@run
async def test_wholly_cached_prompt_is_asked_again_instead_of_computed() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        prompt = list(range(64))
        for reused, pages in ((0, 4), (64, 4)):
            f = await h.core.create(s, None)
            [reading] = await h.pred(s, f, prompt)
            assert reading.sampled == h.engine.greedy(prompt)
            assert (h.core.usage(s).reused_tokens, h.core.usage(s).pages) == (reused, pages)
        g = await h.core.create(s, None)
        steps = h.engine.steps
        assert await h.pred(s, g, prompt, []) == []
        assert h.engine.steps == steps, "nothing to compute: no step"


class Flawed(FakeEngine):
    """Fails rows that start with token 13, and whole steps on demand."""

    crash = False

    async def step(self, batch: Batch) -> list[RowResult]:
        if self.crash:
            raise RuntimeError("the device fell off")
        results = await super().step(batch)
        for row, result in zip(batch.rows, results, strict=True):
            if row.tokens[0] == 13:
                result.error, result.readings = "not finite", ()
        return results


@run
async def test_a_bad_row_fails_alone_and_is_never_published() -> None:
    async with Host(Flawed()) as h:
        s = h.core.open_session("t")
        bad = [13] * 40
        files = [await h.core.create(s, None) for _ in range(3)]
        ops = [await h.start_pred(s, f, tokens) for f, tokens in zip(files, ([1] * 40, bad, [2] * 40), strict=True)]
        first, failed, last = [await h.arrival(op) for op in ops]
        assert first[0].sampled == h.engine.greedy([1] * 40)
        assert last[0].sampled == h.engine.greedy([2] * 40)
        assert isinstance(failed, InternalError)
        assert "not finite" in failed.message
        assert await h.core.length(s, files[1]) == 0
        reused = h.core.usage(s).reused_tokens
        with pytest.raises(InternalError):
            await h.pred(s, files[1], bad)
        assert h.core.usage(s).reused_tokens == reused
        await h.pred(s, files[1], [1])


@run
async def test_a_lost_step_fails_its_operations_and_the_loop_goes_on() -> None:
    engine = Flawed()
    async with Host(engine) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.pred(s, f, [1, 2, 3])
        g = await h.core.fork(s, f)  # its first step will copy a page
        engine.crash = True
        with pytest.raises(InternalError, match="the device fell off"):
            await h.pred(s, g, [4])
        h.core.check_integrity()
        assert await h.contents(s, g) == [1, 2, 3]
        engine.crash = False
        [reading] = await h.pred(s, g, [4])
        assert reading.sampled == h.engine.greedy([1, 2, 3, 4])
        [reading] = await h.pred(s, f, [5])
        assert reading.sampled == h.engine.greedy([1, 2, 3, 5])


@pytest.mark.parametrize("end", ["cancelled", "lost", "fine"])
def test_a_page_copied_for_an_operation_without_a_row_in_the_step(end: str) -> None:
    """The budget takes one row; the other operation's page is copied in the same step all the same."""

    @run
    async def test() -> None:
        gate = Gate()

        class Held(FakeEngine):
            async def step(self, batch: Batch) -> list[RowResult]:
                if gate.open.is_set():
                    return await super().step(batch)
                assert (len(batch.rows), len(batch.copies)) == (1, 2)
                await gate.sleep(0)
                if end == "lost":
                    raise RuntimeError("the device fell off")
                return await super().step(batch)

        engine = Held()
        gate.open.set()
        async with Host(engine, CoreConfig(batch=BatchLimits(rows=1))) as h:
            s = h.core.open_session("t")
            f = await h.core.create(s, None)
            await h.pred(s, f, [1, 2, 3])
            forks = [await h.core.fork(s, f) for _ in range(2)]
            gate.open.clear()
            first, second = [await h.start_pred(s, g, [4]) for g in forks]
            await gate.entered.wait()
            if end == "cancelled":
                await h.core.cancel(s, second)
                assert h.core.usage(s).pages == 3, "the step may still write the page"
            h.core.check_integrity()
            gate.open.set()
            answer = await h.arrival(first)
            assert isinstance(answer, InternalError) == (end == "lost")
            if end == "cancelled":
                await settle()
                assert h.engine.steps == 2, "nothing more is run for it"
            else:
                [reading] = await h.arrival(second)
                assert reading.sampled == engine.greedy([1, 2, 3, 4])
            for g in (f, *forks):
                tokens = await h.contents(s, g)
                [reading] = await h.pred(s, g, [])
                assert reading.sampled == engine.greedy(tokens)

    test()


@run
async def test_what_can_never_fit_fails_at_once_saying_what_would() -> None:
    async with Host(pages=5) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        with pytest.raises(NoSpace, match="65 tokens need 5 KV pages, the pool has 4") as e:
            await h.pred(s, f, list(range(65)))
        assert "within 64 tokens" in e.value.hint
        assert await h.core.length(s, f) == 0
        [reading] = await h.pred(s, f, list(range(64)))
        assert reading.sampled == h.engine.greedy(list(range(64)))


@run
async def test_draws_depend_on_seed_and_entry_only() -> None:
    async with Host() as h:
        s = h.core.open_session("t")

        async def draw(seed: int, split: int) -> int | None:
            f = await h.core.create(s, None)
            sample = Readings(sample=Sampling(temperature=1.0, seed=seed))
            prompt = [5, 6, 7, 8]
            if split:
                await h.pred(s, f, prompt[:split], readings=sample)
            [reading] = await h.pred(s, f, prompt[split:], readings=sample)
            return reading.sampled

        draws = [[await draw(seed, split) for split in (0, 1, 3)] for seed in range(30)]
        assert all(len(set(row)) == 1 for row in draws)
        assert len({row[0] for row in draws}) > 2


@run
async def test_penalties_get_the_history() -> None:
    seen = []

    class Watching(FakeEngine):
        async def step(self, batch: Batch) -> list[RowResult]:
            seen.extend((list(row.history), row.generated) for row in batch.rows)
            return await super().step(batch)

    async with Host(Watching()) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        sampling = Sampling(repetition_penalty=1.2)
        await h.pred(s, f, [1, 2, 3], readings=Readings(sample=sampling))
        tokens = (await h.generate(s, f, [4], max_tokens=2, sampling=sampling)).tokens
        await h.pred(s, f, [9])
        assert seen == [([1, 2, 3], 0), ([1, 2, 3, 4], 0), ([1, 2, 3, 4, tokens[0]], 1), ([], 0)]
