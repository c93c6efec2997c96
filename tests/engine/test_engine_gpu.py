"""The local engine on a GPU: files that were away, extracts, and moves beside steps. `pytest -m gpu`."""

from __future__ import annotations

import asyncio

import pytest
import torch
from kv_files import File, Pool

from symphony.engine.local import POISON, LocalEngine
from symphony.engine.messages import GREEDY, Batch, Readings, Row, Sampling

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


@pytest.fixture(scope="module", params=["torch", "triton"])
def engine(request):
    engine = LocalEngine.load(
        "tiny", device="cuda", dtype="float32", attention=request.param, pages=400, page_size=16, host_pages=40
    )
    yield engine
    engine.close()


def tokens(seed: int, count: int) -> list[int]:
    return [11 + (seed * 97 + i * 31) % 4000 for i in range(count)]


def entries(engine: LocalEngine, file: File) -> torch.Tensor:
    """[layers, 2, entries, kv_heads, head_dim]"""
    return engine._attention.pool[file.pages].permute(1, 2, 0, 3, 4, 5).flatten(2, 3)[:, :, : file.length].clone()


@pytest.mark.parametrize("length", [15, 16, 17, 31, 33])
def test_a_file_that_was_away_goes_on_as_if_it_had_not_been(engine, length):
    pool = Pool(engine)
    undisturbed, file = File(pool), File(pool)
    for each in (undisturbed, file):
        each.pred(tokens(length, length))
    before = entries(engine, file)
    slots = list(range(7, 7 + len(file.pages)))

    async def away() -> None:
        await engine.move(list(zip(file.pages, slots, strict=True)), [])
        await engine.step(Batch([], poison=file.pages))  # queued only: the next move must not overtake it
        file.pages = file.pages[::-1]
        await engine.move([], list(zip(slots, file.pages, strict=True)))

    asyncio.run(away())
    assert torch.equal(entries(engine, file), before)
    assert not bool((entries(engine, file) == POISON).any())
    same, got = undisturbed.greedy(50, 6), file.greedy(50, 6)
    assert got[0] == same[0]
    assert torch.equal(got[1], same[1])


@pytest.mark.parametrize("shift", [0, 300, -2])
def test_an_extract_equals_the_cpus(engine, shift):
    plain = LocalEngine.load("tiny", device="cpu", pages=200, host_pages=0, threads=1)
    got = []
    for each in (engine, plain):
        pool = Pool(each)
        source, file = File(pool), File(pool)
        source.pred(tokens(1, 40))
        copies = file.take(source, [(2, 19), (25, 40)], [shift, shift])
        pool.run([file.row(tokens(2, 3))], entries=copies)
        got.append(file.greedy(60, 8))
    plain.close()
    assert got[0][0] == got[1][0]
    torch.testing.assert_close(got[0][1], got[1][1], atol=1e-3, rtol=0)


def test_moves_beside_steps(engine):
    pool = Pool(engine)
    alone, decoding, file = File(pool), File(pool), File(pool)
    for each in (alone, decoding, file):
        each.pred(tokens(0, 90))
    expected = alone.greedy(5, 60)[0]
    before, slots = entries(engine, file), list(range(len(file.pages)))
    out: list[int] = []

    async def travel() -> None:
        while len(out) < 60:
            await engine.move(list(zip(file.pages, slots, strict=True)), [])
            file.pages = file.pages[1:] + file.pages[:1]
            await engine.move([], list(zip(slots, file.pages, strict=True)))

    async def decode() -> None:
        token = 5
        while len(out) < 60:
            [result] = await engine.step(Batch([decoding.row([token], (0,))]))
            token = result.readings[0].sampled
            out.append(token)

    async def scenario() -> None:
        await asyncio.gather(decode(), travel())

    asyncio.run(scenario())
    assert out == expected
    assert torch.equal(entries(engine, file), before)


def test_the_host_tier_is_pinned(engine):
    assert engine._tier._host.is_pinned()
    assert engine.info.host_pages == 40
    assert engine.describe()["host tier"].startswith("40 x 16 tokens")


DRAWN = Sampling(temperature=0.9, top_p=0.95, seed=5)


def decoded(rows: int, sampling: Sampling, graphs: bool) -> list[list[int]]:
    """Texts that `rows` prompts of different lengths grow into, while pages move."""
    engine = LocalEngine.load(
        "tiny", device="cuda", dtype="float32", attention="triton", pages=600, page_size=16, graphs=graphs
    )
    readings = Readings(sample=sampling, top_k=3)
    texts = [tokens(i, 13 + 9 * i) for i in range(rows)]
    tables = [list(range(1 + 20 * i, 21 + 20 * i)) for i in range(rows)]
    engine.run(Batch([Row(text, 0, table) for text, table in zip(texts, tables, strict=True)]))

    async def decode() -> None:
        moving = asyncio.ensure_future(engine.move([(590 + i, i) for i in range(8)], []))
        for _ in range(12):
            batch = [Row([t[-1]], len(t) - 1, p, (0,), readings) for t, p in zip(texts, tables, strict=True)]
            for text, result in zip(texts, await engine.step(Batch(batch)), strict=True):
                assert result.error is None
                text.append(result.readings[0].sampled)
        await moving

    asyncio.run(decode())
    assert bool(engine._graphs and engine._graphs._graphs) == graphs
    engine.close()
    return texts


@pytest.mark.parametrize("rows", [1, 3, 16, 20])
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_graphs_say_what_single_launches_say(rows, sampling):
    """Several buckets, block tables of several widths, moves while graphs are captured."""
    assert decoded(rows, sampling, graphs=True) == decoded(rows, sampling, graphs=False)
