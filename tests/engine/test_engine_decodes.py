"""What is remembered of readings between the steps of a generation."""

from __future__ import annotations

import pytest

from symphony.engine import decodes
from symphony.engine.batch import Limits
from symphony.engine.decodes import DecodePacker
from symphony.engine.messages import GREEDY, Readings, Sampling

LARGE = [
    Readings(sample=GREEDY, logprobs=(1, 2)),
    Readings(sample=Sampling(logit_bias=((1, 2.0),))),
    Readings(sample=GREEDY, allowed=b"\3\0\0\0"),
]


def test_only_readings_of_plain_draws_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decodes, "KNOWN", 2)
    packer = DecodePacker(Limits(32, 100, 20, 4))
    for readings in LARGE * 2:
        assert packer.kind(readings) is None
    assert not packer._kept
    plain = [Readings(sample=Sampling(temperature=1.0, seed=seed)) for seed in range(3)]
    kinds = [packer.kind(readings) for readings in plain[:2]]
    assert [packer.kind(readings) for readings in plain[:2]] == kinds
    assert all(packer.kind(readings) is kind for readings, kind in zip(plain, kinds, strict=False))
    assert packer.kind(plain[2]) is not None
    assert len(packer._kept) == 1
