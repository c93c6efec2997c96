"""Every family and option computes what transformers computes: prefill, chunks, decodes, forks, batches, far positions.

Errors are in log-probabilities over the whole vocabulary's normaliser, so each depends on all logits.
"""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from parity_checkpoints import CHECKPOINTS, make_checkpoint
from parity_driver import GREEDY, PROBE, TOLERANCE, Driver, Readings, Sequence_, assert_close, load_reference, tokens

from symphony.engine.local import LocalEngine
from symphony.engine.messages import Batch, Row

ASK = Readings(sample=GREEDY)


@pytest.fixture(scope="module", params=CHECKPOINTS)
def model(request, tmp_path_factory):
    directory = make_checkpoint(request.param, tmp_path_factory.mktemp("models"))
    engine = LocalEngine.load(str(directory), device="cpu", pages=512, host_pages=0, threads=1)
    yield engine, load_reference(directory)
    engine.close()


@pytest.mark.parametrize("lengths", [(1, 15, 16, 17), (24, 25, 31, 33)])
def test_prompts_at_once(model, lengths):
    engine, reference = model
    driver = Driver(engine)
    prompts = [tokens(n, n) for n in lengths]
    got = driver.logprobs([(Sequence_(driver), p) for p in prompts])
    for prompt, actual in zip(prompts, got, strict=True):
        assert_close(actual, reference(prompt))


@pytest.mark.parametrize("scatter", [True, False])
@pytest.mark.parametrize("chunks", [(16, 16, 16, 1), (15, 2, 31, 8), (1, 33, 5, 1, 1, 90, 1), (330, 70, 1, 3)])
def test_a_prompt_in_chunks(model, chunks, scatter):
    engine, reference = model
    prompt = tokens(7, sum(chunks))
    driver = Driver(engine, scatter)
    sequence = Sequence_(driver)
    ends = list(itertools.accumulate(chunks))
    got = [driver.logprobs([(sequence, prompt[b - n : b])])[0] for n, b in zip(chunks, ends, strict=True)]
    assert_close(torch.cat(got), reference(prompt))


@pytest.mark.parametrize("scatter", [True, False])
def test_decodes_of_mixed_lengths_together(model, scatter):
    engine, reference = model
    lengths = [1, 15, 16, 17, 31, 33, 150, 340]
    prompts = [tokens(i, n + 12) for i, n in enumerate(lengths)]
    driver = Driver(engine, scatter)
    sequences = [Sequence_(driver) for _ in lengths]
    got = [[x] for x in driver.logprobs([(s, p[:n]) for s, p, n in zip(sequences, prompts, lengths, strict=True)])]
    at = list(lengths)
    for step in range(6):  # decodes, appends and both in one batch
        new = [1 if step % 2 else 1 + (i + step) % 3 for i in range(len(lengths))]
        work = [(s, p[a : a + n]) for s, p, a, n in zip(sequences, prompts, at, new, strict=True)]
        for into, x in zip(got, driver.logprobs(work), strict=True):
            into.append(x)
        at = [a + n for a, n in zip(at, new, strict=True)]
    for prompt, a, parts in zip(prompts, at, got, strict=True):
        assert_close(torch.cat(parts), reference(prompt[:a]))


@pytest.mark.parametrize("length", [16, 33, 100])
def test_forks_share_pages_and_part_ways(model, length):
    engine, reference = model
    prompt = tokens(length, length)
    driver = Driver(engine)
    trunk = Sequence_(driver)
    driver.logprobs([(trunk, prompt)])
    branches = [trunk, trunk.fork(), trunk.fork()]
    tails = [tokens(100 + i, 1 + 6 * (i % 2)) for i in range(3)]
    got = driver.logprobs(list(zip(branches, tails, strict=True)))
    again = tokens(5, 3)
    more = [driver.logprobs([(b, [t]) for b in branches]) for t in again]
    for i, tail in enumerate(tails):
        expected = reference(prompt + tail + again)[length:]
        assert_close(torch.cat([got[i], *[m[i] for m in more]]), expected)


def test_far_positions(model):
    """Beyond what scaled models were first trained for, up to the last position there is."""
    engine, reference = model
    prompt = tokens(3, engine.info.context_limit if engine.info.context_limit <= 1024 else 1024)
    driver = Driver(engine)
    sequence = Sequence_(driver)
    got = [driver.logprobs([(sequence, prompt[:-40])])[0]]
    got += [driver.logprobs([(sequence, prompt[-40:-2])])[0]]
    got += [driver.logprobs([(sequence, [token])])[0] for token in prompt[-2:]]
    assert_close(torch.cat(got)[-140:], reference(prompt)[-140:])


