"""Training, at a small size: the loss falls, a training that is cut goes on exactly, what is exported is the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from symphony.engine.local import LocalEngine
from symphony.engine.messages import Batch, Readings, Row
from tiny import checkpoint, tokens
from tiny.export import export
from tiny.model import Model, Shape
from tiny.train import Plan, making, train

SMALL = Shape(512, 32, 2, 16, 1, 48, 2048)
PLAN = Plan(steps=30, size=768, warm_up=4, save_every=12)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    tokens.train_tokenizer(SMALL.vocab_size, 60).save(str(path))
    return path


@pytest.fixture(scope="module")
def trained(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, list[str], Path]:
    out, told = tmp_path_factory.mktemp("whole"), list[str]()
    with making(vocabulary, PLAN, workers=0) as batches:
        model = train("small", SMALL, PLAN, batches, out, tell=told.append)
    assert model is not None
    return model, told, out


def test_batches_are_the_same_for_everybody(vocabulary: Path) -> None:
    tokenizer = tokens.load(vocabulary)
    first, again = (tokens.batch(tokenizer, 1, 3, 1000) for _ in range(2))
    assert first.tokens.tolist() == again.tokens.tolist()
    assert first.bounds[0] == 0
    assert first.bounds[-1] == 1000 == len(first.weights)
    assert all(first.positions[start] == 0 == first.weights[start] for start in first.bounds[:-1])


def test_the_loss_falls(vocabulary: Path, trained: tuple[Model, list[str], Path]) -> None:
    fresh = tokens.batch(tokens.load(vocabulary), PLAN.seed, 1000, PLAN.size)
    given = (torch.from_numpy(fresh.tokens), torch.from_numpy(fresh.positions))
    due = torch.from_numpy(fresh.weights)[1:]

    def loss(model: Model) -> float:
        with torch.no_grad():
            logits = model(*given, torch.tensor(fresh.bounds, dtype=torch.int32))[:-1]
        return float(
            (torch.nn.functional.cross_entropy(logits, given[0][1:], reduction="none") * due).sum() / due.sum()
        )

    assert loss(trained[0]) < loss(Model(SMALL)) - 0.2


def test_a_training_that_is_cut_goes_on_exactly(
    vocabulary: Path, trained: tuple[Model, list[str], Path], tmp_path: Path
) -> None:
    pieces = 0
    model: Model | None = None
    with making(vocabulary, PLAN, workers=0) as batches:
        while model is None:
            until = time.monotonic() if pieces < 2 else float("inf")
            model = train("small", SMALL, PLAN, batches, tmp_path, until=until, tell=lambda _: None)
            pieces += 1
    assert pieces == 3
    for name, tensor in trained[0].state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_a_draft_learns_of_its_teacher(
    vocabulary: Path, trained: tuple[Model, list[str], Path], tmp_path: Path
) -> None:
    told: list[str] = []
    teacher = trained[0].requires_grad_(False)
    with making(vocabulary, PLAN, workers=0) as batches:
        train("draft", SMALL, Plan(3, 512), batches, tmp_path, teacher=teacher, tell=told.append)
    assert told[-1].startswith("draft: step 3 of 3")
    teacher.requires_grad_(True)


def test_files_of_a_checkpoint_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MOST", 4096)
    kept = {f"t{i}": torch.full((600,), float(i)) for i in range(4)}
    checkpoint.save(tmp_path / "state", kept, {"step": 1})
    assert len(list((tmp_path / "state").glob("part-*"))) == 4
    checkpoint.save(tmp_path / "state", kept, {"step": 2})
    found = checkpoint.load(tmp_path / "state")
    assert found is not None
    assert found[1] == {"step": 2}
    assert all(torch.equal(found[0][name], tensor) for name, tensor in kept.items())
    with pytest.raises(ValueError, match="5000 has"):
        checkpoint.save(tmp_path / "other", {"5000": torch.zeros(1250)}, {})


def test_what_is_exported_is_the_model(
    vocabulary: Path, trained: tuple[Model, list[str], Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model = trained[0]
    export(model, vocabulary, tmp_path / "hf", torch.float32)
    ids = tokens.load(vocabulary).encode("<|im_start|>user\nWhat is 17 + 26?<|im_end|>\n").ids
    bounds = torch.tensor([0, len(ids)], dtype=torch.int32)
    with torch.no_grad():
        ours = model(torch.tensor(ids), torch.arange(len(ids)), bounds)[-1].log_softmax(-1)
        loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
        theirs = loaded(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    engine = LocalEngine.load(str(tmp_path / "hf"), device="cpu", threads=1, pages=8, host_pages=0)
    rows = [Row(ids, 0, list(range(1, 2 + len(ids) // engine.info.page_size)), (len(ids) - 1,), Readings(top_k=20))]
    [result] = asyncio.run(engine.step(Batch(rows)))
    engine.close()
    assert result.error is None
    read = dict(zip(result.readings[0].top_ids, result.readings[0].top_logprobs, strict=True))
    assert (ours - theirs).abs().max() < 1e-4
    assert max(abs(value - float(ours[token])) for token, value in read.items()) < 1e-4
