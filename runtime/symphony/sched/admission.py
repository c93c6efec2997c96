"""Level 1, before the first turn: which launches become processes now, and which wait.

So many processes may be live in all, and so many of one tenant. What comes beyond that waits, in order of arrival
within a tenant; when a place falls free, it goes to the tenant that has the fewest live processes over its weight, and
among equals to the one that was served longest ago. The queues are bounded: a tenant that fills its own is told so
(LimitExceeded), and when all together are full nobody can be taken (Unavailable).

        ask ──▶ LIVE ──ended──▶ gone
         └──▶ WAITING ──▶ LIVE (returned by whichever `ended` made room)
                 └──withdraw──▶ gone

Pure code: what is launched, only the caller knows; here it is a hashable ticket. Every call is O(tenants that wait).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from symphony.errors import LimitExceeded, SymphonyError, Unavailable
from symphony.param import (
    MAX_PROCESSES,
    MAX_PROCESSES_PER_TENANT,
    MAX_WAITING_LAUNCHES,
    MAX_WAITING_PER_TENANT,
)

T = TypeVar("T", bound=Hashable)


RETRY_SECONDS = 1.0
"""After which whoever found all places taken may find one."""


@dataclass(slots=True, frozen=True)
class AdmissionLimits:
    live: int = MAX_PROCESSES
    live_per_tenant: int = MAX_PROCESSES_PER_TENANT
    waiting: int = MAX_WAITING_LAUNCHES
    waiting_per_tenant: int = MAX_WAITING_PER_TENANT
    live_of: Mapping[str, int] = field(default_factory=dict[str, int])
    """Of tenants with a limit of their own; so is the next."""
    waiting_of: Mapping[str, int] = field(default_factory=dict[str, int])


class Admission(Generic[T]):
    def __init__(self, limits: AdmissionLimits | None = None, weights: Mapping[str, float] | None = None) -> None:
        self.limits = limits or AdmissionLimits()
        self._weights = weights or {}
        self._live: dict[str, int] = {}
        """Live processes of each tenant that has any."""
        self._total = 0
        self._queues: dict[str, dict[T, None]] = {}
        """Waiting tickets, oldest first, of each tenant that has any; who was served longest ago is first."""
        self._tenants: dict[T, str] = {}
        """Whose each waiting ticket is."""

    @property
    def live(self) -> int:
        return self._total

    @property
    def waiting(self) -> int:
        return len(self._tenants)

    def ask(self, ticket: T, tenant: str) -> bool:
        """Whether the launch may begin now; if not, it waits. Raises LimitExceeded, Unavailable; then it does not."""
        if self.ask_now(tenant):
            return True
        queue = self._queues.get(tenant)
        if queue is not None and len(queue) >= self.limits.waiting_of.get(tenant, self.limits.waiting_per_tenant):
            text = f"{self._live.get(tenant, 0)} processes of {tenant} are running and {len(queue)} launches wait"
            raise _later(LimitExceeded(text, "wait for some of them to end"))
        if len(self._tenants) >= self.limits.waiting:
            text = f"{self._total} processes are running and {self.waiting} launches wait"
            raise _later(Unavailable(text, "try again later"))
        self._queues.setdefault(tenant, {})[ticket] = None
        self._tenants[ticket] = tenant
        return False

    def ask_now(self, tenant: str) -> bool:
        """Whether a launch that cannot wait may begin: there is a place, and nobody of the tenant waits for one."""
        if tenant in self._queues or self._total >= self.limits.live or not self._has_room(tenant):
            return False
        self._begin(tenant)
        return True

    def ended(self, tenant: str) -> list[T]:
        """A process of the tenant has ended (or could not be begun): the launches that may begin now."""
        left = self._live[tenant] - 1
        if left:
            self._live[tenant] = left
        else:
            del self._live[tenant]
        self._total -= 1
        admitted: list[T] = []
        while self._queues and self._total < self.limits.live and (chosen := self._next()) is not None:
            queue = self._queues.pop(chosen)
            ticket = next(iter(queue))
            del queue[ticket], self._tenants[ticket]
            if queue:
                self._queues[chosen] = queue  # served last
            self._begin(chosen)
            admitted.append(ticket)
        return admitted

    def withdraw(self, ticket: T) -> bool:
        """The launch is no longer wanted; False if it does not wait (any more)."""
        tenant = self._tenants.pop(ticket, None)
        if tenant is None:
            return False
        queue = self._queues[tenant]
        del queue[ticket]
        if not queue:
            del self._queues[tenant]
        return True

    def _begin(self, tenant: str) -> None:
        self._live[tenant] = self._live.get(tenant, 0) + 1
        self._total += 1

    def _has_room(self, tenant: str) -> bool:
        return self._live.get(tenant, 0) < self.limits.live_of.get(tenant, self.limits.live_per_tenant)

    def _next(self) -> str | None:
        """The waiting tenant that has the least."""
        return min(filter(self._has_room, self._queues), key=self._load, default=None)

    def _load(self, tenant: str) -> float:
        return self._live.get(tenant, 0) / self._weights.get(tenant, 1.0)


def _later(error: SymphonyError) -> SymphonyError:
    error.retry_after = RETRY_SECONDS
    return error
