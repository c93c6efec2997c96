"""One step at a time, the loop goes on, and a bad row fails alone."""

from __future__ import annotations

import asyncio
import math

import pytest
import torch

from symphony.engine.engine import Engine
from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, Readings, Row, Sampling
from symphony.errors import InternalError

ASK = Readings(sample=GREEDY, top_k=3)


@pytest.fixture
def engine():
    engine = LocalEngine.load("tiny", device="cpu", pages=64, threads=1)
    yield engine
    engine.close()


def row(seed: int, count: int, page: int, **changes) -> Row:
    tokens = [11 + (seed * 97 + i * 31) % 4000 for i in range(count)]
    fields = {"tokens": tokens, "start": 0, "block_table": [page, page + 1, page + 2], "outputs": [count - 1]}
    return Row(**(fields | {"readings": ASK} | changes))


def test_what_an_engine_says_of_itself(engine):
    same: Engine = engine
    info = same.info
    assert (info.name, info.vocab_size, info.context_limit) == ("tiny", 4096, 2048)
    assert (info.page_size, info.pages, info.stop_tokens, info.bos_token) == (16, 64, (2, 0), 0)
    assert info.bytes_per_page == 2 * 8 * 16 * 2 * 64 * 4
    assert len(info.digest) == 64
    assert same.describe()["attention"].startswith("torch")
    assert same.chat is not None
    assert same.tokenizer.vocab_size == 4096


def test_a_step_leaves_the_loop_free(engine):
    async def scenario():
        step = asyncio.ensure_future(engine.step(Batch([row(1, 40, 1)])))
        await asyncio.sleep(0)
        with pytest.raises(InternalError, match="in flight"):
            await engine.step(Batch([row(1, 4, 4)]))
        ticks = 0
        while not step.done():
            await asyncio.sleep(0)
            ticks += 1
        return ticks, await step, await engine.step(Batch([]))

    ticks, (result,), nothing = asyncio.run(scenario())
    assert ticks > 1
    assert result.error is None
    assert nothing == []


