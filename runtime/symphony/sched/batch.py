"""Level 2: which rows make the next step, and how many tokens of each.

One budget of tokens and rows a step. When everything fits, everything goes. When not: decodes (one token each) first,
and with them rows that were passed over for too long; then prefill in chunks. Within either kind, tenants in the order
of their *virtual token counters* (tokens computed for them, over their weight; after "Fairness in Serving Large
Language Models", OSDI 2024), and within a tenant the oldest. A tenant that comes back after having had nothing to do is
lifted to the least counter of those who stayed: waiting earns nothing.

Pure code: time is passed in; rows are seen only as `Job`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from symphony.param import MAX_ROW_WAIT_SECONDS, STEP_ROWS, STEP_TOKENS


class Job(Protocol):
    """A row that could be in the step."""

    tenant: str
    work: int
    """Tokens that it could use now, at least 1."""
    since: float
    """Since when it has been ready, or had its last tokens; seconds of any one clock."""


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
        """Virtual tokens of every tenant that had a job lately."""
        self._active: set[str] = set()
        """Tenants that had a job at the last step."""

    def plan(self, jobs: Sequence[J], now: float) -> list[tuple[J, int]]:
        """The rows of the next step with their tokens; never empty if `jobs` is not. Charges the tenants."""
        self._lift({job.tenant for job in jobs})
        total = sum([job.work for job in jobs])
        if total <= self.limits.tokens and len(jobs) <= self.limits.rows:
            plan = [(job, job.work) for job in jobs]
            for job, tokens in plan:
                self._charge(job.tenant, tokens)
            return plan
        return self._choose(jobs, now)

    def _choose(self, jobs: Sequence[J], now: float) -> list[tuple[J, int]]:
        deadline = now - self.limits.max_wait
        first = [job for job in jobs if job.work == 1 or job.since <= deadline]
        chunks = [job for job in jobs if job.work > 1 and job.since > deadline]
        plan: list[tuple[J, int]] = []
        left = self.limits.tokens

        def grant(job: J) -> bool:
            nonlocal left
            tokens = min(job.work, left)
            plan.append((job, tokens))
            left -= tokens
            self._charge(job.tenant, tokens)
            return left > 0 and len(plan) < self.limits.rows

        if self._fair(first, grant):
            self._fair(chunks, grant)
        return plan

    def _fair(self, jobs: Sequence[J], grant: Callable[[J], bool]) -> bool:
        """Grant jobs by tenant counter, then age, until there is no budget (False) or no job."""
        queues: dict[str, list[J]] = {}
        for job in sorted(jobs, key=attrgetter("since")):
            queues.setdefault(job.tenant, []).append(job)
        for queue in queues.values():
            queue.reverse()  # the oldest is popped first
        heap = [(self._counters[tenant], queue[-1].since, tenant) for tenant, queue in queues.items()]
        heapify(heap)
        while heap:
            tenant = heap[0][2]
            queue = queues[tenant]
            if not grant(queue.pop()):
                return False
            if queue:
                heapreplace(heap, (self._counters[tenant], queue[-1].since, tenant))
            else:
                heappop(heap)
        return True

    def _charge(self, tenant: str, tokens: int) -> None:
        self._counters[tenant] += tokens / self._weights.get(tenant, 1.0)

    def _lift(self, tenants: set[str]) -> None:
        if tenants == self._active:
            return
        stayed = [self._counters[tenant] for tenant in tenants & self._active]
        floor = min(stayed) if stayed else max(self._counters.values(), default=0.0)
        for tenant in tenants - self._active:
            self._counters[tenant] = max(self._counters.get(tenant, 0.0), floor)
        self._active = tenants
