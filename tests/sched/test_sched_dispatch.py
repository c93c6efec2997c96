"""Wait or dispatch, on a virtual clock: guests in a closed loop beside a device that takes a + b n."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from symphony.sched.dispatch import ClosedLoop, Dispatch, Eager, StepTimes, Stream


class Loop:
    """`n` guests that think for `think(guest)` and come back; the device runs whoever is ready."""

    def __init__(
        self, policy: Dispatch, n: int, think: Callable[[int], float], base: float = 5e-3, each: float = 3e-4
    ) -> None:
        self.policy = policy
        self.streams = [Stream() for _ in range(n)]
        self.think = think
        self.base, self.each = base, each
        self.now = 0.0
        self.coming = [(think(i), i) for i in range(n)]
        heapq.heapify(self.coming)
        self.ready: list[tuple[float, int]] = []
        self.batches: list[int] = []
        self.waits: list[float] = []

    def arrive(self, until: float) -> None:
        while self.coming and self.coming[0][0] <= until:
            at, guest = heapq.heappop(self.coming)
            self.policy.returned(self.streams[guest], at)
            self.ready.append((at, guest))

    def step(self) -> None:
        free_since = self.now
        self.arrive(self.now)
        if not self.ready:
            self.now = self.coming[0][0]
            self.arrive(self.now)
        since = max(free_since, self.ready[0][0])
        while True:
            seconds, more = self.policy.wait(len(self.ready), since, self.now)
            if not more:
                break
            wanted = len(self.ready) + more
            deadline = self.now + seconds
            while self.coming and self.coming[0][0] <= deadline and len(self.ready) < wanted:
                self.now = self.coming[0][0]
                self.arrive(self.now)
            if len(self.ready) < wanted:
                self.now = deadline
        took = self.base + self.each * len(self.ready)
        self.waits += [(self.now - max(at, free_since)) / took for at, _ in self.ready]
        self.batches.append(len(self.ready))
        self.now += took
        self.policy.stepped(len(self.ready), took)
        for _, guest in self.ready:
            self.policy.answered(self.streams[guest], self.now)
            heapq.heappush(self.coming, (self.now + self.think(guest), guest))
        self.ready = []

    def run(self, steps: int) -> float:
        """Rows a second over the second half."""
        for _ in range(steps):
            self.step()
        start, rows = self.now, 0
        for _ in range(steps):
            self.step()
            rows += self.batches[-1]
        return rows / (self.now - start)


def test_64_in_loop_guests_make_nearly_full_batches() -> None:
    rng = random.Random(1)
    loop = Loop(ClosedLoop(), 64, lambda _: rng.uniform(0.1e-3, 3e-3))
    loop.run(100)
    late = loop.batches[100:]
    assert sum(late) / len(late) >= 0.95 * 64
    assert sorted(loop.waits)[len(loop.waits) // 2] <= 0.25


def test_waiting_pays_against_going_at_once() -> None:
    def think(_: int) -> float:
        return rng.uniform(0.1e-3, 3e-3)

    rng = random.Random(2)
    waiting = Loop(ClosedLoop(), 64, think).run(200)
    rng = random.Random(2)
    eager = Loop(Eager(), 64, think).run(200)
    assert waiting > 1.05 * eager


def test_nobody_waits_for_guests_that_think_long() -> None:
    rng = random.Random(3)
    loop = Loop(ClosedLoop(), 40, lambda guest: 2.0 if guest % 2 else rng.uniform(1e-4, 1e-3))
    loop.run(300)
    assert max(loop.waits[len(loop.waits) // 2 :]) <= 0.26
    rng = random.Random(3)
    alone = Loop(ClosedLoop(), 20, lambda guest: rng.uniform(1e-4, 1e-3))
    assert loop.run(300) >= 0.95 * alone.run(300)


def test_a_lone_guest_never_waits() -> None:
    loop = Loop(ClosedLoop(), 1, lambda _: 1e-3)
    loop.run(50)
    assert max(loop.waits) == 0


def test_no_wait_is_longer_than_a_quarter_of_the_step_or_one_row() -> None:
    rng = random.Random(4)
    for n in (2, 8, 100):
        loop = Loop(ClosedLoop(), n, lambda _: rng.expovariate(100), base=rng.uniform(1e-3, 1e-2))
        loop.run(100)
        half = loop.waits[len(loop.waits) // 2 :]
        assert max(half) <= 0.26
        one = (loop.base + loop.each) / (loop.base + loop.each * n)
        assert max(half) <= max(1.2 * one, 0.26)


def test_streams_that_end_are_not_waited_for() -> None:
    policy = ClosedLoop()
    policy.stepped(1, 1.0)
    gone, stays = Stream(), Stream()
    policy.answered(gone, 10.0)
    policy.answered(stays, 10.0)
    assert policy.wait(1, 10.0, 10.0) == (pytest.approx(0.25), 2)
    policy.gone(gone)
    assert policy.wait(1, 10.0, 10.0)[1] == 1
    policy.returned(stays, 10.1)
    assert policy.wait(2, 10.0, 10.1) == (0.0, 0)


def test_nothing_is_waited_for_before_the_first_measurement() -> None:
    policy = ClosedLoop()
    policy.answered(Stream(), 1.0)
    assert policy.wait(1, 1.0, 1.0) == (0.0, 0)


def test_step_times_are_fitted_and_follow_changes() -> None:
    times = StepTimes()
    for i in range(200):
        n = 1 + i * 7 % 64
        times.add(n, 5e-3 + 3e-4 * n)
    assert times.predict(1) == pytest.approx(5.3e-3, rel=0.01)
    assert times.predict(64) == pytest.approx(24.2e-3, rel=0.01)
    for i in range(200):
        n = 1 + i * 7 % 64
        times.add(n, 1e-3 + 1e-5 * n)
    assert times.predict(64) == pytest.approx(1.64e-3, rel=0.05)


def test_step_times_of_one_size_only_are_taken_for_all() -> None:
    times = StepTimes()
    assert times.predict(5) == 0.0
    for _ in range(10):
        times.add(64, 0.02)
    assert times.predict(1) == pytest.approx(0.02)
