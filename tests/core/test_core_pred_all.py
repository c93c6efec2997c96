"""Predictions of several files that start together. Semantics 3, 4, 11."""

from __future__ import annotations

from typing import Any

import pytest
from core_harness import SAMPLE, Gate, Host, run, settle

from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.messages import Part, Readings
from symphony.core.shape import Shape
from symphony.engine.contents import computed
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import Busy, InternalError, Invalid, LimitExceeded

PROMPT = [1, 2, 3]


async def start(h: Host, s: int, *parts: tuple[int, list[int]], readings: Readings = SAMPLE) -> list[int]:
    wishes = [Part(file, next(h.ids), tokens, (max(len(tokens) - 1, 0),)) for file, tokens in parts]
    await h.core.pred_all(s, wishes, readings)
    return [wish.op for wish in wishes]


async def files(h: Host, s: int, count: int) -> list[int]:
    first = await h.core.create(s, None)
    await h.pred(s, first, PROMPT)
    return [first, *[await h.core.fork(s, first) for _ in range(count - 1)]]


@run
async def test_one_step_for_all_of_them() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        some = await files(h, s, 5)
        steps = h.engine.steps
        ops = await start(h, s, *[(f, [10 + i]) for i, f in enumerate(some)])
        answers = [(await h.arrival(op))[0].sampled for op in ops]
        assert answers == [h.engine.greedy([*PROMPT, 10 + i]) for i in range(5)]
        assert h.engine.steps == steps + 1
        assert await start(h, s) == []


@run
async def test_each_has_a_shape_of_its_own() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f, g = await files(h, s, 2)
        masked = Part(f, next(h.ids), [10, 11], (1,), Shape(masks=[[1, 2]]))
        again = Part(g, next(h.ids), [], (0,))
        await h.core.pred_all(s, [masked, again], SAMPLE)
        text = computed([], PROMPT, 0)
        shown = computed(text, [10, 11], 3, masks=[((0, 1), (3, 5))])
        [answer] = await h.arrival(masked.op)
        assert answer.sampled == h.engine.greedy_after([shown[0], *shown[3:]])
        [answer] = await h.arrival(again.op)
        assert answer.sampled == h.engine.greedy(PROMPT)


@run
async def test_all_start_or_none() -> None:
    gate = Gate()
    gate.open.set()
    engine = FakeEngine(step_seconds=1, sleep=gate.sleep, context_limit=50)
    async with Host(engine, CoreConfig(debug=True, max_operations=3)) as h:
        s = h.core.open_session("t")
        f, g, k, other = await files(h, s, 4)
        too_many: Any = [(f, [1]), (g, [1]), (k, [1]), (other, [1])]
        cases: list[tuple[Any, type[Exception], str]] = [
            ([(f, [1]), (g, [999])], Invalid, "token id 999"),
            ([(f, [1]), (g, [1] * 60)], Invalid, "context of 50"),
            ([(f, [1]), (f, [2])], Busy, "twice"),
            ([(f, [1]), (12345, [2])], Invalid, "file"),
            (too_many, LimitExceeded, "operations"),
        ]
        for parts, error, word in cases:
            with pytest.raises(error, match=word):
                await start(h, s, *parts)
        gate.open.clear()
        gate.entered.clear()
        [op] = await start(h, s, (g, [5]))
        await gate.entered.wait()
        with pytest.raises(Busy):
            await start(h, s, (f, [1]), (g, [1]))
        gate.open.set()
        await h.arrival(op)
        assert [await h.core.length(s, file) for file in (f, g, k)] == [3, 4, 3]
        ops = await start(h, s, (f, [1]), (g, [1]), (k, [1]))
        assert len([await h.arrival(op) for op in ops]) == 3


@run
async def test_the_values_of_all_count_together() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        some = await files(h, s, 64)
        with pytest.raises(LimitExceeded, match="at most 63 outputs"):
            await start(h, s, *[(f, [1]) for f in some], readings=Readings(top_k=1024))
        assert await h.core.length(s, some[0]) == 3


@run
async def test_each_stands_for_itself() -> None:
    class Bad(FakeEngine):
        async def step(self, batch: Batch) -> list[RowResult]:
            results = await super().step(batch)
            return [
                RowResult(error="not finite") if row.tokens[-1] == 66 else result
                for row, result in zip(batch.rows, results, strict=True)
            ]

    async with Host(Bad()) as h:
        s = h.core.open_session("t")
        f, g, k = await files(h, s, 3)
        good, bad, gone = await start(h, s, (f, [5]), (g, [66]), (k, [7]))
        await h.core.cancel(s, gone)
        assert (await h.arrival(good))[0].sampled == h.engine.greedy([*PROMPT, 5])
        assert isinstance(await h.arrival(bad), InternalError)
        await settle()
        assert [await h.core.length(s, file) for file in (f, g, k)] == [4, 3, 3]
        assert not h.answers.get(gone)


@run
async def test_files_of_several_models() -> None:
    h = Host(FakeEngine("one"))
    h.core = Core([h.engine, FakeEngine("two")], CoreConfig(debug=True))
    h.core.connect(h.deliver)
    async with h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, "one"), await h.core.create(s, "two")
        ops = await start(h, s, (f, PROMPT), (g, PROMPT))
        assert [(await h.arrival(op))[0].sampled for op in ops] == [h.engine.greedy(PROMPT)] * 2
