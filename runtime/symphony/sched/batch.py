"""Level 2: which rows make the next step, how many tokens of each, and in which order they stand.

One budget of tokens and rows a step. When everything fits, everything goes. When not:

1. *Kinds.* Decodes (one token each) first, and with them rows that were passed over for too long; then prefill in
   chunks. A few rows are kept for prefill, so that decodes alone never fill the step.
2. *Tenants*, within a kind, in the order of their virtual token counters: tokens computed for them, over their weight
   (after "Fairness in Serving Large Language Models", OSDI 2024). A tenant that comes back after having had nothing to
   do is lifted to the least counter of those who stayed: waiting earns nothing.
3. *Rows*, within a tenant, by rank: the moment since which they have waited, shifted by their nice value, or put
   ahead because their deadline is near. Both shifts are bounded, so whoever waits overtakes any newcomer in the end
   (ageing), and neither ever takes anything from another tenant.

Rows that go on by themselves and rows that depend on a guest stand side by side. Rows with the same leading page are
neighbours in the plan, so that what reads their common K/V reads it once.

Pure code: time is passed in; rows are seen only as `Job`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import inf
from typing import Generic, Protocol, TypeVar

from symphony.param import MAX_ROW_WAIT_SECONDS, NICE_SECONDS, STEP_ROWS, STEP_TOKENS

_PREFILL_SHARE = 16
"""One row in so many is kept for prefill."""


class Job(Protocol):
    """A row that could be in the step. Times are seconds of any one clock."""

    tenant: str
    work: int
    """Tokens that it could use now, at least 1."""
    since: float
    """Since when it has been ready, or had its last tokens."""

    @property
    def nice(self) -> int:
        """-20 to 19, 0 as a rule: how far it stands back behind its tenant's other rows."""
        ...

    @property
    def deadline(self) -> float:
        """When it should be through; infinite: no such time."""
        ...

    @property
    def group(self) -> Hashable:
        """What it has in common with rows that should stand beside it; 0: nothing."""
        ...


J = TypeVar("J", bound=Job)


@dataclass(slots=True, frozen=True)
class BatchLimits:
    tokens: int = STEP_TOKENS
    rows: int = STEP_ROWS
    max_wait: float = MAX_ROW_WAIT_SECONDS


class BatchScheduler(Generic[J]):
    def __init__(self, limits: BatchLimits | None = None, weights: Mapping[str, float] | None = None) -> None:
        self.limits = limits or BatchLimits()
        self._weights = weights or {}
        self._counters: dict[str, float] = {}
        """Virtual tokens of the tenants that have jobs, or had them lately."""
        self._active: set[str] = set()
        """Tenants that had a job at the last step."""

    def plan(self, jobs: Sequence[J], now: float) -> list[tuple[J, int]]:
        """The rows of the next step with their tokens; never empty if `jobs` is not. Charges the tenants."""
        tenants = {job.tenant for job in jobs}
        if tenants != self._active:
            self._lift(tenants)
        total = sum([job.work for job in jobs])
        if total > self.limits.tokens or len(jobs) > self.limits.rows:
            return _grouped(self._choose(jobs, now))
        if len(tenants) == 1:
            self._charge(jobs[0].tenant, total)
        else:
            for job in jobs:
                self._charge(job.tenant, job.work)
        return _grouped([(job, job.work) for job in jobs])

    def _choose(self, jobs: Sequence[J], now: float) -> list[tuple[J, int]]:
        late = now - self.limits.max_wait
        first = [job for job in jobs if job.work == 1 or job.since <= late]
        chunks = [job for job in jobs if job.work > 1 and job.since > late]
        rows = self.limits.rows - min(len(chunks), self.limits.rows // _PREFILL_SHARE)
        plan: list[tuple[J, int]] = []
        left = self.limits.tokens

        def grant(job: J) -> bool:
            nonlocal left
            tokens = min(job.work, left)
            plan.append((job, tokens))
            left -= tokens
            self._charge(job.tenant, tokens)
            return left > 0 and len(plan) < rows

        self._fair(first, now, grant)
        rows = self.limits.rows
        if left and len(plan) < rows:
            self._fair(chunks, now, grant)
        return plan

    def _fair(self, jobs: Sequence[J], now: float, grant: Callable[[J], bool]) -> None:
        """Grant jobs by tenant counter, then rank, until there is no budget or no job."""
        ranked = sorted([(self._rank(job, now), index) for index, job in enumerate(jobs)], reverse=True)
        queues: dict[str, list[tuple[float, int]]] = {}
        for entry in ranked:  # the first of each queue is at its end
            queues.setdefault(jobs[entry[1]].tenant, []).append(entry)
        heap = [(self._counters[tenant], queue[-1], tenant) for tenant, queue in queues.items()]
        heapify(heap)
        while heap:
            tenant = heap[0][2]
            queue = queues[tenant]
            if not grant(jobs[queue.pop()[1]]):
                return
            if queue:
                heapreplace(heap, (self._counters[tenant], queue[-1], tenant))
            else:
                heappop(heap)

    def _rank(self, job: J, now: float) -> float:
        """Lower goes first. A row whose deadline is near ranks like one that has waited nearly the longest wait."""
        rank = job.since + job.nice * NICE_SECONDS
        if job.deadline < inf:
            rank = min(rank, max(job.deadline, now) - self.limits.max_wait)
        return rank

    def _charge(self, tenant: str, tokens: int) -> None:
        self._counters[tenant] += tokens / self._weights.get(tenant, 1.0)

    def _lift(self, tenants: set[str]) -> None:
        counters = self._counters
        stayed = [counters[tenant] for tenant in tenants & self._active]
        floor = min(stayed) if stayed else max(counters.values(), default=0.0)
        for tenant in tenants - self._active:
            counters[tenant] = max(counters.get(tenant, 0.0), floor)
        self._active = tenants
        if len(counters) > 2 * len(tenants) + 64:  # whoever has no more than the floor comes back with the floor
            self._counters = {t: c for t, c in counters.items() if t in tenants or c > floor}


def _grouped(plan: list[tuple[J, int]]) -> list[tuple[J, int]]:
    """Rows of one group beside each other, groups in the order of their first row."""
    leading = [job.group for job, _ in plan]
    if len(set(leading)) + leading.count(0) - (0 in leading) == len(plan):
        return plan
    groups: dict[Hashable, list[tuple[J, int]]] = {}
    for index, entry in enumerate(plan):
        groups.setdefault(entry[0].group or ~index, []).append(entry)
    return plan if len(groups) == len(plan) else [entry for group in groups.values() for entry in group]
