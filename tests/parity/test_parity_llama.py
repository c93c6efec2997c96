"""The engine computes what transformers computes on the same weights: prefill, chunks, decodes, forks, batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity_driver import Driver, Sequence_, assert_close, load_reference, make_model, tokens

from symphony.engine.local import LocalEngine

MODELS = ("tiny", "small-gqa", "small-mha", "small-mqa", "small-untied", "small-wide-heads")


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    directory = make_model(request.param, tmp_path_factory.mktemp("models"))
    engine = LocalEngine.load(str(directory), device="cpu", pages=1024, threads=2)
    yield engine, load_reference(directory)
    engine.close()


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 33, 64])
def test_a_prompt_at_once(model, length):
    engine, reference = model
    prompt = tokens(length, length)
    driver = Driver(engine)
    (got,) = driver.logprobs([(Sequence_(driver), prompt)])
    assert_close(got, reference(prompt))


@pytest.mark.parametrize("scatter", [True, False])
@pytest.mark.parametrize(
    "chunks", [(16, 16, 16), (15, 2, 31), (1, 33, 5), (40, 1, 1, 1, 70), (300, 100), (330, 90, 1, 3)]
)
def test_a_prompt_in_chunks(model, chunks, scatter):
    engine, reference = model
    prompt = tokens(7, sum(chunks))
    driver = Driver(engine, scatter)
    sequence, got, at = Sequence_(driver), [], 0
    for n in chunks:
        got += driver.logprobs([(sequence, prompt[at : at + n])])
        at += n
    assert_close(torch.cat(got), reference(prompt))


@pytest.mark.parametrize("scatter", [True, False])
@pytest.mark.parametrize("length", [15, 16, 17, 31, 33, 340])
def test_decodes_one_by_one(model, length, scatter):
    engine, reference = model
    prompt, more = tokens(length, length), tokens(length + 1, 18)
    driver = Driver(engine, scatter)
    sequence = Sequence_(driver)
    got = driver.logprobs([(sequence, prompt)])
    for token in more:
        got += driver.logprobs([(sequence, [token])])
    assert_close(torch.cat(got), reference(prompt + more))


def test_eight_sequences_of_mixed_lengths_together(model):
    engine, reference = model
    lengths = [1, 15, 16, 17, 31, 33, 150, 400]
    prompts = [tokens(i, n + 20) for i, n in enumerate(lengths)]
    driver = Driver(engine)
    sequences = [Sequence_(driver) for _ in lengths]
    got = [[x] for x in driver.logprobs([(s, p[:n]) for s, p, n in zip(sequences, prompts, lengths, strict=True)])]
    at = list(lengths)
    for step in range(6):  # decodes, appends and both in one batch
        new = [1 if step % 2 else 1 + (i + step) % 5 for i in range(8)]
        work = [(s, p[a : a + n]) for s, p, a, n in zip(sequences, prompts, at, new, strict=True)]
        for into, x in zip(got, driver.logprobs(work), strict=True):
            into.append(x)
        at = [a + n for a, n in zip(at, new, strict=True)]
    for prompt, a, parts in zip(prompts, at, got, strict=True):
        assert_close(torch.cat(parts), reference(prompt[:a]))


@pytest.mark.parametrize("length", [15, 16, 17, 40, 100])
def test_forks_share_pages_and_part_ways(model, length):
    engine, reference = model
    prompt = tokens(length, length)
    driver = Driver(engine)
    trunk = Sequence_(driver)
    driver.logprobs([(trunk, prompt)])
    branches = [trunk, trunk.fork(), trunk.fork(), trunk.fork()]
    tails = [tokens(100 + i, 1 + 6 * (i % 2)) for i in range(4)]
    got = driver.logprobs(list(zip(branches, tails, strict=True)))
    again = tokens(5, 4)
    more = [driver.logprobs([(b, [t]) for b in branches]) for t in again]
    for i, tail in enumerate(tails):
        expected = reference(prompt + tail + again)[length:]
        assert_close(torch.cat([got[i], *[m[i] for m in more]]), expected)


def test_greedy_tokens_of_twenty_prompts(model):
    engine, reference = model
    prompts = [tokens(i, 1 + (i * 13) % 60) for i in range(20)]
    count = 24
    together = Driver(engine).greedy(prompts, count)
    alone = [Driver(engine).greedy([p], count)[0] for p in prompts[:6]]
    for i, (prompt, out) in enumerate(zip(prompts, together, strict=True)):
        logprobs = reference(prompt + out)[len(prompt) - 1 : -1]  # teacher-forced
        best = logprobs.topk(2).values
        close = (best[:, 0] - best[:, 1]) < 1e-4  # the reference itself is undecided there
        wrong = (logprobs.argmax(-1) != torch.tensor(out)) & ~close
        assert not wrong.any(), (i, out)
        assert close.float().mean() <= 0.1
    for prompt, a, b in zip(prompts, alone, together, strict=False):
        if a != b:  # only where the reference is undecided
            first = next(k for k, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
            best = reference(prompt + a)[len(prompt) - 1 + first].topk(2).values
            assert best[0] - best[1] < 1e-4


def test_tiny_answers_like_transformers_generate():
    from parity_driver import TINY
    from transformers import GenerationConfig, LlamaForCausalLM

    engine = LocalEngine.load("tiny", device="cpu", pages=256)
    assert engine.chat is not None
    reference = LlamaForCausalLM.from_pretrained(str(TINY), dtype=torch.float32).eval()
    questions = ["Hello, who are you?", "What is 12 + 30?", "Name a colour.", "Give me a list of three animals."]
    prompts = []
    for question in questions:
        text = engine.chat.render({"messages": [{"role": "user", "content": question}], "add_generation_prompt": True})
        prompts.append(engine.tokenizer.encode(text, special=True))
    got = Driver(engine).greedy(prompts, 20)
    config = GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=-1, pad_token_id=0)
    for prompt, out in zip(prompts, got, strict=True):
        ids = torch.tensor([prompt])
        expected = reference.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        assert out == expected[0, len(prompt) :].tolist()
    engine.close()


def test_scaled_rope_and_shards(tmp_path: Path):
    from parity_driver import SHAPES, write

    spec = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    scalings = ({"rope_parameters": spec}, {"rope_scaling": {"type": "linear", "factor": 4.0}})
    for i, scaling in enumerate(scalings):
        directory = write(SHAPES["small-gqa"], tmp_path / str(i), seed=i, shards=3, config=scaling)
        engine = LocalEngine.load(str(directory), device="cpu", pages=64)
        driver = Driver(engine)
        prompt = tokens(i, 200)
        (got,) = driver.logprobs([(Sequence_(driver), prompt)])
        assert_close(got, load_reference(directory)(prompt))
        engine.close()
