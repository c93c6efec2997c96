"""Sliding windows count positions: which entries a row's queries see, and files that the core put together."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kv_files import PROBE, Reference

from core.core_harness import Host, run
from parity.parity_checkpoints import make_checkpoint
from symphony.core.messages import Readings
from symphony.engine.batch import Limits, pack
from symphony.engine.local import LocalEngine
from symphony.engine.messages import Row


@given(
    gaps=st.lists(st.integers(1, 5), max_size=30),
    told=st.integers(0, 30),
    count=st.integers(1, 12),
    window=st.integers(1, 40),
    decoded=st.integers(0, 20),
)
def test_what_each_query_sees(gaps, told, count, window, decoded):
    """Against the definition, entry by entry. `told`: of so many the row tells the positions, the others count on."""
    positions = np.cumsum(gaps).tolist() if gaps else []
    positions = positions[:told]
    end = positions[-1] + 1 if positions else 0
    start, position = len(positions) + decoded, end + decoded
    every = positions + list(range(end, position + count))
    row = Row([1] * count, start, list(range(1, 9)), position=position, earlier=positions)
    firsts = pack([row], Limits(10, 1000, 9, 16, window)).rows.firsts
    assert firsts is not None
    for i, first in enumerate(firsts.tolist()):
        seen = [e for e in range(start + i + 1) if every[start + i] - every[e] < window]
        assert seen == list(range(first, start + i + 1))


def test_plain_rows():
    rows = [Row([1] * 5, 20, [1, 2], position=-1), Row([1], 0, [3]), Row([1], 31, [4, 5])]
    packed = pack(rows, Limits(10, 1000, 9, 16, 8))
    assert packed.order == [0, 2, 1]
    assert packed.rows.firsts is not None
    assert packed.rows.firsts.tolist() == [13, 14, 15, 16, 17, 24, 0]
    assert pack(rows, Limits(10, 1000, 9, 16, None)).rows.firsts is None


@pytest.mark.parametrize("rebase", [False, True])
def test_an_extracted_file_of_a_windowed_model(rebase, tmp_path):
    """Through the core, which must tell the engine the positions of what was kept."""
    directory = make_checkpoint("mistral, window 24", tmp_path)
    source = random.Random(4)
    text, more = ([source.randrange(11, 4096) for _ in range(n)] for n in (60, 20))
    ranges = [(3, 20), (33, 41)]
    reference = Reference(directory)

    @run
    async def scenario() -> None:
        engine = LocalEngine.load(str(directory), device="cpu", pages=64, host_pages=8, threads=1)
        async with Host(engine) as host:
            session = host.core.open_session("tenant")
            file = await host.core.create(session, None)
            await host.pred(session, file, text)
            kept = await host.core.extract(session, file, ranges, rebase)
            answers = await host.pred(session, kept, more, range(len(more)), Readings(logprobs=PROBE))
            got = torch.tensor([a.logprobs for a in answers])
            shifts, next_position = ((-3, -16), 25) if rebase else ((0, 0), 41)
            cache = reference.cache(text)
            parts = [reference.part(cache, a, b, shift) for (a, b), shift in zip(ranges, shifts, strict=True)]
            expected = reference.after(parts, more, next_position)
            torch.testing.assert_close(got, expected[:, list(PROBE)], atol=1e-4, rtol=0)
            await host.core.close_session(session)
        engine.close()

    scenario()