BAD = [
    ({"tokens": []}, "needs tokens"),
    ({"start": -1}, "start of at least 0"),
    ({"tokens": [4096] * 20}, "outside the vocabulary"),
    ({"tokens": [-1] * 20}, "outside the vocabulary"),
    ({"start": 2040}, "beyond the context limit of 2048"),
    ({"tokens": [5] * 3000}, "beyond the context limit"),
    ({"block_table": [5]}, "need 2 pages"),
    ({"block_table": [5, 64]}, "outside 1..63"),
    ({"block_table": [0, 5]}, "outside 1..63"),
    ({"outputs": [20]}, "ascending indexes"),
    ({"outputs": [3, 3]}, "ascending indexes"),
    ({"readings": Readings(logprobs=(4096,))}, "outside the vocabulary"),
    ({"readings": Readings(sample=Sampling(logit_bias=((-1, 1.0),)))}, "biased token"),
    ({"history": [9999], "readings": Readings(sample=Sampling(repetition_penalty=2.0))}, "history token"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_a_bad_row_fails_alone(engine, change, words):
    good = [row(1, 20, 1), row(2, 1, 4), row(3, 33, 7)]
    before = engine.run(Batch([*good[:2], row(9, 20, 10), good[2]]))
    pools = [p[:, :, 1:10].clone() for p in engine._attention.pool]
    after = engine.run(Batch([*good[:2], row(9, 20, 10, **change), good[2]]))
    assert words in after[2].error
    assert after[2].readings == []
    for i in (0, 1, 3):
        assert after[i].error is None
        if change.keys() & {"tokens", "start"}:  # another shape of the batch: equal but for rounding
            assert after[i].readings[0].top_ids == before[i].readings[0].top_ids
        else:
            assert after[i] == before[i]
    for a, b in zip(pools, engine._attention.pool, strict=True):
        torch.testing.assert_close(a, b[:, :, 1:10], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_poisoned_keys_fail_their_row_alone_and_are_cleaned_up(engine):
    good, bad = row(1, 20, 1), row(2, 20, 4)
    engine.run(Batch([good, bad]))
    more = [
        Row([50], 20, [1, 2], [0], ASK),
        Row([60], 20, [4, 5], [0], ASK),
        Row([70, 71, 72], 20, [4, 5]),  # a chunk without outputs
    ]
    before = engine.run(Batch([more[0], more[1], row(5, 3, 7)]))
    engine._attention.pool[3][1, 0, 4, 2] = math.nan
    after = engine.run(Batch([more[0], more[1], row(5, 3, 7)]))
    assert after[0] == before[0]
    assert after[2] == before[2]
    assert "not finite" in after[1].error
    assert "not finite" in engine.run(Batch([more[2]]))[0].error
    # what the failed rows wrote is gone: the page serves its next owner
    engine._attention.pool[3][1, 0, 4, 2] = 0
    for pool in engine._attention.pool:
        assert bool(pool.isfinite().all())
        assert not pool[:, :, 5, 4:7].any()
    assert engine.run(Batch([row(1, 20, 4)]))[0] == engine.run(Batch([good]))[0]


def test_a_query_again_writes_nothing(engine):
    first = row(1, 18, 1)
    (expected,) = engine.run(Batch([first]))
    pools = [p[:, :, 1:].clone() for p in engine._attention.pool]
    (again,) = engine.run(Batch([Row(first.tokens[-1:], 17, [1, 2], [0], ASK, write=False)]))
    assert again.readings[0].top_ids == expected.readings[0].top_ids
    assert again.readings[0].top_logprobs == pytest.approx(expected.readings[0].top_logprobs, abs=1e-4)
    assert all(torch.equal(a, b[:, :, 1:]) for a, b in zip(pools, engine._attention.pool, strict=True))


def test_pages_are_copied_before_the_rows_run(engine):
    engine.run(Batch([row(1, 20, 1)]))
    a, b = engine.run(Batch([Row([50], 20, [1, 2], [0], ASK), Row([50], 20, [1, 9], [0], ASK)], [(2, 9)]))
    assert a.readings[0].top_ids == b.readings[0].top_ids
    with pytest.raises(InternalError, match="page copy"):
        engine.run(Batch([], [(0, 3)]))


def test_several_outputs_and_draws_by_entry(engine):
    sampling = Sampling(temperature=1.0, seed=5)
    ask = Readings(sample=sampling, sampled_logprob=True, entropy=True, logprobs=(1, 2))
    (whole,) = engine.run(Batch([row(1, 20, 1, outputs=[3, 10, 19], readings=ask)]))
    assert len(whole.readings) == 3
    for n, output in enumerate((3, 10, 19)):
        short = row(1, 20, 4)
        (part,) = engine.run(Batch([Row(short.tokens[: output + 1], 0, [4, 5], [output], ask)]))
        assert part.readings[0].sampled == whole.readings[n].sampled
        assert part.readings[0].entropy == pytest.approx(whole.readings[n].entropy, abs=1e-3)
    (nothing,) = engine.run(Batch([row(1, 20, 1, outputs=[])]))
    assert (nothing.readings, nothing.error) == ([], None)


def test_the_reference_back_end_and_bfloat16_run_too():
    engine = LocalEngine.load("tiny", device="cpu", dtype="bfloat16", pages=32)
    plain = LocalEngine.load("tiny", device="cpu", pages=32)
    assert engine.info.digest != plain.info.digest
    batch = Batch([row(1, 30, 1), row(2, 5, 4)])
    for a, b in zip(engine.run(batch), plain.run(batch), strict=True):
        assert a.error is None
        assert set(a.readings[0].top_ids) & set(b.readings[0].top_ids)
    engine.close()
    plain.close()
