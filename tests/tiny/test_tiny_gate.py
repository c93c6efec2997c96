"""The models that the recipe made keep what they can: plain items of each task; `symphony bench tiny` has the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from symphony.bench.report import Report
from symphony.engine.local import LocalEngine
from symphony.engine.messages import Batch, Readings, Row
from tiny.evaluate import BY_NAME, as_lines, measure_all
from tiny.pen import Manner

TRAINED = Path(__file__).parents[2] / "tiny" / "trained"
BOUNDS = {
    "tool calls": 0.9,
    "JSON extraction": 0.9,
    "citations": 0.9,
    "recall": 0.9,
    "two-digit sums": 0.9,
    "lists": 0.9,
    "ReAct": 0.9,
}
"""All of which are above 0.97 over 200 items (docs/tiny.md)."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_trained_model_answers() -> None:
    engine = LocalEngine.load(str(TRAINED / "tiny"), device="cpu", threads=1, pages=1024, host_pages=0)
    report = Report("gate")
    measures = [BY_NAME[name] for name in BOUNDS]
    missed = asyncio.run(measure_all(report, engine, measures, [Manner.PLAIN], 8))
    engine.close()
    low = [figure for figure in report.figures if figure.value < BOUNDS[figure.name.removesuffix(", plain")]]
    assert not low, "\n".join(as_lines(missed, 3))


@pytest.mark.parametrize(("name", "most"), [("tiny", 15_000_000), ("tiny-draft", 2_000_000)])
def test_transformers_agrees_and_the_weights_are_small(name: str, most: int) -> None:
    from transformers import AutoModelForCausalLM

    directory = TRAINED / name
    assert (directory / "model.safetensors").stat().st_size <= most
    engine = LocalEngine.load(str(directory), device="cpu", threads=1, pages=8, host_pages=0)
    ids = engine.tokenizer.encode("<|im_start|>user\nWhat is 17 + 26?<|im_end|>\n<|im_start|>assistant\n", special=True)
    pages = list(range(1, 2 + len(ids) // engine.info.page_size))
    every = tuple(range(engine.info.vocab_size))
    [result] = asyncio.run(engine.step(Batch([Row(ids, 0, pages, (len(ids) - 1,), Readings(logprobs=every))])))
    engine.close()
    assert result.error is None
    loaded: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        theirs = loaded(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    assert (torch.tensor(list(result.readings[0].logprobs)) - theirs).abs().max() < 1e-4
