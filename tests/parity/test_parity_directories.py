"""Directories that transformers itself wrote, loaded and run as they are: what is generated is what its own `generate`
makes of the same prompts, stop tokens included.
"""

from __future__ import annotations

import asyncio
import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_checkpoints import make_checkpoint
from parity_desk import MOVE, Desk, run
from parity_driver import SHAPES, TINY, Comparison, Reference, tokens, write

from symphony.engine.local import LocalEngine

VOCABULARY = 64
"""So small that greedy texts meet a stop token now and then."""
COUNT = 40
"""Tokens generated at most."""
STOP = {0, 2, 20, 21, 22}
FORMS: dict[str, tuple[str, torch.dtype, int]] = {
    "llama 2": ("llama-2", torch.float16, 1),
    "llama 3": ("llama-3 tied", torch.bfloat16, 1),
    "llama, shards": ("llama biases", torch.float32, 3),
    "mistral": ("mistral, window 24", torch.bfloat16, 2),
    "qwen2": ("qwen2", torch.bfloat16, 1),
    "qwen3": ("qwen3", torch.float32, 1),
}
"""Checkpoint, type of the stored weights, files."""


def generate(directory: Path, prompts: list[list[int]], count: int) -> list[list[int]]:
    """All at once, with the directory's own stop tokens."""
    engine = LocalEngine.load(str(directory), device="cpu", pages=200, host_pages=20, threads=1)
    found: list[list[int]] = []

    async def test(desk: Desk) -> None:
        async def one(prompt: list[int]) -> list[int]:
            file = await desk.core.create(desk.session, None)
            return await desk.generate(file, prompt, count, engine.info.stop_tokens)

        found.extend(await asyncio.gather(*map(one, prompts)))

    run(engine, MOVE, test)
    engine.close()
    return found


def theirs(model: Any, prompts: list[list[int]], count: int) -> list[list[int]]:
    """What transformers generates, in one batch that is padded on the left; with the directory's generation_config."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = model.generate(ids, attention_mask=mask, max_new_tokens=count, do_sample=False, pad_token_id=1)
    return out[:, width:].tolist()


@pytest.mark.parametrize("form", FORMS)
def test_twenty_prompts(form, tmp_path):
    name, dtype, shards = FORMS[form]
    directory = make_checkpoint(name, tmp_path, dtype, shards, vocab_size=VOCABULARY)
    (directory / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": sorted(STOP)}))
    source = random.Random(3)
    prompts = [tokens(i, 1 + source.randrange(50), VOCABULARY) for i in range(20)]
    ours = generate(directory, prompts, COUNT)
    reference, comparison = Reference(directory), Comparison()
    logits = reference.logits([p + out for p, out in zip(prompts, ours, strict=True)])
    expected = theirs(reference.model, prompts, COUNT)
    for prompt, out, other, at in zip(prompts, ours, expected, logits, strict=True):
        comparison.check(at, len(prompt), out)
        if not comparison.undecided:
            assert out == other[: len(out)]
            assert len(out) == COUNT or out[-1] in STOP
            assert not STOP & set(out[:-1])
            assert set(other[len(out) :]) <= {1}, "transformers stopped there too"
    comparison.report()
    assert {out[-1] in STOP for out in ours} == {True, False}
    assert len({token for out in ours for token in out}) > 10


def test_questions_to_tiny():
    """Through the chat template and the tokenizer, too."""
    from transformers import AutoTokenizer

    reference = Reference(TINY)
    tokenizer = AutoTokenizer.from_pretrained(str(TINY))
    engine = LocalEngine.load("tiny", device="cpu", pages=8, host_pages=0)
    assert engine.chat is not None
    prompts: list[list[int]] = []
    for question in ("Hello, who are you?", "What is 12 + 30?", "Name a colour.", "Give me a list of three animals."):
        messages = [{"role": "user", "content": question}]
        text = engine.chat.render({"messages": messages, "add_generation_prompt": True})
        prompts.append(engine.tokenizer.encode(text, special=True))
        same = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
        assert prompts[-1] == list(same["input_ids"])
    engine.close()
    ours = generate(TINY, prompts, 20)
    for out, other in zip(ours, theirs(reference.model, prompts, 20), strict=True):
        assert out == other[: len(out)]


@pytest.mark.parametrize(
    "members",
    [{"rope_scaling": {"type": "linear", "factor": 4.0}}, {"rope_scaling": None, "rope_theta": 5e5, "head_dim": None}],
)
def test_how_older_releases_wrote_config_json(members, tmp_path):
    directory = write(SHAPES["small-gqa"], tmp_path, seed=1, shards=3, config=members)
    prompts = [tokens(i, 30 + i) for i in range(3)]
    ours = generate(directory, prompts, 20)
    comparison = Comparison()
    logits = Reference(directory).logits([p + out for p, out in zip(prompts, ours, strict=True)])
    for prompt, out, expected in zip(prompts, ours, logits, strict=True):
        comparison.check(expected, len(prompt), out)
    comparison.report()
