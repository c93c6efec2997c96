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
from tiny.making import Order, making
from tiny.model import Model, Shape
from tiny.train import How, Plan, Training, train

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
def trained(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    training = Training(SMALL, How())
    with making(vocabulary, workers=0) as make:
        assert train(training, PLAN, make, tmp_path_factory.mktemp("whole"), tell=lambda _: None)
    return training.model


def test_batches_are_the_same_for_everybody(vocabulary: Path) -> None:
    orders = [Order(1, number, 3000, short=False) for number in range(3)]
    with making(vocabulary, workers=0) as here, making(vocabulary, workers=1) as there:
        made = list(zip(here(orders), there(orders), strict=True))
    assert len(made) == 3
    for first, again in made:
        assert first.rows.tolist() == again.rows.tolist()
        assert first.bounds.tolist() == again.bounds.tolist()
        assert all(first.rows[2, start] == 0 == first.rows[1, start] for start in first.bounds[:-1] if start < 3000)
    assert {len(batch.bounds) for batch, _ in made} == {len(made[0][0].bounds)}


def test_a_batch_of_tiny_documents_ends_with_nothing(vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LEAST", 3000)
    packed = tokens.batch(tokens.load(vocabulary), 1, 0, 6000)
    written = int(packed.bounds[2])
    assert not packed.rows[:2, written:].any()
    assert (packed.bounds[1:] - packed.bounds[:-1]).max() <= tokens.LONGEST
    assert packed.bounds[-1] == 6000


def test_calls_and_thoughts_are_part_of_an_answer(vocabulary: Path) -> None:
    known = tokens.load(vocabulary)
    said = "<think>1 + 1 = 2</think><tool_call>{}</tool_call>"
    assert known.decode(known.encode(f"{said}<|im_end|>").ids) == said


def test_what_the_assistant_writes_weighs_more(vocabulary: Path) -> None:
    known = tokens.load(vocabulary)
    encoded = known.encode("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n")
    head = torch.tensor(known.encode("<|im_start|>assistant\n").ids).numpy()
    ids = torch.tensor(encoded.ids).numpy()
    found = tokens.weights(ids, head)
    assert known.decode(ids[found == tokens.TENTHS].tolist(), skip_special_tokens=False) == "Hello<|im_end|>"
    assert found[0] == 0


def test_the_loss_falls(vocabulary: Path, trained: Model) -> None:
    packed = tokens.batch(tokens.load(vocabulary), PLAN.seed, 1000, PLAN.size)
    given, due, positions = torch.from_numpy(packed.rows).long()

    def loss(model: Model) -> float:
        with torch.no_grad():
            logits = model(given, positions, torch.from_numpy(packed.bounds))[:-1]
        each = torch.nn.functional.cross_entropy(logits, given[1:], reduction="none")
        return float((each * due[1:]).sum() / due.sum())

    assert loss(trained) < loss(Model(SMALL)) - 0.2


def test_a_training_that_is_cut_goes_on_exactly(vocabulary: Path, trained: Model, tmp_path: Path) -> None:
    pieces, finished = 0, False
    training = Training(SMALL, How())
    with making(vocabulary, workers=0) as make:
        while not finished:
            training = Training(SMALL, How())
            training.resume(tmp_path / "state")
            until = time.monotonic() if pieces < 2 else float("inf")
            finished = train(training, PLAN, make, tmp_path / "state", until, tell=lambda _: None)
            pieces += 1
    assert pieces == 3
    assert training.planned == PLAN.steps
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, training.model.state_dict()[name]), name


def test_finding_the_pace_changes_nothing(vocabulary: Path) -> None:
    fresh, measured = Training(SMALL, How()), Training(SMALL, How())
    packed = [tokens.batch(tokens.load(vocabulary), 1, number, 500) for number in range(5)]
    assert measured.pace(iter(packed[:4])) > 0
    for training in (fresh, measured):
        training.step(packed[4], 1.0)
    for name, tensor in fresh.model.state_dict().items():
        assert torch.equal(tensor, measured.model.state_dict()[name]), name


def test_a_draft_learns_of_its_teacher(vocabulary: Path, trained: Model, tmp_path: Path) -> None:
    told: list[str] = []
    training = Training(SMALL, How(), trained.requires_grad_(False))
    with making(vocabulary, workers=0) as make:
        assert train(training, Plan(3, 512), make, tmp_path, tell=told.append)
    assert told[-1].startswith("step 3 of 3")
    trained.requires_grad_(True)


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


def test_what_is_exported_is_the_model(vocabulary: Path, trained: Model, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = trained
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
