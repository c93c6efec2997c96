"""The KV benchmark measures what it says: on the checking fake engine, which notices every wrong page."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from symphony.bench.disk import bench_disk, bench_disk_agents
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


def test_agents_write_the_same_by_way_of_the_disk(report: Report, tmp_path: Path) -> None:
    work = Agents(count=12, context=64, turns=2, observation=5, answer=9, pause=0.02, share=0.15)
    asyncio.run(bench_disk_agents(report, load, tmp_path, work, rounds=1))
    assert figures(report)["agents with the same tokens"] == 1
    assert figures(report)["with / without"] > 0


def test_a_file_goes_and_comes_back(report: Report) -> None:
    asyncio.run(bench_resume(report, load, 100, rounds=2))
    assert figures(report)["swap / recompute"] > 0


def test_a_synced_file_is_reopened(report: Report, tmp_path: Path) -> None:
    asyncio.run(bench_disk(report, load, tmp_path, 100, rounds=2))
    found = figures(report)
    assert found["files with the same tokens"] == 1
    assert found["share of the prefix that was reused"] == 1
    assert found["sync"] > 0
    assert not list(tmp_path.iterdir())
