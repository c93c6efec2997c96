"""A token that a guest chooses takes few calls of Python functions: the host's share of it, without a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from symphony.bench.calls import calls_per_token
from symphony.bench.guests import directory
from symphony.bench.host import fast_engine, host

LIPS = 64
MOST = 46
"""Python functions that are called once a token or more often. What a step costs depends on its rows: not counted.
They were 73 once, and are 43."""


def test_a_token_that_a_guest_chooses_takes_few_calls(tmp_path: Path) -> None:
    async def count() -> Mapping[str, float]:
        guest = (directory() / "guest.wasm").read_bytes()
        async with host(fast_engine(LIPS), LIPS, tmp_path) as rt:
            return await calls_per_token(rt, guest, LIPS)

    calls = asyncio.run(count())
    assert calls["predict"] == 1.0  # it counts what there is
    assert sum(map(round, calls.values())) <= MOST, dict(calls)
