"""The applications as programs and as clients: the same results from both, and figures that add up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from symphony.bench.programs.clients import CLIENTS, Written, run_jobs
from symphony.bench.programs.measure import bench_programs, choose
from symphony.bench.programs.ways import Clients, Programs, Run, Server, answer, programs, stop_tokens
from symphony.bench.programs.work import (
    APPLICATIONS,
    DOCUMENTS,
    TOGETHER,
    WARM_JOBS,
    Application,
    Job,
    make_jobs,
    warm_jobs,
)
from symphony.bench.report import Report
from symphony.engine import registry
from symphony.errors import Invalid, Unavailable

TINY = registry.find("tiny")


def test_jobs_are_the_same_for_all_and_new_in_every_round():
    for application in APPLICATIONS:
        first, again, other = (make_jobs(application, seed) for seed in (0, 0, 1))
        assert first == again != other
        assert len(first) == application.jobs >= application.at_once
        assert (programs() / f"{application.name}.py").is_file()
        assert application.name in CLIENTS
        json.dumps(first)


def test_popular_documents_are_asked_about_more_often():
    rag, shelf = choose(["rag", "shelf"])
    paths = [job["path"] for job in make_jobs(rag, 1, 2000)]
    times = sorted((paths.count(path) for path in set(paths)), reverse=True)
    assert 0.8 * DOCUMENTS < len(times) <= DOCUMENTS
    assert times[0] > 5 * times[len(times) // 2]
    read = {job["path"]: job["document"] for job in warm_jobs(rag)}
    assert len(read) == DOCUMENTS
    asked = [*make_jobs(rag, 1), *make_jobs(rag, 2)]
    assert all(read[job["path"]] == job["document"] for job in asked), "all rounds are about what was read before"
    assert {path: text for job in warm_jobs(shelf) for path, text in job["documents"].items()} == read
    assert all(
        len(job["documents"]) == TOGETHER and job["documents"].items() <= read.items() for job in make_jobs(shelf, 1)
    )


class Echo:
    """Continues a text with what it says of it, and counts the tokens asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int, int | None]] = []

    async def complete(self, prompt: str, tokens: int, n: int = 1, seed: int | None = None) -> list[Written]:
        self.asked.append((prompt, tokens, n, seed))
        return [Written(f" {tokens}-{i}", -float(i)) for i in range(n)]

    async def chat(self, text: str, tokens: int, schema: Mapping[str, Any] | None = None) -> str:
        self.asked.append((text, tokens, 1, None))
        return json.dumps(schema)


async def of(name: str, **job: Any) -> tuple[Any, list[tuple[str, int, int, int | None]]]:
    model = Echo()
    return await CLIENTS[name](model, **job), model.asked


def test_clients_send_everything_again():
    said, asked = asyncio.run(of("agent", system="S", question="Q", calls=2, tokens=3))
    assert said == [" 3-0"] * 3
    assert [prompt.startswith(before[0]) for before, (prompt, *_) in pairwise(asked)] == [True] * 2
    assert asked[0][0] == "SQ"

    kept, asked = asyncio.run(of("tree", problem="P", ask="?", width=2, keep=1, depth=2, tokens=5, seed=9))
    assert [(prompt, n, seed) for prompt, _, n, seed in asked if n == 2] == [("P", 2, 9), ("P 5-0", 2, 9)]
    assert sum(prompt.endswith("?") for prompt, *_ in asked) == 4
    assert kept == [" 5-0 5-0"]

    assert asyncio.run(of("best_of", prompt="P", n=3, tokens=2, seed=1))[0] == " 2-0"
    texts, asked = asyncio.run(of("prefix_tree", root="r", branches=["a", "b"], leaves=[["1"], ["2", "3"]], tokens=1))
    assert [prompt for prompt, *_ in asked] == ["ra1", "rb2", "rb3"]
    assert len(texts) == 3
    assert asyncio.run(of("shelf", documents={"/a": "A", "/b": "B"}, question="Q", tokens=1))[1][0][0] == "ABQ"
    _, asked = asyncio.run(of("skeleton", question="Q", points=["x", "y"], outline=4, tokens=2))
    assert [prompt for prompt, *_ in asked] == ["Q", "Q 4-0x", "Q 4-0y"]


