"""Pages that leave the device come back bit for bit, beside steps; freed pages are poisoned; copies that cannot be."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
import torch
from kv_files import File, Pool

from parity.parity_driver import make_model
from symphony.engine.local import POISON, LocalEngine
from symphony.engine.messages import Batch, EntryCopy, Row
from symphony.errors import InternalError

LENGTHS = (15, 16, 17, 31, 33)


@pytest.fixture(scope="module", params=["tiny", "small-gqa"])
def engine(request, tmp_path_factory):
    directory = make_model(request.param, tmp_path_factory.mktemp("models"))
    engine = LocalEngine.load(str(directory), device="cpu", pages=400, host_pages=40, threads=1)
    yield engine
    engine.close()


def tokens(seed: int, count: int) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(11, 4096) for _ in range(count)]


def entries(engine: LocalEngine, file: File) -> torch.Tensor:
    """The K/V of a file: [layers, 2, kv_heads, entries, head_dim]."""
    pages = torch.stack(engine._attention.pool)[:, :, :, file.pages]
    return pages.flatten(3, 4)[:, :, :, : file.length].clone()


async def swap_out(engine: LocalEngine, file: File, slots: list[int]) -> None:
    """Move out, then let the pages' next owner overwrite them."""
    await engine.move(list(zip(file.pages, slots, strict=True)), [])
    await engine.step(Batch([], poison=file.pages))
    file.pages = []


async def swap_in(engine: LocalEngine, file: File, slots: list[int]) -> None:
    """Move back, to other pages than before."""
    file.pages = [file.pool.page() for _ in slots]
    await engine.move([], list(zip(slots, file.pages, strict=True)))


@pytest.mark.parametrize("length", LENGTHS)
def test_a_file_that_was_away_goes_on_as_if_it_had_not_been(engine, length):
    pool = Pool(engine)
    undisturbed, file = File(pool), File(pool)
    for each in (undisturbed, file):
        each.pred(tokens(length, length))
    slots = random.Random(length).sample(range(40), len(file.pages))
    before = entries(engine, file)

    async def away() -> None:
        await swap_out(engine, file, slots)
        await swap_in(engine, file, slots)

    for token in (50, 60):
        asyncio.run(away())
        assert torch.equal(entries(engine, file)[:, :, :, :length], before)
        same, got = undisturbed.greedy(token, 6), file.greedy(token, 6)
        assert got[0] == same[0]
        assert torch.equal(got[1], same[1])
        slots = slots + [slot for slot in range(40) if slot not in slots][: len(file.pages) - len(slots)]
    assert torch.equal(entries(engine, file), entries(engine, undisturbed))


@pytest.mark.parametrize("length", LENGTHS)
def test_derived_entries_that_were_away(engine, length):
    pool = Pool(engine)
    source, undisturbed, file = File(pool), File(pool), File(pool)
    source.pred(tokens(length, length))
    for each in (undisturbed, file):
        pool.run([], entries=each.take(source, [(2, length)], [11]))
    slots = list(range(len(file.pages)))

    async def away() -> None:
        await swap_out(engine, file, slots)
        await swap_in(engine, file, slots)

    asyncio.run(away())
    assert torch.equal(entries(engine, file), entries(engine, undisturbed))
    same, got = undisturbed.greedy(70, 6), file.greedy(70, 6)
    assert got[0] == same[0]
    assert torch.equal(got[1], same[1])


def test_moves_run_beside_steps_and_beside_each_other(engine):
    """Each file is out and back many times while another one decodes; nobody notices."""
    pool = Pool(engine)
    decoding, files = File(pool), [File(pool) for _ in range(3)]
    for i, each in enumerate([decoding, *files]):
        each.pred(tokens(i, 40))
    before = [entries(engine, file) for file in files]
    alone = File(pool)
    alone.pred(tokens(0, 40))
    expected = alone.greedy(5, 20)[0]
    out: list[int] = []

    async def travel(file: File, slots: list[int]) -> int:
        trips = 0
        while len(out) < 20:
            await engine.move(list(zip(file.pages, slots, strict=True)), [])
            file.pages = file.pages[1:] + file.pages[:1]  # its own pages, in another order
            await engine.move([], list(zip(slots, file.pages, strict=True)))
            trips += 1
        return trips

    async def decode() -> None:
        token = 5
        while len(out) < 20:
            [result] = await engine.step(Batch([decoding.row([token], (0,))]))
            assert result.error is None
            token = result.readings[0].sampled
            out.append(token)

    async def scenario() -> list[int]:
        trips = [travel(file, list(range(4 * i, 4 * i + len(file.pages)))) for i, file in enumerate(files)]
        return (await asyncio.gather(decode(), *trips))[1:]

    trips = asyncio.run(scenario())
    assert out == expected
    assert min(trips) > 2
    for file, kv in zip(files, before, strict=True):
        assert torch.equal(entries(engine, file), kv)


