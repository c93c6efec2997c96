"""The KV benchmark measures what it says: on the checking fake engine, which notices every wrong page."""

from __future__ import annotations

import asyncio

import pytest

from symphony.bench.kv import Agents, bench_agents, bench_forks, bench_resume
from symphony.bench.report import Report
from symphony.engine.fake import FakeEngine


def load(pages: int, slots: int | None) -> FakeEngine:
    return FakeEngine(pages=pages, host_pages=400 if slots is None else slots)


def figures(report: Report) -> dict[str, float]:
    return {figure.name: figure.value for figure in report.figures}


@pytest.fixture
def report() -> Report:
    return Report("kv")


def test_forks_take_no_page(report: Report) -> None:
    asyncio.run(bench_forks(report, forks=20, tokens=64))
    found = figures(report)
    assert found["pages of a file of 64 tokens"] == 4
    assert found["pages that 20 forks take"] == 0
    assert found["fork and close, CPU"] > 0


def test_agents_write_the_same_with_and_without_a_host_tier(report: Report) -> None:
    work = Agents(count=6, context=64, turns=3, observation=5, answer=9, pause=0.02)
    asyncio.run(bench_agents(report, load, work, rounds=1))
    assert figures(report)["agents with the same tokens"] == 1
    assert figures(report)["with / without"] > 0


def test_a_file_goes_and_comes_back(report: Report) -> None:
    asyncio.run(bench_resume(report, load, 100, rounds=2))
    assert figures(report)["swap / recompute"] > 0
