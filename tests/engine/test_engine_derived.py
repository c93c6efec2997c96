"""Extract and append-from on real weights equal semantics 6's reference run; page boundaries included."""

from __future__ import annotations

import random

import pytest
import torch
from kv_files import PROBE, File, Pool, Reference

from bench.model_shapes import SHAPES, write
from parity.parity_checkpoints import CHECKPOINTS, make_checkpoint
from parity.parity_driver import make_model
from symphony.engine.local import LocalEngine

MODELS = ("tiny", "small-gqa", "scaled-rope", "llama yarn", "mistral, window 24", "mistral, window 16")
LENGTHS = (15, 16, 17, 31, 33)
TOLERANCE = 1e-4
SCALED = {
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
}


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    if request.param == "scaled-rope":
        directory = write(SHAPES["small-gqa"], root / "scaled", seed=3, config=SCALED)
    elif request.param in CHECKPOINTS:
        directory = make_checkpoint(request.param, root)
    else:
        directory = make_model(request.param, root)
    engine = LocalEngine.load(str(directory), device="cpu", pages=256, host_pages=64, threads=1)
    yield engine, Reference(directory)
    engine.close()


def tokens(seed: int, count: int) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(11, 4096) for _ in range(count)]


def assert_goes_on(file: File, expected, copies) -> None:
    """The file, with a chunk appended in the step of the copies and eight tokens drawn one by one, against
    `expected(tokens)`."""
    chunk = tokens(99, 5)
    [readings] = file.pool.run([file.row(chunk, range(5))], entries=copies)
    got = torch.tensor([r.logprobs for r in readings])
    torch.testing.assert_close(got, expected(chunk)[:, list(PROBE)], atol=TOLERANCE, rtol=0)
    first = tokens(98, 1)[0]
    out, got = file.greedy(first, 8)
    reference = expected([*chunk, first, *out[:-1]])[5:]
    torch.testing.assert_close(got, reference[:, list(PROBE)], atol=TOLERANCE, rtol=0)
    values, best = reference.topk(2)
    decided = values[:, 0] - values[:, 1] > TOLERANCE
    assert decided.any()
    assert best[decided, 0].tolist() == torch.tensor(out)[decided].tolist()


@pytest.mark.parametrize("length", LENGTHS)
def test_extract_at_kept_positions(model, length):
    engine, reference = model
    text, ranges = tokens(length, length), [(0, 5), (9, length - 1)]
    pool = Pool(engine)
    source, file = File(pool), File(pool)
    source.pred(text)
    copies = file.take(source, ranges, [0, 0])
    assert file.next == length - 1
    cache = reference.cache(text)
    parts = [reference.part(cache, a, b, 0) for a, b in ranges]

    def expected(more):
        edited = reference.after(parts, more, length - 1)
        masked = reference.masked([text], [ranges], more, length - 1)
        torch.testing.assert_close(edited, masked, atol=TOLERANCE, rtol=0)  # the two references agree
        return edited

    assert_goes_on(file, expected, copies)


@pytest.mark.parametrize("length", LENGTHS)
def test_extract_with_rebase(model, length):
    engine, reference = model
    text, ranges = tokens(length, length), [(1, 4), (9, length)]
    pool = Pool(engine)
    source, file = File(pool), File(pool)
    source.pred(text)
    copies = file.take(source, ranges, [-1, -6])
    assert file.next == file.length == length - 6
    cache = reference.cache(text)
    parts = [reference.part(cache, a, b, shift) for (a, b), shift in zip(ranges, (-1, -6), strict=True)]
    assert_goes_on(file, lambda more: reference.after(parts, more, length - 6), copies)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("before", [3, 16, 40])
def test_append_from_another_file(model, length, before):
    """To where the first file ends: forward if it is the longer one, else back."""
    engine, reference = model
    one, two = tokens(before, before), tokens(length, length)
    pool = Pool(engine)
    file, other = File(pool), File(pool)
    file.pred(one)
    other.pred(two)
    shift = before - 2
    copies = file.take(other, [(2, length)], [shift])
    assert file.next == before + length - 2
    parts = [
        reference.part(reference.cache(one), 0, before, 0),
        reference.part(reference.cache(two), 2, length, shift),
    ]
    end = before + length - 2
    assert_goes_on(file, lambda more: reference.after(parts, more, end), copies)


def test_what_is_extracted_twice(model):
    """Turned on and back again: within rounding of what was never touched."""
    engine, reference = model
    text = tokens(5, 40)
    pool = Pool(engine)
    source, there, back = File(pool), File(pool), File(pool)
    source.pred(text)
    pool.run([], entries=there.take(source, [(0, 40)], [700]))
    copies = back.take(there, [(0, 40)], [-700])
    cache = reference.cache(text)
    assert back.next == 40
    assert_goes_on(back, lambda more: reference.after([cache], more, 40), copies)