def test_a_move_leaves_the_loop_free_and_cannot_be_abandoned(engine, monkeypatch):
    pool = Pool(engine)
    file = File(pool)
    file.pred(tokens(1, 20))
    attention, gate = engine._attention, threading.Event()
    save = attention.save_pages
    done: list[object] = []

    def slow(*arguments) -> None:
        gate.wait(10)
        save(*arguments)
        done.append(arguments)

    monkeypatch.setattr(attention, "save_pages", slow)

    async def scenario() -> None:
        move = asyncio.ensure_future(engine.move([(file.pages[0], 0)], []))
        await asyncio.sleep(0)
        move.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not move.done()  # the page is still being read
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await move
        assert done

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["save_pages", "load_pages"])
def test_a_move_that_fails_leaves_its_sources_intact(engine, monkeypatch, way):
    pool = Pool(engine)
    file = File(pool)
    file.pred(tokens(1, 40))
    before = entries(engine, file)
    slots = [3, 1, 2]
    asyncio.run(engine.move(list(zip(file.pages, slots, strict=True)), []))
    calls = []

    def failing(*arguments) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("the bus is on fire")
        original(*arguments)

    original = getattr(engine._attention, way)
    monkeypatch.setattr(engine._attention, way, failing)
    monkeypatch.setattr(engine._tier, "_part", 1)
    others = [pool.page() for _ in slots]
    out = list(zip(file.pages, [7, 8, 9], strict=True)) if way == "save_pages" else []
    back = [] if out else list(zip(slots, others, strict=True))
    with pytest.raises(RuntimeError, match="on fire"):
        asyncio.run(engine.move(out, back))
    assert len(calls) == 2
    monkeypatch.undo()
    assert torch.equal(entries(engine, file), before)
    asyncio.run(engine.move([], list(zip(slots, others, strict=True))))
    file.pages = others
    assert torch.equal(entries(engine, file), before)


def test_poison_shows_in_whoever_reads_it_and_in_nobody_else(engine):
    pool = Pool(engine)
    alone, file, stale = File(pool), File(pool), File(pool)
    for each in (alone, file, stale):
        each.pred(tokens(1, 20))
    freed = [pool.page(), *stale.pages]
    pool.run([], poison=freed)
    assert bool((torch.stack(engine._attention.pool)[:, :, :, freed] == POISON).all())
    # a poisoned page serves its next owner: what is beyond his entries is masked
    owner = File(pool)
    owner.pages = list(freed)
    owner.pred(tokens(1, 20))
    clean = alone.greedy(9, 4)
    for each in (file, owner):
        got = each.greedy(9, 4)
        assert got[0] == clean[0]
        torch.testing.assert_close(got[1], clean[1], atol=1e-4, rtol=0)
    # poison comes first: the same step may use the page again
    pool.run([Row([7], 0, [freed[0]])], poison=[freed[0]])
    late = File(pool)
    late.pred(tokens(1, 20))
    pool.run([], poison=late.pages)
    [[reading]] = pool.run([late.row([9], (0,))])
    assert abs(torch.tensor(reading.logprobs) - clean[1][0]).max() > 1


BAD = [
    (Batch([], copies=[(1, 400)]), "page copy names a page outside 1..399"),
    (Batch([], poison=[0]), "poison names a page outside 1..399"),
    (Batch([], entries=[EntryCopy(1, 0, 0, 0, 1, 0)]), "not there"),
    (Batch([], entries=[EntryCopy(1, 0, 400, 0, 1, 0)]), "not there"),
    (Batch([], entries=[EntryCopy(1, 0, 2, 0, 1, 2048)]), "not there"),
    (Batch([], entries=[EntryCopy(1, 0, 2, 0, 0, 0)]), "leaves its page"),
    (Batch([], entries=[EntryCopy(1, 10, 2, 0, 7, 0)]), "leaves its page"),
    (Batch([], entries=[EntryCopy(1, 0, 2, 10, 7, 0)]), "leaves its page"),
    (Batch([], entries=[EntryCopy(1, -1, 2, 0, 2, 0)]), "leaves its page"),
    (Batch([], entries=[EntryCopy(1, 0, 2, 0, 4, 0), EntryCopy(3, 0, 2, 3, 1, 0)]), "same target"),
]


@pytest.mark.parametrize(("batch", "words"), BAD)
def test_what_cannot_be_copied(engine, batch, words):
    with pytest.raises(InternalError, match=words):
        engine.run(batch)


@pytest.mark.parametrize(("out", "back"), [([(0, 1)], []), ([(400, 1)], []), ([(1, 40)], []), ([], [(-1, 1)])])
def test_what_cannot_be_moved(engine, out, back):
    with pytest.raises(InternalError, match=r"of 1\.\.399 and host slot -?\d+ of 0\.\.39"):
        asyncio.run(engine.move(out, back))


def test_the_size_of_the_host_tier():
    default = LocalEngine.load("tiny", device="cpu", pages=16)
    assert default.info.host_pages * default.info.bytes_per_page == 1 << 30
    assert default.describe()["host tier"] == "8192 x 16 tokens, 1024 MiB"
    default.close()
    default.close()
    for dtype in ("float32", "bfloat16"):
        none = LocalEngine.load("tiny", device="cpu", dtype=dtype, pages=16, host_pages=0)
        assert none.info.host_pages == 0
        with pytest.raises(InternalError, match="host slot 0"):
            asyncio.run(none.move([(1, 0)], []))
        none.close()


def test_positions_are_what_the_context_limit_counts(engine):
    many = tokens(3, 40)
    pages = list(range(300, 303))
    [late] = engine.run(Batch([Row(many, 0, pages, [39], position=2008)]))
    assert late.error is None
    [beyond, below] = engine.run(Batch([Row(many, 0, pages, position=2009), Row(many, 0, pages, position=-2)]))
    assert "position 2048 is beyond the context limit of 2048" in (beyond.error or "")
    assert "position of at least 0" in (below.error or "")
