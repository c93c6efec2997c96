"""Distributions that are kept for later questions. Semantics 11."""

from __future__ import annotations

import pytest
from core_harness import SAMPLE, Gate, Host, run, settle

from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.messages import Part, Readings, Sampling
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import Invalid, LimitExceeded
from symphony.sched.batch import BatchLimits

TEXT = [1, 2, 3, 4, 5, 6]


async def keep(h: Host, s: int, f: int, tokens: list[int], outputs: list[int]) -> tuple[int, list[int]]:
    op = next(h.ids)
    [rows] = await h.core.pred_all(s, [Part(f, op, tokens, outputs, keep=True)], SAMPLE)
    return op, rows


@run
async def test_more_is_asked_without_a_step() -> None:
    async with Host(config=CoreConfig(debug=True, batch=BatchLimits(tokens=4))) as h:  # in chunks
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op, rows = await keep(h, s, f, TEXT, [0, 3, 5])
        first = [reading.sampled for reading in await h.arrival(op)]
        assert len(rows) == 3
        await h.core.truncate(s, f, 0)
        steps = h.engine.steps
        again = await h.core.kept.ask(s, rows, Readings(sample=Sampling(), top_k=2, entropy=True))
        assert [reading.sampled for reading in again] == first == [h.engine.greedy(TEXT[:n]) for n in (1, 4, 6)]
        assert all(len(reading.top_ids) == 2 and reading.entropy for reading in again)
        assert h.engine.steps == steps
        # a draw is for the same entry as it would have been
        drawn = Readings(sample=Sampling(temperature=1.0, seed=9))
        [kept] = await h.core.kept.ask(s, rows[2:], drawn)
        [told] = await h.pred(s, f, TEXT, readings=drawn)
        assert kept.sampled == told.sampled


@run
async def test_rows_go_with_their_handle_their_prediction_or_their_process() -> None:
    gate = Gate()
    gate.open.set()
    async with Host(FakeEngine(step_seconds=1, sleep=gate.sleep)) as h:
        s, other = h.core.open_session("t"), h.core.open_session("t")
        f = await h.core.create(s, None)
        op, rows = await keep(h, s, f, TEXT, [4, 5])
        await h.arrival(op)
        with pytest.raises(Invalid, match="not kept"):
            await h.core.kept.ask(other, rows, SAMPLE)
        h.core.forget(s, rows[:1])
        h.core.forget(s, rows[:1])
        assert set(h.engine.kept) == set(rows[1:])
        with pytest.raises(Invalid, match="not kept"):
            await h.core.kept.ask(s, rows, SAMPLE)
        gate.open.clear()
        gate.entered.clear()
        op, cancelled = await keep(h, s, f, [7], [0])
        await gate.entered.wait()
        await h.core.cancel(s, op)
        gate.open.set()
        await settle()
        assert set(h.engine.kept) == set(rows[1:])
        with pytest.raises(Invalid, match="not kept"):
            await h.core.kept.ask(s, cancelled, SAMPLE)
        await h.core.close_session(s)
        assert not h.engine.kept


@pytest.mark.parametrize("ended", [True, False])
@run
async def test_rows_forgotten_while_they_are_made_do_not_stay_in_the_engine(ended: bool) -> None:
    class Late(FakeEngine):
        async def step(self, batch: Batch) -> list[RowResult]:
            results = await super().step(batch)
            self.kept |= {number: ((), 0) for row in batch.rows for number in row.keep}
            return results

    gate = Gate()
    async with Host(Late(step_seconds=1, sleep=gate.sleep)) as h:
        s = h.core.open_session("t")
        op, rows = await keep(h, s, await h.core.create(s, None), TEXT, [4, 5])
        await gate.entered.wait()
        if ended:
            await h.core.close_session(s)
        else:
            await h.core.cancel(s, op)
            h.core.forget(s, rows)
        gate.open.set()
        await settle()
        assert not h.engine.kept


@run
async def test_a_row_that_fails_keeps_nothing() -> None:
    class Bad(FakeEngine):
        async def step(self, batch: Batch) -> list[RowResult]:
            return [RowResult(error="not finite") for _ in await super().step(batch)]

    async with Host(Bad()) as h:
        s = h.core.open_session("t")
        op, rows = await keep(h, s, await h.core.create(s, None), TEXT, [5])
        await h.arrival(op)
        assert not h.engine.kept
        with pytest.raises(Invalid, match="not kept"):
            await h.core.kept.ask(s, rows, SAMPLE)


@run
async def test_limits() -> None:
    h = Host(FakeEngine("one"))
    h.core = Core([h.engine, FakeEngine("two")], CoreConfig(debug=True, max_kept_rows=4))
    h.core.connect(h.deliver)
    async with h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, "one"), await h.core.create(s, "two")
        with pytest.raises(LimitExceeded, match="limit of a process is 4"):
            await keep(h, s, f, TEXT, [0, 1, 2, 3, 4])
        rows: list[int] = []
        for file in (f, g):
            op, more = await keep(h, s, file, TEXT, [0, 1])
            await h.arrival(op)
            rows += more
        with pytest.raises(LimitExceeded):
            await keep(h, s, f, [1], [0])
        with pytest.raises(Invalid, match="different models"):
            await h.core.kept.ask(s, rows, SAMPLE)
        with pytest.raises(Invalid, match="penalties"):
            await h.core.kept.ask(s, rows[:2], Readings(sample=Sampling(presence_penalty=1.0)))
        with pytest.raises(Invalid, match="token id 900"):
            await h.core.kept.ask(s, rows[:2], Readings(logprobs=(900,)))
        with pytest.raises(LimitExceeded, match="5 rows, at most 4"):
            await h.core.kept.ask(s, rows[:1] * 5, SAMPLE)
        assert await h.core.kept.ask(s, [], SAMPLE) == []