@pytest.mark.parametrize(
    "name", ["llama-3 tied", "llama linear", "llama yarn", "qwen2 yarn", "qwen3", "mistral, window 24"]
)
@pytest.mark.parametrize("position", [8_191, 100_000, 130_900])
def test_very_far_positions(name, position, tmp_path):
    """Without the text before: RoPE is relative, but its angles are rounded where they are."""
    from transformers import AutoModelForCausalLM

    directory = make_checkpoint(name, tmp_path, max_position_embeddings=131_072)
    engine = LocalEngine.load(str(directory), device="cpu", pages=8, host_pages=0, threads=1)
    reference = AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32).eval()
    prompt = tokens(2, 60)
    row = Row(prompt, 0, [1, 2, 3, 4], range(60), Readings(logprobs=PROBE), position=position)
    [result] = engine.run(Batch([row]))
    got = torch.tensor([r.logprobs for r in result.readings])
    with torch.inference_mode():
        at = torch.arange(position, position + 60)[None]
        expected = reference(torch.tensor([prompt]), position_ids=at).logits[0].log_softmax(-1)
    assert_close(got, expected)
    engine.close()


def test_greedy_tokens(model):
    """Semantics 9: 32 prompts that come and go in random order, 8 at a time, long ones in chunks, some forked."""
    engine, reference = model
    source = random.Random(11)
    prompts = [tokens(i, 1 + source.randrange(60)) for i in range(32)]
    counts = [source.choice((5, 20, 200)) if i % 8 else 200 for i in range(32)]
    driver = Driver(engine)
    waiting, running = list(range(32)), []
    outs: list[list[int]] = [[] for _ in prompts]
    source.shuffle(waiting)
    while waiting or running:
        while waiting and len(running) < 8:
            i = waiting.pop()
            running.append((i, Sequence_(driver), prompts[i]))
        rows = [s.row(new[: 1 + source.randrange(32)], ASK) for _, s, new in running]
        rest = [new[len(row.tokens) :] for row, (_, _, new) in zip(rows, running, strict=True)]
        for k, (left, [reading]) in enumerate(zip(rest, driver.step(rows), strict=True)):
            i, sequence, _ = running[k]
            if not left:
                outs[i].append(reading.sampled)
                left = [reading.sampled]
            running[k] = (i, sequence if source.random() < 0.98 else sequence.fork(), left)
        driver.reuse([s for i, s, _ in running if len(outs[i]) >= counts[i]])
        running = [r for r in running if len(outs[r[0]]) < counts[r[0]]]
    undecided = total = 0
    for prompt, out in zip(prompts, outs, strict=True):
        logprobs = reference(prompt + out)[len(prompt) - 1 : -1]  # teacher-forced
        best = logprobs.topk(2).values
        close = (best[:, 0] - best[:, 1]) < TOLERANCE  # the reference itself
        assert not ((logprobs.argmax(-1) != torch.tensor(out)) & ~close).any()
        undecided, total = undecided + int(close.sum()), total + len(out)
    assert undecided <= 0.002 * total, f"{undecided} of {total} steps say nothing"


@pytest.mark.parametrize("name", ["llama-3 tied", "mistral, window 24", "qwen3"])
def test_bf16_agrees_where_the_reference_is_decided(name, tmp_path):
    """By more than rounding: random weights are less sure of themselves than a model, 15 % of the steps are closer."""
    directory = make_checkpoint(name, tmp_path, torch.bfloat16)
    engine = LocalEngine.load(str(directory), device="cpu", dtype="bfloat16", pages=64, host_pages=0, threads=1)
    reference, driver = load_reference(directory), Driver(engine)
    same = total = 0
    for length in (33, 150, 300):
        prompt = tokens(length, length)
        [got] = driver.logprobs([(Sequence_(driver), prompt)])
        expected = reference(prompt)[:, list(PROBE)]
        best = expected.topk(2).values
        decided = best[:, 0] - best[:, 1] > 0.2
        same += int((got.argmax(-1) == expected.argmax(-1))[decided].sum())
        total += int(decided.sum())
    engine.close()
    assert total > 300
    assert same >= 0.99 * total


@pytest.mark.parametrize(("dtype", "shards"), [(torch.float32, 3), (torch.bfloat16, 1), (torch.float16, 2)])
@pytest.mark.parametrize("name", ["llama biases", "qwen3"])
def test_stored_types_and_shards(name, dtype, shards, tmp_path):
    directory = make_checkpoint(name, tmp_path, dtype, shards)
    assert (len(list(directory.glob("*.safetensors"))) > 1) == (shards > 1)  # by size: the embedding is most of it
    engine = LocalEngine.load(str(directory), device="cpu", pages=64, host_pages=0, threads=1)
    driver = Driver(engine)
    prompt = tokens(1, 70)
    [got] = driver.logprobs([(Sequence_(driver), prompt)])
    assert_close(got, load_reference(directory)(prompt))
    engine.close()
