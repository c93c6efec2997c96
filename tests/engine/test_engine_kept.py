"""Distributions that an engine keeps, and what it says when it is asked about them again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import torch

from bench.model_shapes import TINY
from symphony.engine.local import LocalEngine
from symphony.engine.messages import Batch, Question, Readings, Row, Sampling

PROBE = tuple(range(0, 4096, 7))
ASK = Readings(Sampling(temperature=1.0, seed=4), top_k=3, logprobs=PROBE, entropy=True)


@pytest.fixture(scope="module")
def engine():
    loaded = LocalEngine.load(str(TINY), device="cpu", pages=40, host_pages=0, threads=1)
    yield loaded
    loaded.close()


def test_asking_again_gives_the_same(engine: LocalEngine) -> None:
    async def play() -> None:
        row = Row([50, 60, 70, 80], 0, [1], (1, 3), Readings(top_k=1))
        beside = Row([90], 0, [2], (0,), Readings(top_k=1))
        [kept, _] = await engine.step(Batch([replace(row, keep=(7, 9)), beside]))
        assert kept.error is None
        [direct, _] = await engine.step(Batch([replace(row, block_table=[3], readings=ASK), beside]))
        again = await engine.ask([Question(9, 4, ASK), Question(7, 2, ASK), Question(8, 1, ASK)])
        assert [bool(result.error) for result in again] == [False, False, True]
        for result, told in zip(again[:2], reversed(direct.readings), strict=True):
            [reading] = result.readings
            assert (reading.sampled, list(reading.top_ids)) == (told.sampled, list(told.top_ids))
            assert reading.entropy == pytest.approx(told.entropy, abs=1e-4)
            torch.testing.assert_close(torch.tensor(reading.logprobs), torch.tensor(told.logprobs), atol=1e-5, rtol=0)
        engine.forget((7, 7, 1234))
        [gone] = await engine.ask([Question(7, 2, ASK)])
        assert gone.error is not None
        engine.forget((9,))
        assert not engine._kept

    asyncio.run(play())


def test_numbers_that_do_not_fit_the_outputs(engine: LocalEngine) -> None:
    row = Row([50, 60], 0, [1], (0, 1), ASK, keep=(1,))
    [result] = asyncio.run(engine.step(Batch([row])))
    assert "keep" in str(result.error)
