"""Every family and option on a GPU, by Triton, decode steps as CUDA graphs, against transformers. `pytest -m gpu`."""

from __future__ import annotations

import pytest
import torch
from parity_checkpoints import CHECKPOINTS, make_checkpoint
from parity_driver import PROBE, Driver, Sequence_, load_reference, tokens

from symphony.engine.local import LocalEngine

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
LENGTHS = (1, 15, 16, 17, 31, 33, 70, 300)
DECODED = 6
DECIDED = 0.2
"""Of log-probabilities; random weights are less sure of themselves than a model: 15 % of the positions are closer."""


def logprobs(engine: LocalEngine) -> list[torch.Tensor]:
    """Prefill of mixed lengths, an append each, then decodes together: [tokens, PROBE] of each sequence."""
    driver = Driver(engine)
    texts = [tokens(n, n + 5 + DECODED) for n in LENGTHS]
    sequences = [Sequence_(driver) for _ in texts]
    pieces = [(0, None), (0, 5)] + [(5 + i, 6 + i) for i in range(DECODED)]
    got: list[list[torch.Tensor]] = [[] for _ in texts]
    for a, b in pieces:
        parts = [t[:n] if b is None else t[n + a : n + b] for t, n in zip(texts, LENGTHS, strict=True)]
        for into, x in zip(got, driver.logprobs(list(zip(sequences, parts, strict=True))), strict=True):
            into.append(x)
    return [torch.cat(parts) for parts in got]


@pytest.mark.parametrize("attention", ["triton", "torch"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_fp32(name, attention, tmp_path):
    directory = make_checkpoint(name, tmp_path)
    engine = LocalEngine.load(
        str(directory), device="cuda", dtype="float32", attention=attention, pages=400, page_size=16, host_pages=0
    )
    reference = load_reference(directory)
    worst = max(
        float((got - reference(tokens(n, n + 5 + DECODED))[:, list(PROBE)]).abs().max())
        for n, got in zip(LENGTHS, logprobs(engine), strict=True)
    )
    engine.close()
    print(f"{worst:.1e} {attention} {name}")
    assert worst < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_narrow_types_agree_where_the_reference_is_decided(name, dtype, tmp_path):
    """Teacher-forced: the most probable token is the same wherever the two best are further apart than rounding."""
    directory = make_checkpoint(name, tmp_path, getattr(torch, dtype))
    engine = LocalEngine.load(str(directory), device="cuda", dtype=dtype, pages=400, page_size=64, host_pages=0)
    reference = load_reference(directory)
    same = total = 0
    for n, got in zip(LENGTHS, logprobs(engine), strict=True):
        expected = reference(tokens(n, n + 5 + DECODED))[:, list(PROBE)]
        best = expected.topk(2).values
        decided = best[:, 0] - best[:, 1] > DECIDED
        same += int((got.argmax(-1) == expected.argmax(-1))[decided].sum())
        total += int(decided.sum())
    engine.close()
    print(f"{same / total:.4f} {dtype} {name}")
    assert same / total >= 0.99
