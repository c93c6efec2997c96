"""Level 2: the budget of a step, decodes beside prefill, fairness between tenants."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import inf

import pytest

from symphony.param import NICE_SECONDS
from symphony.sched.batch import BatchLimits, BatchScheduler


@dataclass(eq=False)
class Job:
    tenant: str
    work: int
    since: float = 0.0
    nice: int = 0
    deadline: float = inf
    group: int = 0


def test_everything_that_fits_goes() -> None:
    jobs = [Job("a", 100), Job("b", 1), Job("a", 3)]
    plan = BatchScheduler[Job](BatchLimits(tokens=104, rows=3)).plan(jobs, 0.0)
    assert plan == [(jobs[0], 100), (jobs[1], 1), (jobs[2], 3)]


def test_decodes_go_before_prefill_which_gets_the_rest_in_chunks() -> None:
    prefill, decodes = Job("a", 500), [Job("a", 1) for _ in range(10)]
    scheduler = BatchScheduler[Job](BatchLimits(tokens=64, rows=32))
    plan = scheduler.plan([prefill, *decodes], 0.0)
    assert plan[:10] == [(job, 1) for job in decodes]
    assert plan[10:] == [(prefill, 54)]


@pytest.mark.parametrize(("tokens", "rows"), [(1, 1), (7, 3), (64, 8), (5, 100)])
def test_budgets_hold_and_no_step_is_empty(tokens: int, rows: int) -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=tokens, rows=rows))
    jobs = [Job("abc"[i % 3], 1 if i % 2 else 40, since=i) for i in range(30)]
    while jobs:
        plan = scheduler.plan(jobs, 100.0)
        assert 0 < len(plan) <= rows
        assert 0 < sum(n for _, n in plan) <= tokens
        for job, n in plan:
            assert 1 <= n <= job.work
            job.work -= n
            job.since = 100.0
        jobs = [job for job in jobs if job.work]


def serve(scheduler: BatchScheduler[Job], jobs: list[Job], steps: int) -> Counter[str]:
    """Backlogged jobs: everybody who is served is ready again. Tokens a tenant."""
    served: Counter[str] = Counter()
    for step in range(steps):
        for job, n in scheduler.plan(jobs, float(step)):
            served[job.tenant] += n
            job.since = float(step)
    return served


def test_a_tenant_with_one_decode_is_in_every_step_beside_one_with_200() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=64, rows=64, max_wait=2.0))
    small = Job("small", 1)
    served = serve(scheduler, [Job("large", 1) for _ in range(200)] + [small], 200)
    assert served["small"] >= 0.95 * 200


def test_backlogged_tenants_get_equal_tokens_whatever_their_number_of_rows() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=64, rows=64, max_wait=1e9))
    served = serve(scheduler, [Job("a", 1) for _ in range(100)] + [Job("b", 1) for _ in range(400)], 300)
    assert served["a"] / sum(served.values()) == pytest.approx(0.5, abs=0.02)


def test_weights() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=60, rows=60, max_wait=1e9), {"a": 3.0})
    served = serve(scheduler, [Job(t, 1) for t in "ab" for _ in range(100)], 300)
    assert served["a"] / served["b"] == pytest.approx(3, rel=0.05)


def test_jain_index_over_ten_tenants_of_unequal_greed() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=100, rows=100, max_wait=1e9))
    served = serve(scheduler, [Job(f"t{t}", 1) for t in range(10) for _ in range(15 * (t + 1))], 200)
    values = list(served.values())
    assert sum(values) ** 2 / (10 * sum(v * v for v in values)) >= 0.95


def test_prefill_is_not_starved_by_decodes() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=8, rows=8, max_wait=5.0))
    prefill = Job("a", 100)
    decodes = [Job("a", 1) for _ in range(50)]
    served_at = []
    for step in range(40):
        for job, _ in scheduler.plan([prefill, *decodes], float(step)):
            job.since = float(step)
            if job is prefill:
                served_at.append(step)
    assert served_at
    assert max(b - a for a, b in zip([0, *served_at], served_at, strict=False)) <= 12


def test_within_a_tenant_the_oldest_goes_first_so_nobody_starves() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=3, rows=3))
    jobs = [Job("a", 1) for _ in range(10)]
    served = {job: [0] for job in jobs}
    for step in range(1, 100):
        for job, _ in scheduler.plan(jobs, float(step)):
            job.since = float(step) + 1
            served[job].append(step)
    gaps = [b - a for steps in served.values() for a, b in zip(steps, [*steps[1:], 99], strict=True)]
    assert max(gaps) <= 5


def test_who_was_away_gets_no_credit() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=10, rows=10, max_wait=1e9))
    a, b = [Job("a", 1) for _ in range(20)], [Job("b", 1) for _ in range(20)]
    serve(scheduler, a + b, 10)
    serve(scheduler, a, 100)
    served = serve(scheduler, a + b, 20)
    assert served["b"] == pytest.approx(100, abs=10)


def test_prefill_of_one_tenant_gets_on_beside_more_decodes_than_there_are_rows() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=2048, rows=256, max_wait=1e9))
    prompt = Job("b", 10_000)
    plan = scheduler.plan([*(Job("a", 1) for _ in range(1000)), prompt], 0.0)
    assert len(plan) == 256
    assert plan[-1] == (prompt, 2048 - 255)


def waits(scheduler: BatchScheduler[Job], jobs: list[Job], steps: int, seconds: float) -> dict[Job, float]:
    """The longest wait of each of the backlogged jobs."""
    longest = dict.fromkeys(jobs, 0.0)
    for step in range(steps):
        now = step * seconds
        for job, _ in scheduler.plan(jobs, now):
            longest[job] = max(longest[job], now - job.since)
            job.since = now
    return longest


def test_nice_rows_stand_back_but_every_wait_is_bounded() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=8, rows=8, max_wait=1e9))
    hasty = [Job("a", 1, nice=-5) for _ in range(40)]
    nice = [Job("a", 1, nice=15) for _ in range(40)]
    longest = waits(scheduler, [*nice, *hasty], 2000, 0.01)
    round_of_all = 80 / 8 * 0.01
    assert max(longest[job] for job in hasty) < min(longest[job] for job in nice)
    assert max(longest.values()) <= 20 * NICE_SECONDS + 2 * round_of_all


def test_a_near_deadline_goes_before_its_peers_and_not_before_other_tenants() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=2, rows=2, max_wait=1.0))
    peers, urgent = [Job("a", 1, since=9.9) for _ in range(10)], Job("a", 1, since=9.95, deadline=10.2)
    far, other = Job("a", 1, since=9.91, deadline=99.0), Job("b", 1, since=9.99)
    plan = scheduler.plan([*peers, far, urgent, other], 10.0)
    assert {id(job) for job, _ in plan} == {id(urgent), id(other)}


def test_a_deadline_that_has_passed_starves_nobody() -> None:
    scheduler = BatchScheduler[Job](BatchLimits(tokens=1, rows=1, max_wait=0.2))
    peer, late = Job("a", 1), Job("a", 1, deadline=0.0)
    longest = waits(scheduler, [peer, late], 500, 0.01)
    assert longest[peer] <= 0.25


def test_rows_of_one_group_are_neighbours() -> None:
    jobs = [Job("a", 1, group=g) for g in (1, 0, 2, 1, 0, 2, 1)]
    plan = BatchScheduler[Job]().plan(jobs, 0.0)
    assert [job.group for job, _ in plan] == [1, 1, 1, 0, 2, 2, 0]
    assert len({id(job) for job, _ in plan}) == 7


def test_tenants_that_went_are_forgotten() -> None:
    scheduler = BatchScheduler[Job]()
    for i in range(1000):
        scheduler.plan([Job(f"t{i}", 1), Job("stays", 1)], float(i))
    assert len(scheduler._counters) < 100