def test_so_many_jobs_at_once():
    async def work() -> tuple[list[Any], int]:
        now = most = 0

        async def one(job: Job) -> int:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            return job["i"]

        return await run_jobs(one, [{"i": i} for i in range(9)], 4), most

    assert asyncio.run(work()) == (list(range(9)), 4)


class Fixed:
    """A way that takes what it is told to."""

    def __init__(self, label: str, computed: int, cpu: float, results: str) -> None:
        self.label = label
        self._run = (computed, cpu, results)
        self.jobs: list[list[Job]] = []

    def run(self, application: Application, jobs: list[Job]) -> Run:
        self.jobs.append(jobs)
        computed, cpu, results = self._run
        return Run([results] * len(jobs), computed, cpu, 2 * cpu)


def test_ratios_and_their_bounds():
    ways = [Fixed("LIP", 100, 1.0, "a"), Fixed("endpoint", 90, 1.1, "a"), Fixed("transformers", 300, 3.0, "b")]
    report = Report("programs")
    bench_programs(report, ways, choose(["agent", "extract"]), 2, lambda text: None, jobs=3)
    assert ways[0].jobs == ways[1].jobs == ways[2].jobs
    assert [len(jobs) for jobs in ways[0].jobs] == [WARM_JOBS, 3, 3] * 2
    figures = {figure.name.replace("agent, 8 tool calls", "agent"): figure for figure in report.figures}
    lost = figures["agent: endpoint / LIP, computed"]
    assert (lost.value, lost.holds) == (0.9, False), "losses are told"
    assert figures["agent: endpoint / LIP, CPU"].holds is False
    assert figures["agent: transformers / LIP, CPU"].holds is True
    assert figures["JSON extraction: endpoint / LIP, CPU"].holds is True
    assert figures["JSON extraction: transformers / LIP, CPU"].holds is None
    assert figures["agent: endpoint, same results"].value == 1
    assert figures["agent: transformers, same results"].value == 0


def test_what_is_not_there():
    with pytest.raises(Invalid, match="there is no application 'chess'"):
        choose(["chess"])


def test_programs_and_clients_say_the_same(tmp_path: Path):
    """One small job of each application, as they are measured, but on one server: it takes long to start."""
    server = Server(TINY, "cpu", 1, tmp_path / "server")
    try:
        ways = [Programs(server, "LIP"), Clients(server, "endpoint", stop_tokens(TINY))]
        for application in APPLICATIONS:
            jobs = [_small(job) for job in make_jobs(application, 0, 1)]
            ours, theirs = (way.run(application, jobs) for way in ways)
            if application.name != "shelf":  # its documents do not see each other
                assert ours.results == theirs.results, application.name
            assert 0 < theirs.computed < ours.computed, "the second one finds the prefixes of the first"
            assert ours.cpu >= 0 < ours.wall
        with pytest.raises(Unavailable, match="gave 404"):
            asyncio.run(_ask(server, "/v1/programs/nobody"))
        assert "tiny" in server.report["model"]
    finally:
        server.close()


def _small(job: Job) -> Job:
    less = {"calls": 2, "tokens": min(job["tokens"], 12), "outline": 4, "depth": 1, "n": 2}
    cut = {"branches": 2, "leaves": 2, "points": 2}
    if "documents" in job:
        job = job | {"documents": dict(islice(job["documents"].items(), 2))}
    small = {name: value for name, value in less.items() if name in job}
    return job | small | {name: job[name][:most] for name, most in cut.items() if name in job}


async def _ask(server: Server, path: str) -> Any:
    import aiohttp

    async with aiohttp.ClientSession(server.url) as session:
        return await answer(session, "GET", path)
