"""A token that a guest chooses takes few calls of Python functions: the host's share of it, without a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from symphony.bench.calls import calls_per_token
from symphony.bench.guests import directory
from symphony.bench.host import fast_engine, host
from symphony.engine.fake import FakeEngine

LIPS = 64
MOST = 43
"""Python functions that are called once a token or more often. What a step costs depends on its rows: not counted.
They were 73 once, and are 40."""
MOST_AHEAD = 38
"""Likewise where the token was guessed: 34."""


async def count(engine: FakeEngine, home: Path) -> Mapping[str, float]:
    guest = (directory() / "guest.wasm").read_bytes()
    async with host(engine, LIPS, home) as rt:
        return await calls_per_token(rt, guest, LIPS)


def test_a_token_that_a_guest_chooses_takes_few_calls(tmp_path: Path) -> None:
    calls = asyncio.run(count(fast_engine(LIPS), tmp_path))
    assert calls["predict"] == 1.0  # it counts what there is
    assert sum(map(round, calls.values())) <= MOST, dict(calls)


def test_so_does_one_that_was_guessed(tmp_path: Path) -> None:
    engine = FakeEngine(check=False, pages=64 * LIPS, page_size=64, pipelined=True)
    calls = asyncio.run(count(engine, tmp_path))
    assert calls["Guessing.ask"] > 0.8  # the first tokens are not
    assert sum(map(round, calls.values())) <= MOST_AHEAD, dict(calls)
