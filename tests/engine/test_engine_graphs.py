"""Decode steps in fixed buffers say what ordinary steps say. Capturing itself needs a GPU (test_engine_gpu.py); here
the "graph" runs the same body again, over an attention that plans from the buffers each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from parity.parity_checkpoints import make_checkpoint
from symphony.engine.decode_graphs import BUCKETS, LEAST_WIDTH, DecodeGraphs
from symphony.engine.draw import draw
from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, Readings, Row, RowResult, Sampling
from symphony_kernels import Ragged

GREEDILY = Readings(sample=GREEDY)
WARM = Readings(sample=Sampling(temperature=0.8, seed=3), sampled_logprob=True)
BEST = Readings(top_k=1)
EVERYTHING = Readings(sample=Sampling(temperature=0.8, seed=3), top_k=4, logprobs=(7, 9), entropy=True)


class Planner:
    """Hands the buffers through; `forward` plans from what is in them then."""

    def decode_plan(self, entries, block_table, positions, slots, firsts):
        return entries, block_table, positions, slots, firsts


class Counted:
    def __init__(self) -> None:
        self.captured = 0

    def __call__(self, body: Callable[[], None]) -> Callable[[], None]:
        self.captured += 1
        return body


@pytest.fixture
def engine():
    engine = LocalEngine.load("tiny", device="cpu", pages=64, threads=1)
    yield engine
    engine.close()


@pytest.fixture
def windowed(tmp_path):
    directory = make_checkpoint("qwen2, window from a layer on", tmp_path)
    engine = LocalEngine.load(str(directory), device="cpu", pages=64, threads=1)
    yield engine
    engine.close()


def graphs_of(engine: LocalEngine) -> tuple[DecodeGraphs, Counted]:
    attention, counted = engine._attention, Counted()

    def forward(ids, plan, wanted):
        entries, table, positions, slots, firsts = (t.numpy().astype(np.int64) for t in plan)
        rows = Ragged(np.ones(len(entries), np.int64), entries, table, positions, slots, firsts)
        return engine._model.forward(ids, attention, attention.plan(rows), wanted)

    return DecodeGraphs(Planner(), forward, draw, engine._drawn, counted), counted


def text(count: int, seed: int) -> list[int]:
    return [11 + (seed * 97 + i * 31) % 4000 for i in range(count)]


def start(engine: LocalEngine, lengths: list[int]) -> list[list[int]]:
    """Prompts in pages of their own; returns the block tables, with room for more."""
    tables = [list(range(1 + 3 * i, 4 + 3 * i)) for i in range(len(lengths))]
    rows = [Row(text(n, i), 0, table) for i, (n, table) in enumerate(zip(lengths, tables, strict=True))]
    assert not [r.error for r in engine.run(Batch(rows)) if r.error]
    return tables


def decode(engine: LocalEngine, lengths: list[int], tables: list[list[int]], readings: Readings) -> list[RowResult]:
    rows = [Row([20 + i], n, t, (0,), readings) for i, (n, t) in enumerate(zip(lengths, tables, strict=False))]
    rows[-1].outputs = ()
    rows[0].block_table = rows[0].block_table[: lengths[0] // 16 + 1]
    return engine.run(Batch(rows))


@pytest.mark.parametrize("model", ["engine", "windowed"])
@pytest.mark.parametrize("readings", [GREEDILY, WARM, BEST, EVERYTHING])
def test_the_same_as_without(model, readings, request):
    engine = request.getfixturevalue(model)
    lengths = [15, 16, 33, 1, 31]
    tables = start(engine, lengths)
    plain = decode(engine, lengths, tables, readings)
    engine._graphs, counted = graphs_of(engine)
    found = decode(engine, lengths, tables, readings)
    assert counted.captured == 1
    assert [r.error for r in found] == [None] * 5
    assert len(found[-1].readings) == 0
    for a, b in zip(plain[:-1], found[:-1], strict=True):
        assert a.readings[0].sampled == b.readings[0].sampled
        assert list(a.readings[0].top_ids) == list(b.readings[0].top_ids)
        assert np.allclose(a.readings[0].logprobs, b.readings[0].logprobs, atol=1e-4)
        assert np.allclose(a.readings[0].top_logprobs, b.readings[0].top_logprobs, atol=1e-4)
        assert (a.readings[0].sampled_logprob is None) == (b.readings[0].sampled_logprob is None)
        assert np.allclose(a.readings[0].sampled_logprob or 0.0, b.readings[0].sampled_logprob or 0.0, atol=1e-4)


def test_what_was_in_the_buffers_before_does_not_matter(engine):
    lengths = [40, 20, 17, 5]
    tables = start(engine, lengths)
    engine._graphs, counted = graphs_of(engine)
    alone = decode(engine, lengths[:3], tables, GREEDILY)
    decode(engine, lengths, tables, GREEDILY)
    again = decode(engine, lengths[:3], tables, GREEDILY)
    assert [r.readings for r in alone] == [r.readings for r in again]
    assert counted.captured == 1, "three rows and four have one bucket"


def test_prefill_and_crowds_go_the_ordinary_way(engine):
    tables = start(engine, [10])
    engine._graphs, counted = graphs_of(engine)
    [result] = engine.run(Batch([Row([1, 2], 10, tables[0], (1,), GREEDILY)]))
    assert result.error is None
    many = [Row([5], 10, tables[0], (0,), GREEDILY, write=False) for _ in range(BUCKETS[-1] + 1)]
    assert all(r.error is None for r in engine.run(Batch(many)))
    assert counted.captured == 0


def test_a_bad_row_fails_alone(engine):
    lengths = [10, 12]
    tables = start(engine, lengths)
    engine._graphs, _ = graphs_of(engine)
    with torch.inference_mode():
        engine._attention.fill_pages([tables[0][0]], float("nan"))
    bad, good, wrong = engine.run(
        Batch([*(Row([9], n, t, (0,), GREEDILY) for n, t in zip(lengths, tables, strict=True)), Row([-1], 0, [9])])
    )
    assert "not finite" in str(bad.error)
    assert good.error is None
    assert good.readings[0].sampled is not None
    assert "vocabulary" in str(wrong.error)


def test_where_nothing_can_be_captured_steps_go_on(engine, caplog):
    lengths = [10, 12]
    tables = start(engine, lengths)

    def fail(body):
        raise RuntimeError("no graphs here")

    plain = decode(engine, lengths, tables, GREEDILY)
    engine._graphs = DecodeGraphs(Planner(), lambda *_: None, draw, engine._drawn, fail)
    assert [r.readings for r in decode(engine, lengths, tables, GREEDILY)] == [r.readings for r in plain]
    assert "no graphs here" in str(caplog.records[0].exc_info)


@pytest.mark.parametrize("readings", [GREEDILY, WARM, EVERYTHING], ids=["greedy", "warm", "everything"])
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
def test_steps_that_follow_steps_in_flight_draw_the_same(engine, readings, graphs):
    """A prompt, then decodes, then decodes beside a new prompt, each launched before the one before it is over; rows
    change their places."""
    prompts = [text(n, i) for i, n in enumerate((15, 16, 33))]
    tables = [list(range(1 + 4 * i, 5 + 4 * i)) for i in range(4)]
    plan: list[list[int]] = [[0, 1, 2], [0, 1, 2], [2, 0], [0, 2], [2, 0, 3], [3, 0, 2], [0, 2, 3]]
    prompts.append(text(20, 9))

    def step(before: list[int], now: list[int], started: list[int]) -> Batch:
        rows: list[Row] = []
        for i in now:
            if started[i]:
                row = Row((0,), started[i], tables[i], (0,), readings, follows=before.index(i))
            else:
                row = Row(prompts[i], 0, tables[i], (len(prompts[i]) - 1,), readings)
            started[i] = row.start + len(row.tokens)
            rows.append(row)
        return Batch(rows)

    async def ahead() -> list[list[int]]:
        drawn: list[list[int]] = [[] for _ in prompts]
        started, before, flights = [0] * 4, [], []
        for now in plan:
            flights.append((now, engine.launch(step(before, now, started))))
            before = now
            if len(flights) == 2:
                first, results = flights.pop(0)
                take(drawn, first, await results)
        for first, results in flights:
            take(drawn, first, await results)
        return drawn

    def take(drawn: list[list[int]], now: list[int], results: list[RowResult]) -> None:
        for i, result in zip(now, results, strict=True):
            assert result.error is None
            drawn[i].append(result.readings[0].sampled)

    if graphs:
        engine._graphs, counted = graphs_of(engine)
        engine._reader = ThreadPoolExecutor(1)
    found = asyncio.run(ahead())
    engine._graphs = engine._reader = None
    for i, prompt in enumerate(prompts):
        tokens = list(prompt)
        for token in found[i]:
            [result] = engine.run(Batch([Row(tokens, 0, tables[i], (len(tokens) - 1,), readings)]))
            assert result.readings[0].sampled == token
            tokens.append(token)
    if graphs:
        assert counted.captured


def test_steps_that_were_captured_are_queued_at_once(engine):
    """By the caller; the worker queues the others, and all are queued in the order of the calls."""
    tables = start(engine, [10, 12])
    engine._graphs, _ = graphs_of(engine)
    engine._reader = ThreadPoolExecutor(1)
    queued: list[tuple[str, int]] = []
    captured, begin = engine._queue_captured, engine._begin

    def spy_captured(batch):
        finish = captured(batch)
        if finish is not None:
            queued.append(("at once", len(batch.rows)))
        return finish

    def spy_begin(batch):
        queued.append(("beside", len(batch.rows)))
        return begin(batch)

    engine._queue_captured, engine._begin = spy_captured, spy_begin
    rows = [Row([9], n, t, (0,), GREEDILY) for n, t in zip((10, 12), tables, strict=True)]

    async def launch() -> None:
        first = engine.launch(Batch(rows))  # it has still to be captured
        second = engine.launch(Batch(rows))  # and this waits for it
        assert queued == []
        assert await first == await second
        third = engine.launch(Batch(rows))
        assert queued == [("beside", 2), ("at once", 2), ("at once", 2)]
        await third
        fourth = engine.launch(Batch([Row([9, 8], 10, tables[0], (1,), GREEDILY)]))
        fifth = engine.launch(Batch(rows))
        assert (await fifth)[0].error is (await fourth)[0].error is None
        assert queued[3:] == [("beside", 1), ("at once", 2)]

    asyncio.run(launch())


def test_what_most_steps_need_is_captured_beforehand(engine):
    graphs, counted = graphs_of(engine)
    assert graphs.warm() == graphs.warm() == counted.captured == len(BUCKETS)
    assert graphs.ready(3, 5)
    assert not graphs.ready(3, LEAST_WIDTH + 1)
    assert not graphs.ready(BUCKETS[-1] + 1, 5)
