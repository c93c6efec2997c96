"""Level 1: fairness in CPU time between tenants, then processes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from symphony.param import MAX_LAG_NS
from symphony.sched.process import ProcessScheduler, weight_of


def spin(scheduler: ProcessScheduler, turns: int, cost: dict[int, int] | int = 1000) -> Counter[int]:
    """Everybody who gets a turn uses its cost and is ready again; CPU nanoseconds a process."""
    used: Counter[int] = Counter()
    for _ in range(turns):
        pid = scheduler.next()
        assert pid is not None
        ns = cost if isinstance(cost, int) else cost[pid]
        scheduler.charge(pid, ns)
        used[pid] += ns
        scheduler.ready(pid)
    return used


def test_nobody_is_ready() -> None:
    scheduler = ProcessScheduler()
    assert scheduler.next() is None
    scheduler.add(1, "a")
    assert scheduler.next() is None
    scheduler.ready(1)
    scheduler.ready(1)
    assert (scheduler.next(), scheduler.next()) == (1, None)


def test_equal_processes_share_equally_whatever_a_turn_costs() -> None:
    scheduler = ProcessScheduler()
    for pid in range(10):
        scheduler.add(pid, "a")
        scheduler.ready(pid)
    used = spin(scheduler, 10_000, {pid: 100 * (pid + 1) for pid in range(10)})
    assert max(used.values()) - min(used.values()) <= 2000


def test_tenants_share_equally_whatever_their_number_of_processes() -> None:
    scheduler = ProcessScheduler()
    scheduler.add(0, "small")
    for pid in range(1, 201):
        scheduler.add(pid, "large")
    for pid in range(201):
        scheduler.ready(pid)
    used = spin(scheduler, 4000)
    assert used[0] == pytest.approx(sum(used.values()) / 2, rel=0.01)


def test_weights_of_tenants_and_processes() -> None:
    scheduler = ProcessScheduler({"gold": 3.0})
    for pid, tenant, weight in ((1, "gold", 1.0), (2, "gold", 4.0), (3, "plain", 1.0)):
        scheduler.add(pid, tenant, weight)
        scheduler.ready(pid)
    used = spin(scheduler, 8000)
    total = sum(used.values())
    assert used[3] / total == pytest.approx(1 / 4, rel=0.02)
    assert used[2] / used[1] == pytest.approx(4, rel=0.02)


def test_nice_values_are_weights() -> None:
    assert weight_of(0) == 1.0
    assert weight_of(-20) / weight_of(-19) == pytest.approx(1.25)
    assert (weight_of(99), weight_of(-99)) == (weight_of(19), weight_of(-20))
    scheduler = ProcessScheduler()
    for pid, nice in ((1, 0), (2, 5)):
        scheduler.add(pid, "a", weight_of(nice))
        scheduler.ready(pid)
    used = spin(scheduler, 8000)
    assert used[1] / used[2] == pytest.approx(1.25**5, rel=0.02)


def test_the_lowest_priority_gets_a_turn_within_a_bound() -> None:
    slice_ns, peers = 1_000_000, 10
    scheduler = ProcessScheduler()
    scheduler.add(0, "a", weight_of(19))
    for pid in range(1, peers + 1):
        scheduler.add(pid, "a")
    for pid in range(peers + 1):
        scheduler.ready(pid)
    turns, longest, since = 20_000, 0, 0
    for turn in range(turns):
        pid = scheduler.next()
        assert pid is not None
        if pid == 0:
            longest, since = max(longest, turn - since), turn
        scheduler.charge(pid, slice_ns)
        scheduler.ready(pid)
    assert longest * slice_ns <= 1.2 * peers * MAX_LAG_NS


def test_the_blocked_hoard_no_credit() -> None:
    scheduler = ProcessScheduler()
    for pid, tenant in ((1, "a"), (2, "a"), (3, "b")):
        scheduler.add(pid, tenant)
    scheduler.ready(1)
    spin(scheduler, 1000)
    scheduler.ready(2)
    scheduler.ready(3)
    used = spin(scheduler, 400)
    assert used[3] == pytest.approx(200_000, rel=0.02)
    assert used[2] == pytest.approx(used[1], rel=0.05)


def test_newcomers_start_now() -> None:
    scheduler = ProcessScheduler()
    scheduler.add(1, "a")
    scheduler.ready(1)
    spin(scheduler, 1000)
    scheduler.add(2, "a")
    scheduler.ready(2)
    used = spin(scheduler, 100)
    assert abs(used[1] - used[2]) <= 2000


def test_a_spinner_beside_many_short_ones_waits_for_its_share() -> None:
    scheduler = ProcessScheduler()
    for pid in range(200):
        scheduler.add(pid, "a")
        scheduler.ready(pid)
    used = spin(scheduler, 20_000, {pid: 1_000_000 if pid == 0 else 50_000 for pid in range(200)})
    others = [used[pid] for pid in range(1, 200)]
    assert used[0] <= max(others) + 1_000_000


def test_remove_in_any_state() -> None:
    scheduler = ProcessScheduler()
    for pid in range(4):
        scheduler.add(pid, "a")
    scheduler.ready(0)
    scheduler.ready(1)
    scheduler.ready(2)
    assert scheduler.next() == 0
    scheduler.charge(0, 5)
    scheduler.remove(0)  # running
    scheduler.remove(1)  # queued
    scheduler.remove(3)  # idle
    assert (scheduler.next(), scheduler.next()) == (2, None)
    scheduler.remove(2)
    assert len(scheduler) == 0
    scheduler.add(0, "a")
    scheduler.ready(0)
    assert scheduler.next() == 0


@pytest.mark.parametrize("seed", range(20))
def test_random_histories_lose_nobody(seed: int) -> None:
    rng = random.Random(seed)
    scheduler = ProcessScheduler()
    ready: set[int] = set()
    live: set[int] = set()
    for pid in range(500):
        match rng.randrange(4):
            case 0:
                scheduler.add(pid, rng.choice("abc"), rng.choice([1.0, 2.0]))
                live.add(pid)
            case 1 if live:
                chosen = rng.choice(sorted(live))
                scheduler.ready(chosen)
                ready.add(chosen)
            case 2 if live:
                chosen = rng.choice(sorted(live))
                scheduler.remove(chosen)
                live.discard(chosen)
                ready.discard(chosen)
            case _:
                got = scheduler.next()
                assert (got is None) == (not ready)
                if got is not None:
                    assert got in ready
                    ready.remove(got)
                    scheduler.charge(got, rng.randrange(1000))
    while (got := scheduler.next()) is not None:
        ready.remove(got)
    assert not ready
