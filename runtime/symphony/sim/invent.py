"""Mixes made up at random, to look for one that a policy handles badly."""

from __future__ import annotations

import random

from symphony.sim.device import StepModel
from symphony.sim.mix import Group, Mix, Range


def invent(seed: int) -> Mix:
    """The same seed gives the same mix. One or two groups, of any kind and load, on any device."""
    rng = random.Random(f"mix {seed}")
    base = _between(rng, 5e-4, 2e-2)
    device = StepModel(base, base * _between(rng, 1e-4, 0.3), base * _between(rng, 1e-4, 0.02))
    groups = tuple(_group(rng, f"g{number}", device) for number in range(rng.randint(1, 2)))
    return Mix(f"invented-{seed}", groups, device=device, seconds=20.0)


def _group(rng: random.Random, name: str, device: StepModel) -> Group:
    step = device.base
    kind = rng.choice(("line", "line", "line", "tree"))
    lips = rng.randint(1, 48) if kind == "line" else rng.randint(1, 6)
    arrival = rng.choice(("closed", "closed", "rate", "burst"))
    longest = rng.choice((8, 64, 400, 1000))
    output = rng.choice((16, 40, 100))
    thinks, aways = _between(rng, 1e-5, 4e-4), rng.choice((0.0, 0.0, 0.3, 1.0, 4.0, 20.0)) * step
    return Group(
        name,
        kind=kind,
        lips=lips * (2 if arrival == "closed" and kind == "line" else 1),
        tenants=rng.randint(1, 3),
        at_once=lips if arrival == "closed" else 0,
        rate=_between(rng, 0.05, 2.0) / (step * output) if arrival == "rate" else 0.0,
        burst=rng.randint(1, lips) if arrival == "burst" else 0,
        every=_between(rng, 1, 100) * step,
        prompt=Range(max(1, longest // 8), longest),
        shared=rng.choice((0, longest // 16)),
        output=Range(max(1, output // rng.choice((1, 4))), output),
        in_loop=rng.choice((1.0, 1.0, 1.0, 0.7)),
        think=Range(thinks / rng.choice((1, 10)), thinks),
        away=Range(aways / rng.choice((1, 10, 1000)), aways),
        rounds=Range(1, rng.choice((1, 1, 3))),
        pause=Range(0, rng.choice((1.0, 20.0, 100.0)) * step),
        result=Range(1, rng.choice((4, 200))),
        branches=rng.randint(2, 4),
        beam=rng.randint(1, 3),
    )


def _between(rng: random.Random, low: float, high: float) -> float:
    return Range(low, high).draw(rng)
