"""What a simulated run wrote down, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from symphony.sim.device import Device


@dataclass(slots=True)
class TenantRecord:
    tokens: int = 0
    """Tokens that its LIPs got."""
    computed: int = 0
    """Tokens that were computed for them, those of prompts included."""
    asked: int = 0
    """Steps that began while a decode of an in-loop LIP of the tenant was ready for it..."""
    served: int = 0
    """...and those that had it."""


@dataclass(slots=True)
class Records:
    """Seconds of virtual time."""

    tenants: dict[str, TenantRecord] = field(default_factory=dict[str, TenantRecord])
    first: list[float] = field(default_factory=list[float])
    """From a LIP's start to its first token."""
    gaps: list[float] = field(default_factory=list[float])
    """Between two tokens of one LIP that follow each other, thinking included."""
    answers: list[float] = field(default_factory=list[float])
    """From the question to the answer, of predictions of a single token."""
    lives: list[float] = field(default_factory=list[float])
    """Of LIPs, from start to end."""
    waits: list[float] = field(default_factory=list[float])
    """Of decodes in the loop, from being ready beside a free device to the step's start, over the step's length."""
    late: int = 0
    """LIPs that ended after their deadline."""
    longest: float = 0.0
    """The longest that any LIP waited for a single answer or chunk."""

    def tenant(self, name: str) -> TenantRecord:
        record = self.tenants.get(name)
        if record is None:
            record = self.tenants[name] = TenantRecord()
        return record


def percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values; 0 of none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def jain(values: Sequence[float]) -> float:
    """1: all have equal shares; 1/n: one has everything."""
    squares = sum(v * v for v in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def distribution(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    mean = sum(ordered) / len(ordered) if ordered else 0.0
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {"mean": mean} | {name: percentile(ordered, share) for name, share in shares.items()}


@dataclass(slots=True, frozen=True)
class Summary:
    """The figures of one run. Times in seconds."""

    mix: str
    policy: str
    seed: int
    seconds: float
    """From the first arrival to the last end."""
    lips: int
    tokens: int
    tokens_per_second: float
    first: dict[str, float]
    gap: dict[str, float]
    answer: dict[str, float]
    life: dict[str, float]
    wait: dict[str, float]
    """Of ready decodes of in-loop LIPs, in steps."""
    longest: float
    late: int
    steps: int
    rows_per_step: float
    rows: dict[str, float]
    """Distribution of the rows of a step."""
    busy: float
    """Share of the time that the device computed."""
    shares: dict[str, float]
    """Of all computed tokens, by tenant."""
    jain: float
    present: dict[str, float]
    """By tenant: share of the steps for which a decode of it was ready that had it."""
    counters: dict[str, int]
    """What the core counts: swaps, preemptions, what was computed again."""

    @property
    def latency(self) -> float:
        return self.life["mean"]


def summarise(
    mix: str,
    policy: str,
    seed: int,
    seconds: float,
    records: Records,
    device: Device,
    counters: dict[str, int],
) -> Summary:
    """`device`: steps, busy, and `sizes`, how many steps had so many rows."""
    tenants = dict(sorted(records.tenants.items()))
    tokens = sum(t.tokens for t in tenants.values())
    computed = sum(t.computed for t in tenants.values())
    rows = [float(size) for size, times in device.sizes.items() for _ in range(times)]
    by_size = distribution(rows)
    return Summary(
        mix=mix,
        policy=policy,
        seed=seed,
        seconds=seconds,
        lips=len(records.lives),
        tokens=tokens,
        tokens_per_second=tokens / seconds if seconds else 0.0,
        first=distribution(records.first),
        gap=distribution(records.gaps),
        answer=distribution(records.answers),
        life=distribution(records.lives),
        wait=distribution(records.waits),
        longest=records.longest,
        late=records.late,
        steps=device.steps,
        rows_per_step=by_size["mean"],
        rows=by_size,
        busy=device.busy / seconds if seconds else 0.0,
        shares={name: t.computed / computed if computed else 0.0 for name, t in tenants.items()},
        jain=jain([t.computed for t in tenants.values()]),
        present={name: t.served / t.asked for name, t in tenants.items() if t.asked},
        counters=counters,
    )
