"""Rows that are restricted to some tokens: every way of drawing, and every reading, is as if there were no others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from symphony.engine.batch import Limits, pack
from symphony.engine.messages import GREEDY, Readings, Row, Sampling, mask_bytes
from symphony.engine.sampler import Request, Sampler

V = 600
CPU = torch.device("cpu")
SOME = sorted(np.random.default_rng(5).choice(V, 40, replace=False).tolist())


def mask(tokens: list[int], size: int = V) -> bytes:
    return sum(1 << token for token in tokens).to_bytes(mask_bytes(size), "little")


def logits(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, V, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(repetition_penalty=1.3, presence_penalty=0.2, frequency_penalty=0.1),
        Sampling(logit_bias=((3, 100.0), (SOME[4], 2.0))),
        Sampling(temperature=1.0, seed=3),
        Sampling(temperature=1.2, min_p=0.1, seed=4),
        Sampling(temperature=1.0, top_k=5, seed=5),
        Sampling(temperature=1.0, top_k=300, seed=5),
        Sampling(temperature=2.0, top_p=0.7, seed=6),
        Sampling(temperature=4.0, top_p=0.999, top_k=50, min_p=0.01, seed=7),
    ],
    ids=str,
)
def test_a_draw_is_the_draw_among_the_allowed_tokens(sampling: Sampling) -> None:
    rows = 64
    x = logits(rows)
    hidden = [token for token in range(V) if token not in SOME]
    apart = x.clone()
    apart[:, hidden] = -1e30  # as good as impossible, whatever is added
    asked = [Request(Readings(sample=sampling), entry, list(range(50)), 20) for entry in range(rows)]
    expected = [reading.sampled for reading in Sampler(V, CPU).read(apart, asked)]
    for request in asked:
        request.allowed = mask(SOME)
    drawn = [reading.sampled for reading in Sampler(V, CPU).read(x, asked)]
    assert drawn == expected
    assert set(drawn) <= set(SOME)


def test_all_readings_are_of_the_restricted_distribution() -> None:
    x = logits(1)
    logp = x[0, SOME].double().log_softmax(-1)
    wanted = Readings(sample=GREEDY, top_k=50, logprobs=(SOME[0], 1, SOME[7]), sampled_logprob=True, entropy=True)
    wanted = Readings(**{**{f: getattr(wanted, f) for f in wanted.__slots__}, "allowed": mask(SOME)})
    (reading,) = Sampler(V, CPU).read(x, [Request(wanted, 3, allowed=mask(SOME))])
    order = sorted(range(len(SOME)), key=lambda i: -logp[i].item())
    assert list(reading.top_ids) == [SOME[i] for i in order], "as many as are allowed"
    assert reading.top_logprobs == pytest.approx(logp[order].tolist(), abs=1e-5)
    assert 1 not in SOME
    assert reading.logprobs == pytest.approx([logp[0].item(), -math.inf, logp[7].item()], abs=1e-5)
    assert reading.sampled == reading.top_ids[0]
    assert reading.sampled_logprob == pytest.approx(reading.top_logprobs[0])
    assert reading.entropy == pytest.approx(-(logp.exp() * logp).sum().item(), abs=1e-5)


def test_neighbours_that_are_not_restricted_are_left_alone() -> None:
    x = logits(4)
    plain = Sampler(V, CPU).read(x.clone(), [Request(Readings(sample=GREEDY, top_k=3), i) for i in range(4)])
    asked = [Request(Readings(sample=GREEDY, top_k=3), i, allowed=mask([9, 11]) if i == 2 else None) for i in range(4)]
    mixed = Sampler(V, CPU).read(x, asked)
    assert [mixed[i] for i in (0, 1, 3)] == [plain[i] for i in (0, 1, 3)]
    assert mixed[2].sampled in (9, 11)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0), Sampling(temperature=1.0, top_k=4)], ids=str)
def test_a_single_token_is_certain(sampling: Sampling) -> None:
    wanted = Readings(sample=sampling, sampled_logprob=True, entropy=True)
    (reading,) = Sampler(V, CPU).read(logits(1), [Request(wanted, 0, allowed=mask([123]))])
    assert (reading.sampled, reading.sampled_logprob, reading.entropy) == (123, 0.0, 0.0)


def test_a_row_has_one_mask_or_one_an_output() -> None:
    limits = Limits(V, 100, 10, 16)

    def packed(allowed: bytes) -> tuple[list[bytes | None], dict[int, str]]:
        row = Row([1, 2, 3], 0, [1], (0, 2), Readings(sample=GREEDY, allowed=allowed))
        result = pack([row], limits)
        return [request.allowed for request in result.requests], result.errors

    one, other = mask([1]), mask([2])
    assert packed(one) == ([one, one], {})
    assert packed(one + other) == ([one, other], {})
    for wrong in (b"", one[:-1], one + other + one):
        assert "a mask of" in packed(wrong)[1][0]
    assert packed(one + bytes(len(one)))[1] == {0: "a mask allows no token"}
