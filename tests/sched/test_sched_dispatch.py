"""Wait or dispatch, on a virtual clock: guests in a closed loop beside a device that takes a + b n."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from math import inf

import pytest

from symphony.errors import Invalid
from symphony.sched.adaptive import Adaptive, Formula
from symphony.sched.dispatch import Dispatch, Eager, FixedRows, FixedTime, Stream
from symphony.sched.policies import policy
from symphony.sched.steptimes import StepTimes


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
        self.held: list[float] = []

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
        self.held.append(self.now - since)
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
    loop = Loop(Adaptive(), 64, lambda _: rng.uniform(0.1e-3, 3e-3))
    loop.run(100)
    late = loop.batches[100:]
    assert sum(late) / len(late) >= 0.95 * 64
    assert sorted(loop.waits)[len(loop.waits) // 2] <= 0.25


def test_waiting_pays_against_going_at_once() -> None:
    def think(_: int) -> float:
        return rng.uniform(0.1e-3, 3e-3)

    rng = random.Random(2)
    waiting = Loop(Adaptive(), 64, think).run(200)
    rng = random.Random(2)
    eager = Loop(Eager(), 64, think).run(200)
    assert waiting > 1.05 * eager


def test_nobody_waits_for_guests_that_think_long() -> None:
    rng = random.Random(3)
    loop = Loop(Adaptive(), 40, lambda guest: 2.0 if guest % 2 else rng.uniform(1e-4, 1e-3))
    loop.run(300)
    assert max(loop.waits[len(loop.waits) // 2 :]) <= 0.26
    rng = random.Random(3)
    alone = Loop(Adaptive(), 20, lambda guest: rng.uniform(1e-4, 1e-3))
    assert loop.run(300) >= 0.95 * alone.run(300)


def test_a_lone_guest_never_waits() -> None:
    loop = Loop(Adaptive(), 1, lambda _: 1e-3)
    loop.run(50)
    assert max(loop.waits) == 0


@pytest.mark.parametrize("n", [2, 8, 64, 100])
@pytest.mark.parametrize("seed", range(5))
def test_no_wait_is_longer_than_a_step_of_one_row_and_half_are_shorter_than_a_quarter(n: int, seed: int) -> None:
    rng = random.Random(seed)
    loop = Loop(Adaptive(), n, lambda _: rng.expovariate(100), base=rng.uniform(1e-3, 1e-2))
    loop.run(100)
    half = len(loop.waits) // 2
    assert max(loop.held[100:]) <= 1.1 * (loop.base + loop.each)
    assert sorted(loop.waits[half:])[half // 2] <= 0.25


def test_streams_that_end_are_not_waited_for() -> None:
    policy = Adaptive()
    policy.stepped(1, 1.0)
    gone, stays = Stream(), Stream()
    policy.answered(gone, 10.0)
    policy.answered(stays, 10.0)
    assert policy.wait(1, 10.0, 10.0)[1] == 2
    policy.gone(gone)
    assert policy.wait(1, 10.0, 10.0)[1] == 1
    policy.returned(stays, 10.1)
    assert policy.wait(2, 10.0, 10.1) == (0.0, 0)


def test_a_stream_that_often_stays_away_is_not_counted_on() -> None:
    def think(guest: int) -> float:
        return 0.5 if guest % 2 and rng.random() < 0.7 else 1e-3

    rng = random.Random(6)
    loop = Loop(Adaptive(), 32, think)
    loop.run(400)
    assert sum(loop.held[400:]) <= 0.05 * sum(loop.base + loop.each * rows for rows in loop.batches[400:]) + 0.6


def test_the_median_of_thoughts_that_are_short_as_a_rule_and_sometimes_very_long() -> None:
    policy, stream, rng = Adaptive(), Stream(), random.Random(7)
    policy.stepped(1, 0.1)
    now, medians = 1.0, list[float]()
    for _ in range(1000):
        policy.answered(stream, now)
        policy.wait(1, now, now)  # what is longer than four steps would say nothing
        now += 1e-4 * 1000 ** rng.random()  # three decades around 3.2 ms
        policy.returned(stream, now)
        medians.append(stream.think)
    assert sum(1e-3 < median < 1e-2 for median in medians[100:]) >= 0.75 * 900


def test_who_is_past_its_median_is_not_expected_at_once() -> None:
    policy = Adaptive()
    policy.stepped(1, 0.1)
    streams = [Stream() for _ in range(8)]
    for stream in streams:
        stream.think, stream.spread = 0.01, 0.02
        policy.answered(stream, 1.0)
    seconds, rows = policy.wait(4, 1.02, 1.02)
    assert rows == 8
    assert 0.03 <= seconds <= 0.04  # the end of what is usual is 0.05 after the answers


def test_guests_of_short_life_are_waited_for_like_their_predecessors() -> None:
    policy = Adaptive()
    now = 1.0
    for _ in range(50):
        first, second = Stream(), Stream()
        policy.stepped(2, 5e-3)
        policy.answered(first, now)
        policy.answered(second, now)
        policy.returned(first, now + 1e-3)
        policy.wait(1, now + 1e-3, now + 1e-3)
        policy.returned(second, now + 1.1e-3)
        now += 0.01
    young = Stream()
    policy.answered(young, now)
    seconds, rows = policy.wait(1, now, now)
    assert rows == 1
    assert 1e-3 <= seconds <= 5e-3


def test_fixed_policies() -> None:
    assert FixedRows(4, 0.1).wait(3, 10.0, 10.05) == (pytest.approx(0.05), 1)
    assert FixedRows(4, 0.1).wait(4, 10.0, 10.0) == (0.0, 0)
    assert FixedRows(4, 0.1).wait(3, 10.0, 10.1) == (0.0, 0)
    seconds, rows = FixedTime(0.1).wait(3, 10.0, 10.05)
    assert seconds == pytest.approx(0.05)
    assert rows > 1000
    assert FixedTime(0.1).wait(3, 10.0, 10.2) == (0.0, 0)


def test_the_formula_finds_the_least_time_in_the_system() -> None:
    policy = Formula()
    streams = [Stream() for _ in range(64)]
    now = 1.0
    for step in range(200):
        for _ in range(4):
            now += 1e-3
            policy.returned(streams[step % 64], now)
        policy.stepped(step % 16 + 1, 5e-3 + 1e-4 * (step % 16 + 1))

    def cost(n: int) -> float:
        seconds = 5e-3 + 1e-4 * n
        spare = n - 1000 * seconds
        return (n - 1) / 2000 + n / (2000 * spare) + seconds if spare > 0 else inf

    best = min(range(1, 65), key=cost)
    assert policy.wait(1, now, now)[1] == pytest.approx(best - 1, abs=1)


@pytest.mark.parametrize(("name", "kind"), [("adaptive", Adaptive), ("rows:8", FixedRows), ("time:0.5", FixedTime)])
def test_policies_by_name(name: str, kind: type[Dispatch]) -> None:
    assert isinstance(policy(name)(), kind)


@pytest.mark.parametrize("name", ["", "lazy", "rows", "rows:x", "rows:0", "rows:1:2:3", "time:-1", "rows:8:0"])
def test_unknown_policies_are_named(name: str) -> None:
    with pytest.raises(Invalid, match="policy"):
        policy(name)


def test_nothing_is_waited_for_before_the_first_measurement() -> None:
    policy = Adaptive()
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


def test_step_times_of_similar_sizes_give_the_line_too() -> None:
    times, rng = StepTimes(), random.Random(1)
    for _ in range(60):
        n = rng.randint(9, 15)  # one cell of the table
        times.add(n, (0.64e-3 + 0.146e-3 * n) * rng.uniform(0.99, 1.01))
    assert times.predict(1) == pytest.approx(0.786e-3, rel=0.1)
    assert times.predict(64) == pytest.approx(9.98e-3, rel=0.1)


def test_step_times_of_one_size_only_are_taken_for_all() -> None:
    times = StepTimes()
    assert times.predict(5) == 0.0
    for _ in range(10):
        times.add(64, 0.02)
    assert times.predict(1) == pytest.approx(0.02)
