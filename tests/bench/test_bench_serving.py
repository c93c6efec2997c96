"""The benchmark of serving runs, and counts what it says; no figure is held against a clock."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from symphony.bench.engine import Workload
from symphony.bench.guests import directory
from symphony.bench.report import Report
from symphony.bench.serving import RATES, bench_completions, bench_streams, served
from symphony.engine.fake import FakeEngine
from symphony.errors import Unavailable
from symphony.host import Runtime
from symphony.http.app import create_app


def test_streams_are_followed_to_their_end(tmp_path: Path) -> None:
    report = Report("serving")
    asyncio.run(bench_streams(report, tmp_path, 3, 8, 1))
    assert len(report.figures) == 3 * len(RATES)
    for rate, (cost, tokens, send) in zip(RATES, zip(*[iter(report.figures)] * 3, strict=True), strict=True):
        assert (cost.name, cost.at_most) == (f"a streamed token, 3 streams of {rate} tokens/s", 15.0)
        assert 1 <= tokens.value <= 8
        assert send.value > 0


def test_completions_in_four_ways(tmp_path: Path) -> None:
    report = Report("serving")
    engines = (FakeEngine(pages=200, page_size=16), FakeEngine(pages=200, page_size=16))
    guest = (directory() / "guest.wasm").read_bytes()
    asyncio.run(bench_completions(report, engines, tmp_path, guest, Workload(2, 8, 6), 1))
    figures = {figure.name: figure for figure in report.figures}
    size = "2 x 8 in, 6 out"
    for way in ("core", "program", "/v1/completions", "/v1/completions, streamed"):
        assert figures[f"{size}: {way}"].value > 0
    assert figures[f"{size}: program / core"].at_least == 0.99
    assert figures[f"{size}: /v1/completions / core"].at_least == 0.95
    assert figures[f"{size}: /v1/completions, streamed / core"].at_least == 0.90


def test_a_request_that_fails_is_told_of(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            Runtime([FakeEngine()], home=tmp_path / "home") as rt,
            served(create_app(rt), tmp_path) as clients,
        ):
            await clients.post("/v1/programs/nobody/run", [{}])

    with pytest.raises(Unavailable, match=r"/v1/programs/nobody/run gave \['404'\]"):
        asyncio.run(work())
