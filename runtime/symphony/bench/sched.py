"""Schedulers compared in simulation: policies against mixes, and what the scheduler promises.

Nothing here is measured on a machine: the figures follow from the mixes and the seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import exp, inf, log, sqrt
from statistics import fmean, stdev

from symphony.bench.report import Report
from symphony.sched.policies import policy
from symphony.sim.invent import invent
from symphony.sim.mix import Mix, load, shipped
from symphony.sim.records import Summary
from symphony.sim.run import simulate
from symphony.sim.soak import Tally, history

LEARNS = "adaptive"
FIXED = ("eager", "rows:4", "rows:16", "rows:64", "time:0.5", "time:2")

_BEATS = 1.02
_LOSES = 0.8
_FEW = 2
"""Runs of each policy before it is known whether more are worth while."""


@dataclass(slots=True)
class Lead:
    """How far a policy is ahead of the adaptive one on a mix, in runs of the same seeds: logarithms of ratios."""

    tokens: list[float] = field(default_factory=list[float])
    latency: list[float] = field(default_factory=list[float])

    def add(self, run: Summary, base: Summary) -> None:
        """Latency is left out where the mix is cut before LIPs end."""
        self.tokens.append(log(run.tokens_per_second / base.tokens_per_second))
        self.latency.append(log(base.latency / run.latency) if run.latency and base.latency else 0.0)

    @property
    def ratios(self) -> tuple[float, float]:
        """Throughput, and one over mean latency, each over that of the adaptive policy: above 1 is better."""
        return exp(fmean(self.tokens)), exp(fmean(self.latency))

    @property
    def error(self) -> float:
        """The standard error of the lower of the two; infinite after a single run."""
        figures = min(self.tokens, self.latency, key=fmean)
        return stdev(figures) / sqrt(len(figures)) if len(figures) > 1 else inf

    @property
    def undecided(self) -> bool:
        """Whether further runs could tell if it is ahead by more than may be."""
        return min(self.ratios) + 3 * self.error > _BEATS and self.error > 0


@dataclass(slots=True)
class Comparison:
    """Every policy on every mix."""

    runs: dict[str, dict[str, Summary]] = field(default_factory=dict[str, dict[str, Summary]])
    """By mix, then policy: of the first seed."""
    leads: dict[str, dict[str, Lead]] = field(default_factory=dict[str, dict[str, Lead]])
    """Likewise, of all policies but the adaptive one."""

    def ratios(self, mix: str, name: str) -> tuple[float, float]:
        """See `Lead.ratios`."""
        return self.leads[mix][name].ratios

    def policies(self) -> list[str]:
        return list(next(iter(self.runs.values())))

    def as_text(self) -> str:
        """A table: tokens/s and mean latency of the first policy, then the others relative to it."""
        others = [name for name in self.policies() if name != LEARNS]
        width = max(len(mix) for mix in self.runs)
        head = f"{'mix':<{width}}  {'tok/s':>7} {'latency':>8} {'rows':>5} {'wait':>5}"
        lines = [head + "".join(f"  {name:>11}" for name in others)]
        for mix, runs in self.runs.items():
            base = runs[LEARNS]
            latency = f"{base.latency:.3g} s" if base.latency else "-"
            line = f"{mix:<{width}}  {base.tokens_per_second:>7,.0f} {latency:>8} {base.rows_per_step:>5.1f}"
            line += f" {base.wait['p50']:>5.2f}"
            for name in others:
                tokens, speed = self.ratios(mix, name)
                line += f"  {tokens:>5.2f}/{speed:>5.2f}"
            lines.append(line)
        lines.append("First the adaptive policy's figures (wait: median of ready decodes, in steps); then the others'")
        lines.append("tokens/s and 1/latency over those: above 1 is better than adaptive.")
        for mix, runs in self.runs.items():
            counters = runs[LEARNS].counters
            if counters["pages out"] or counters["preemptions"]:
                lines.append(f"{mix}, adaptive: " + ", ".join(f"{name} {n:,}" for name, n in counters.items()))
        return "\n".join(lines)


def choose(names: Sequence[str], seed: int, invented: int) -> list[Mix]:
    """The named mixes, or all that are shipped if none is named and none is to be invented. Raises as `mix.load`."""
    mixes = [load(name) for name in (names or (() if invented else shipped()))]
    return mixes + [invent(seed + number) for number in range(invented)]


def compare(
    mixes: Sequence[Mix], policies: Sequence[str], seed: int, tell: Callable[[str], None], most: int = 1
) -> Comparison:
    """Run everything, with up to `most` seeds where one does not tell: chance decides much of a short run. `tell` hears
    what is being run."""
    comparison = Comparison()
    for mix in mixes:
        tell(mix.name)
        bases: list[Summary] = []
        leads = comparison.leads[mix.name] = {}
        comparison.runs[mix.name] = runs = {}
        for name in (LEARNS, *policies):
            lead = Lead()
            while (tried := len(lead.tokens)) < most and (tried < min(_FEW, most) or lead.undecided):
                if tried == len(bases):
                    bases.append(simulate(mix, LEARNS, policy(LEARNS), seed + tried))
                run = bases[tried] if name == LEARNS else simulate(mix, name, policy(name), seed + tried)
                runs.setdefault(name, run)
                lead.add(run, bases[tried])
            if name != LEARNS:
                leads[name] = lead
    return comparison


def judge_dispatch(report: Report, comparison: Comparison) -> None:
    """No fixed policy beats the adaptive one in both figures; each loses somewhere."""
    fixed = [name for name in comparison.policies() if name in FIXED]
    if not fixed:
        return
    both = {(min(comparison.ratios(mix, name)), name, mix) for mix in comparison.runs for name in fixed}
    best, name, mix = max(both)
    report.add(f"most that a fixed policy gains in both ({name}, {mix})", best, "", at_most=_BEATS)
    lead = comparison.leads[mix][name]
    if len(lead.tokens) > 1:
        report.add(f"standard error of that, over {len(lead.tokens)} runs", lead.error, "")
    for name in fixed:
        worst, mix = min((min(comparison.ratios(mix, name)), mix) for mix in comparison.runs)
        report.add(f"worst of {name} ({mix})", worst, "", at_most=_LOSES)


def judge_promises(report: Report, comparison: Comparison) -> None:
    """What is promised on the shipped mixes, under the adaptive policy."""
    runs = {mix: runs[LEARNS] for mix, runs in comparison.runs.items()}
    if run := runs.get("loop"):
        report.add("64 in-loop LIPs: rows of a step / LIPs", run.rows_per_step / run.lips, "", at_least=0.8)
        report.add("64 in-loop LIPs: median wait of a ready row", run.wait["p50"], "steps", at_most=0.25)
    if run := runs.get("fair-one"):
        report.add("one LIP beside 200: in the steps for which it was ready", run.present["one"], "", at_least=0.95)
    if run := runs.get("fair-two"):
        report.add("two backlogged tenants: lower share of the tokens", min(run.shares.values()), "", at_least=0.45)
    if run := runs.get("fair-ten"):
        report.add("ten tenants of unequal greed: Jain index", run.jain, "", at_least=0.95)
    if run := runs.get("overcommit"):
        report.add("four times the pool: LIPs that ended", run.lips, "", at_least=80)
        bound = 3 * run.first["mean"] * 4
        report.add("four times the pool: longest wait of a LIP", run.longest, "s", at_most=bound)


def soak(report: Report, count: int, seed: int, tell: Callable[[str], None]) -> Tally:
    """`count` small random histories. Raises what went wrong, with the seed in a note."""
    total = Tally()
    for number in range(seed, seed + count):
        if not (number - seed) % 500:
            tell(f"history {number}")
        try:
            total.add(history(number))
        except Exception as e:
            e.add_note(f"in the random history of seed {number}")
            raise
    report.add("random histories that ended, with nobody stuck", total.histories, "", at_least=count)
    report.add("LIPs in them", total.lips, "")
    report.add("operations in them", total.operations, "")
    report.add("waits for a lock refused because of a cycle", total.cycles, "")
    report.add("pages moved between the tiers", total.moved, "")
    return total


def as_json(report: Report, comparison: Comparison) -> str:
    """The report with all that every run gave."""
    runs = [asdict(run) for runs in comparison.runs.values() for run in runs.values()]
    return json.dumps({**json.loads(report.as_json()), "runs": runs}, indent=2)
