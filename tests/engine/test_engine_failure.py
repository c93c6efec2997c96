"""What goes wrong in a row stays in it: numbers that are not finite, and memory that runs out at any point of a step.

The others' results are bit-identical to those beside a healthy row (semantics 9), as is what they wrote.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_engine_graphs import graphs_of
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from parity.parity_checkpoints import make_checkpoint
from symphony.engine import local
from symphony.engine.batch import Packed
from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, EntryCopy, Readings, Row, RowResult, Sampling
from symphony.engine.scarcity import FAILED, is_scarcity
from symphony.engine.weights import Checkpoint
from symphony.errors import NoSpace

NAN, INFINITE, MINUS = 77, 78, 79
"""Tokens whose embeddings are not finite."""
ASK = Readings(sample=GREEDY, top_k=3)
DRAW = Readings(sample=Sampling(temperature=0.8, top_k=20, repetition_penalty=1.2, seed=3), entropy=True)
NUCLEUS = Readings(sample=Sampling(temperature=0.8, top_p=0.9, seed=4), logprobs=(5, 6))


@pytest.fixture(scope="module", params=["llama-2", "mistral, window 24", "qwen3 mha"])
def engine(request, tmp_path_factory):
    yield from loaded(request.param, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def one_engine(tmp_path_factory):
    yield from loaded("llama-2", tmp_path_factory.mktemp("models"))


def loaded(name: str, root: Path) -> Iterator[LocalEngine]:
    directory = make_checkpoint(name, root, vocab_size=512)
    weights = load_file(directory / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    embedding[NAN, 3] = torch.nan
    embedding[INFINITE] = torch.inf
    embedding[MINUS, 5] = -torch.inf
    embedding[0, 0] = torch.nan  # what padding is made of
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    engine = LocalEngine.load(str(directory), device="cpu", pages=64, host_pages=0, threads=1)
    yield engine
    engine.close()


def text(seed: int, count: int) -> list[int]:
    return [100 + (seed * 97 + i * 31) % 400 for i in range(count)]


def table(seed: int) -> list[int]:
    return [1 + 4 * seed + i for i in range(4)]


def prompts() -> list[Row]:
    """Six rows of different kinds; the bad one is put in between."""
    lengths, asked = (20, 1, 33, 17, 40, 5), (ASK, ASK, DRAW, NUCLEUS, ASK, Readings())
    rows = [Row(text(i, n), 0, table(i), [n - 1], a) for i, (n, a) in enumerate(zip(lengths, asked, strict=True))]
    rows[5].outputs = ()
    return rows


def decodes() -> list[Row]:
    return [Row(text(i + 20, 1), len(r.tokens), r.block_table, [0], r.readings) for i, r in enumerate(prompts())]


def pages(engine: LocalEngine) -> list[torch.Tensor]:
    """Of the six rows: K/V of every layer, as bits."""
    return [pool[:, :, 1:25].view(torch.int32).clone() for pool in engine._attention.pool]


def run(engine: LocalEngine, rows: list[Row], guest: Row) -> tuple[list[RowResult], RowResult]:
    results = engine.run(Batch([*rows[:3], guest, *rows[3:]]))
    return results[:3] + results[4:], results[3]


def assert_same(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("bad", [NAN, INFINITE, MINUS])
@pytest.mark.parametrize("at", [0, 9, 24])
@pytest.mark.parametrize("outputs", [(24,), (), range(25)])
def test_a_prompt_that_is_not_finite(engine, bad, at, outputs):
    healthy, poisoned = (Row(text(50, 25), 0, table(8), outputs, ASK) for _ in range(2))
    poisoned.tokens = [*poisoned.tokens[:at], bad, *poisoned.tokens[at + 1 :]]
    expected, _ = run(engine, prompts(), healthy)
    before = pages(engine)
    got, failed = run(engine, prompts(), poisoned)
    assert failed.error == "the model computed a value that is not finite"
    assert failed.readings == []
    assert got == expected
    assert_same(pages(engine), before)
    assert [r.error for r in got] == [None] * 6
    assert all(bool(pool[:, :, 1:].isfinite().all()) for pool in engine._attention.pool), "nothing of it is left"


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("bad", [NAN, INFINITE, MINUS])
def test_a_decode_that_is_not_finite(engine, bad, graphs, monkeypatch):
    """In graphs (a stand-in) the rows that a bucket lacks are of a token whose embedding is not finite either."""
    run(engine, prompts(), Row(text(50, 30), 0, table(8)))
    if graphs:
        monkeypatch.setattr(engine, "_graphs", graphs_of(engine)[0])
    expected, fine = run(engine, decodes(), Row([200], 30, table(8), [0], ASK))
    before = pages(engine)
    got, failed = run(engine, decodes(), Row([bad], 30, table(8), [0], ASK))
    assert fine.error is None
    assert failed.error == "the model computed a value that is not finite"
    assert got == expected
    assert [r.error for r in got] == [None] * 6
    assert_same(pages(engine), before)
    assert engine.run(Batch([Row([200], 30, table(8), [0], ASK)]))[0].error is None, "the file goes on without it"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_not_finite(engine, value, monkeypatch):
    """Of one row, though all that it wrote is fine."""
    guest = Row(text(50, 25), 0, table(8), [24], ASK)
    expected, _ = run(engine, prompts(), guest)
    before = pages(engine)
    forward = engine._forward

    def spoilt(packed: Packed) -> tuple[torch.Tensor | None, torch.Tensor]:
        logits, health = forward(packed)
        assert logits is not None
        logits[packed.owners.index(3), 400] = value
        return logits, health

    monkeypatch.setattr(engine, "_forward", spoilt)
    got, failed = run(engine, prompts(), guest)
    assert "not finite" in str(failed.error)
    assert got == expected
    assert_same(pages(engine), before)


# ---- memory ----------------------------------------------------------------------------------------------------------


class Scarce(TorchDispatchMode):
    """Memory as torch's operations see it: the `first`-th one fails, and as many after it as `count` says."""

    def __init__(self, first: int, count: int) -> None:
        super().__init__()
        self.seen, self.failed = 0, 0
        self._range = range(first, first + count)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += 1
        if self.seen - 1 in self._range:
            self.failed += 1
            raise torch.OutOfMemoryError(f"no memory for {func}")
        return func(*args, **(kwargs or {}))


