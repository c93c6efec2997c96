"""Rates: what is taken is paid for afterwards, savings are bounded, and nobody's limit is another's."""

from __future__ import annotations

import random

from symphony.pace import Pace


def test_without_limits_nobody_waits() -> None:
    pace = Pace()
    pace.take("a", 1e9, 0.0)
    assert (pace.limits, pace.wait("a", 0.0)) == (False, 0.0)
    assert not Pace(None, {}).limits
    assert Pace(1.0).limits
    assert Pace(None, {"a": 1.0}).limits


def test_a_burst_then_the_rate() -> None:
    pace, now = Pace(10.0, burst_seconds=2.0), 100.0
    taken = 0
    while not pace.wait("a", now):
        pace.take("a", 1.0, now)
        taken += 1
    assert taken == 21, "two seconds saved up, and one on credit"
    assert round(pace.wait("a", now), 9) == 0.1
    assert pace.wait("a", now + 0.2) == pace.wait("b", now) == 0.0


def test_over_long_times_nobody_has_more_than_the_rate_and_whoever_asks_gets_it() -> None:
    rng = random.Random(5)
    for rate in (0.5, 3.0, 1000.0):
        pace, now, taken = Pace(None, {"a": rate}), 0.0, 0.0
        for _ in range(2000):
            if pace.wait("a", now):
                now += pace.wait("a", now) + 1e-9
            amount = rng.choice([1.0, 1.0, 1.0, 7.0])
            pace.take("a", amount, now)
            taken += amount
        assert rate * now <= taken <= rate * (now + 1.0) + 7.0, rate


def test_names_that_have_paid_are_forgotten() -> None:
    pace = Pace(1.0)
    for i in range(10_000):
        pace.take(str(i), 1.0, 10.0 * i)
    assert len(pace._paid) <= 4097
    pace.take("debtor", 1e9, 1e5)
    for i in range(10_000):
        pace.take(str(i), 1.0, 1e5 + 10.0 * i)
    assert pace.wait("debtor", 1e5) > 1e8
