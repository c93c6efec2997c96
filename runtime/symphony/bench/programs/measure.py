"""Rounds of the applications, each way in turn, and the report: tokens computed, CPU-seconds, seconds, and ratios.

Every round has new jobs, the same for each way. A ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from statistics import median

from symphony.bench.programs.ways import Run, Way
from symphony.bench.programs.work import APPLICATIONS, Application, make_jobs, warm_jobs
from symphony.bench.report import Report
from symphony.errors import Invalid

BOUNDS = {("endpoint", True): 1.2, ("transformers", True): 2.0, ("endpoint", False): 0.97}
"""How many times our CPU-seconds others take at least, by way and whether calls are chained."""


def choose(only: Sequence[str]) -> list[Application]:
    """Those that are named; all without names. Raises Invalid."""
    names = [application.name for application in APPLICATIONS]
    if unknown := set(only) - set(names):
        raise Invalid(f"there is no application {min(unknown)!r}", f"there are {', '.join(names)}")
    return [application for application in APPLICATIONS if not only or application.name in only]


def bench_programs(
    report: Report,
    ways: Sequence[Way],
    chosen: Sequence[Application],
    rounds: int,
    tell: Callable[[str], None],
    jobs: int | None = None,
) -> None:
    """The first way is the one that the others are held against. `jobs`: of each application, instead of its own."""
    for application in chosen:
        runs: dict[str, list[Run]] = {way.label: [] for way in ways}
        for number in range(-1, rounds):
            work = make_jobs(application, number, jobs) if number >= 0 else warm_jobs(application)
            turn = number % len(ways)
            for way in (*ways[turn:], *ways[:turn]):
                run = way.run(application, work)
                if number >= 0:
                    runs[way.label].append(run)
            load = f"load {os.getloadavg()[0]:.1f}"
            tell(f"{application.name}: {'warm' if number < 0 else f'round {number + 1} of {rounds}'}, {load}")
        for line in _report(report, application, runs):
            tell(line)


def _report(report: Report, application: Application, runs: dict[str, list[Run]]) -> list[str]:
    """Adds the figures; returns a line for each of the other ways, for who does not want to wait for the end."""
    title = application.title
    for label, found in runs.items():
        report.add(f"{title}: {label}, computed", median(run.computed for run in found), "tokens")
        report.add(f"{title}: {label}, CPU", median(run.cpu for run in found), "s")
        report.add(f"{title}: {label}, elapsed", median(run.wall for run in found), "s")
    (_, ours), *others = runs.items()
    lines: list[str] = []
    for label, theirs in others:
        fewer = 1.0 if application.chained else None
        report.add(f"{title}: {label} / LIP, computed", _ratio(ours, theirs, "computed"), "x", at_least=fewer)
        bound = BOUNDS.get((label, application.chained))
        report.add(f"{title}: {label} / LIP, CPU", _ratio(ours, theirs, "cpu"), "x", at_least=bound)
        report.add(f"{title}: {label} / LIP, elapsed", _ratio(ours, theirs, "wall"), "x")
        report.add(f"{title}: {label}, same results", _same(ours, theirs), "")
        shares = (f"{what} {_ratio(ours, theirs, what):.3f}" for what in ("computed", "cpu", "wall"))
        lines.append(f"{application.name}: {label} / {next(iter(runs))}: {', '.join(shares)}")
    return lines


def _ratio(ours: list[Run], theirs: list[Run], what: str) -> float:
    return median(getattr(b, what) / getattr(a, what) for a, b in zip(ours, theirs, strict=True))


def _same(ours: list[Run], theirs: list[Run]) -> float:
    """The share of jobs with equal results."""
    pairs = [pair for a, b in zip(ours, theirs, strict=True) for pair in zip(a.results, b.results, strict=True)]
    return sum(a == b for a, b in pairs) / len(pairs)