def a_step() -> Batch:
    """Everything that a step may hold."""
    new = Row(text(50, 25), 0, table(8), [24], ASK)
    batch = Batch([*decodes(), new], copies=[(3, 60)], entries=[EntryCopy(1, 2, 61, 5, 4, 3)], poison=[62])
    batch.rows[4].readings = DRAW
    return batch


def everything(engine: LocalEngine) -> list[torch.Tensor]:
    return [pool[:, :, 1:].view(torch.int32).clone() for pool in engine._attention.pool]


@torch.inference_mode()
def test_memory_that_runs_out_for_a_moment_at_any_point_changes_nothing(one_engine):
    run(one_engine, prompts(), Row(text(50, 30), 0, table(8)))
    with Scarce(-1, 1) as counted:
        expected = one_engine.run(a_step())
    after = everything(one_engine)
    assert counted.seen > 60
    for first in range(0, counted.seen, 2):
        with Scarce(first, 1) as scarce:
            assert one_engine.run(a_step()) == expected, f"operation {first} of {counted.seen}"
        assert scarce.failed == 1
        assert_same(everything(one_engine), after)


def attempt(engine: LocalEngine, batch: Batch) -> list[RowResult]:
    """A step that may be lost."""
    try:
        return engine.run(batch)
    except torch.OutOfMemoryError:
        return []


@torch.inference_mode()
def test_memory_that_does_not_come_back_fails_the_step_and_leaves_the_engine_usable(one_engine):
    run(one_engine, prompts(), Row(text(50, 30), 0, table(8)))
    expected = one_engine.run(a_step())
    for first in (0, 1, 5, 20, 50, 100):
        with Scarce(first, 1 << 30):
            results = attempt(one_engine, a_step())
        assert all(r.error == FAILED for r in results), "rows fail, or all of the step is lost"
        run(one_engine, prompts(), Row(text(50, 30), 0, table(8)))
        assert one_engine.run(a_step()) == expected


def test_only_rows_that_do_not_fit_fail(one_engine, monkeypatch):
    """A step needs too much, and so does one row of it alone."""
    forward = one_engine._forward
    sizes: list[int] = []

    def small(packed):
        sizes.append(len(packed.ids))
        if len(packed.ids) > 45:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return forward(packed)

    wide = Row(text(50, 60), 0, table(8), [59], ASK)
    expected, _ = run(one_engine, prompts(), wide)
    monkeypatch.setattr(one_engine, "_forward", small)
    got, failed = run(one_engine, prompts(), wide)
    assert failed.error == FAILED
    assert [r.error for r in got] == [None] * 6
    assert sizes[0] == sizes[1] > 45
    for one, other in zip(got, expected, strict=True):  # batches of another shape: equal but for rounding
        assert [r.sampled for r in one.readings] == [r.sampled for r in other.readings]
    assert not any(pool[:, :, table(8)].any() for pool in one_engine._attention.pool), "nothing of it is left"


def test_other_failures_are_not_repeated(one_engine, monkeypatch):
    calls: list[int] = []

    def broken(packed):
        calls.append(1)
        raise RuntimeError("a bug")

    monkeypatch.setattr(one_engine, "_forward", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        one_engine.run(Batch(prompts()))
    assert calls == [1]
    assert not is_scarcity(ValueError("out of memory"))
    assert is_scarcity(MemoryError())


def test_memory_that_runs_out_while_loading(tmp_path, monkeypatch):
    directory = make_checkpoint("qwen2", tmp_path, vocab_size=64)
    load, threads = local._load, threading.active_count()
    seen: list[int] = []

    def scarce(first: int) -> Any:
        def inner(*arguments: Any) -> Any:
            with Scarce(first, 1) as mode:
                try:
                    return load(*arguments)
                finally:
                    seen.append(mode.seen)

        return inner

    def get(self: Checkpoint, name: str) -> torch.Tensor:
        with _disable_current_modes():  # files are mapped, and the library takes our exceptions for something else
            return read(self, name)

    read = Checkpoint.get
    monkeypatch.setattr(Checkpoint, "get", get)
    monkeypatch.setattr(local, "_load", scarce(-1))
    LocalEngine.load(str(directory), device="cpu", pages=8, host_pages=2, threads=1).close()
    for first in range(0, seen[0], 7):
        monkeypatch.setattr(local, "_load", scarce(first))
        with pytest.raises(NoSpace, match=r"not fit into memory") as caught:
            LocalEngine.load(str(directory), device="cpu", pages=8, host_pages=2, threads=1)
        assert caught.value.hint
    assert threading.active_count() <= threads + 1
