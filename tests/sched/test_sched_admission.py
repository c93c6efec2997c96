"""Level 1: which launches become processes, fair between tenants, bounded."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from symphony.errors import LimitExceeded, Unavailable
from symphony.sched.admission import Admission, AdmissionLimits


def test_there_is_room() -> None:
    admission = Admission[int](AdmissionLimits(live=2))
    assert admission.ask(1, "a")
    assert admission.ask(2, "b")
    assert not admission.ask(3, "a")
    assert (admission.live, admission.waiting) == (2, 1)
    assert admission.ended("b") == [3]
    assert admission.ended("a") == []
    assert (admission.live, admission.waiting) == (1, 0)


def test_a_tenant_beyond_its_own_limit_waits_while_others_do_not() -> None:
    admission = Admission[int](AdmissionLimits(live=10, live_per_tenant=2))
    assert [admission.ask(i, "a") for i in range(3)] == [True, True, False]
    assert admission.ask(3, "b")
    assert admission.ended("b") == []
    assert admission.ended("a") == [2]


def test_limits_of_single_tenants() -> None:
    limits = AdmissionLimits(live=10, live_per_tenant=2, waiting_per_tenant=2, live_of={"a": 1}, waiting_of={"a": 1})
    admission = Admission[int](limits)
    assert [admission.ask(i, "a") for i in range(2)] == [True, False]
    with pytest.raises(LimitExceeded) as caught:
        admission.ask(2, "a")
    assert caught.value.retry_after == 1.0
    assert [admission.ask(i, "b") for i in range(3, 7)] == [True, True, False, False]
    assert admission.ended("a") == [1]


def test_nobody_overtakes_the_waiting_launches_of_the_same_tenant() -> None:
    admission = Admission[int](AdmissionLimits(live=1))
    assert admission.ask(0, "a")
    assert [admission.ask(i, "a") for i in range(1, 4)] == [False] * 3
    assert [admission.ended("a") for _ in range(3)] == [[1], [2], [3]]


def test_places_go_to_the_tenant_that_has_the_fewest() -> None:
    admission = Admission[str](AdmissionLimits(live=4), {"gold": 3.0})
    for i in range(4):
        assert admission.ask(f"a{i}", "a")
    for tenant in ("a", "b", "gold"):
        for i in range(10):
            assert not admission.ask(f"{tenant} waits {i}", tenant)
    live = Counter({"a": 4})
    for _ in range(12):
        ends = max(live, key=lambda t: live[t] / (3 if t == "gold" else 1))
        [ticket] = admission.ended(ends)
        live[ends] -= 1
        live[ticket.split()[0]] += 1
    assert live["gold"] >= 2
    assert live["b"] >= 1


def test_full_queues_refuse() -> None:
    admission = Admission[int](AdmissionLimits(live=1, waiting=3, waiting_per_tenant=2))
    admission.ask(0, "a")
    admission.ask(1, "a")
    admission.ask(2, "a")
    with pytest.raises(LimitExceeded, match="2 launches wait"):
        admission.ask(3, "a")
    assert not admission.ask(4, "b")
    with pytest.raises(Unavailable):
        admission.ask(5, "c")
    assert admission.withdraw(1)
    assert not admission.ask(5, "c")
    assert not admission.withdraw(1)


@pytest.mark.parametrize("seed", range(20))
def test_random_histories_lose_nobody_and_keep_the_limits(seed: int) -> None:
    rng = random.Random(seed)
    limits = AdmissionLimits(live=5, live_per_tenant=3, waiting=12, waiting_per_tenant=6)
    admission = Admission[int](limits)
    live: Counter[str] = Counter()
    waiting: dict[int, str] = {}
    for ticket in range(1000):
        if rng.random() < 0.5:
            tenant = rng.choice("abc")
            try:
                admitted = admission.ask(ticket, tenant)
            except LimitExceeded:
                assert sum(t == tenant for t in waiting.values()) == 6
            except Unavailable:
                assert len(waiting) == 12
            else:
                live[tenant] += admitted
                if not admitted:
                    waiting[ticket] = tenant
        elif waiting and rng.random() < 0.2:
            gone = rng.choice(list(waiting))
            assert admission.withdraw(gone)
            del waiting[gone]
        elif tenants := [t for t in live if live[t]]:
            tenant = rng.choice(sorted(tenants))
            live[tenant] -= 1
            for begun in admission.ended(tenant):
                live[waiting.pop(begun)] += 1
        assert live.total() == admission.live <= 5
        assert max(live.values(), default=0) <= 3
        assert len(waiting) == admission.waiting
    while tenants := [t for t in live if live[t]]:
        live[tenants[0]] -= 1
        for begun in admission.ended(tenants[0]):
            live[waiting.pop(begun)] += 1
    assert not waiting
    assert (admission.live, admission.waiting) == (0, 0)


def test_who_cannot_wait_is_refused_without_a_trace() -> None:
    admission = Admission[int](AdmissionLimits(live=3, live_per_tenant=2, waiting=1))
    assert admission.ask_now("a")
    assert admission.ask_now("a")
    assert not admission.ask_now("a")
    assert admission.ask_now("b")
    assert not admission.ask_now("b")
    assert not admission.ask(1, "a")
    assert (admission.live, admission.waiting) == (3, 1)
    admission.ended("b")
    assert not admission.ask_now("a"), "somebody of the tenant waits, and its places are taken"
    assert admission.ended("a") == [1]
