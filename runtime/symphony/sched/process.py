"""Level 1: whose turn is it to run guest code.

Weighted fairness in CPU nanoseconds, first between tenants, then between the processes of a tenant: the one that has
used the least (its *virtual time*) goes first. Who was blocked starts again at the present virtual time, so that
waiting earns nothing; newcomers start there too. A nice value is a weight among the processes of a tenant. However
small the weight, nobody falls behind its peers by more than a fixed lag (ageing), so every wait for a turn is bounded.
Every call is O(log n).

    IDLE ──ready──▶ QUEUED ──next──▶ RUNNING ──ready──▶ QUEUED (its turn ended, it has more to do)
      ▲                                 └─────────────▶ IDLE simply by not becoming ready; charge() ends its turn

Pure code: no clock, no event loop. What a process is, only the caller knows; here it is a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from heapq import heappop, heappush, heapreplace

from symphony.param import MAX_LAG_NS, NICEST


@lru_cache(maxsize=2 * NICEST + 2)
def weight_of(nice: int) -> float:
    """The weight of a nice value, -20 to 19: each step is a quarter more or less CPU, 0 is 1. Others are clamped."""
    return 1.25 ** -max(-NICEST - 1, min(nice, NICEST))


class _Tenant:
    __slots__ = ("clock", "members", "name", "queue", "queued", "time", "weight")

    def __init__(self, name: str, weight: float, now: float) -> None:
        self.name = name
        self.weight = weight
        self.time = now
        """Virtual time: nanoseconds used by its processes, over its weight."""
        self.clock = 0.0
        """The virtual time among its processes."""
        self.queue: list[tuple[float, int, _Process]] = []
        self.queued = False
        """Its queue is not empty, and it is in the queue of tenants."""
        self.members = 0


class _Process:
    __slots__ = ("live", "pid", "queued", "tenant", "time", "weight")

    def __init__(self, pid: int, tenant: _Tenant, weight: float) -> None:
        self.pid = pid
        self.tenant = tenant
        self.weight = weight
        self.time = tenant.clock
        self.queued = False
        self.live = True


class ProcessScheduler:
    """Heaps hold (virtual time when queued, order of arrival, who); a time that grew meanwhile is put right on the way
    out, and who was removed is skipped there."""

    def __init__(self, tenant_weights: Mapping[str, float] | None = None) -> None:
        self._weights = tenant_weights or {}
        self._tenants: dict[str, _Tenant] = {}
        self._processes: dict[int, _Process] = {}
        self._queue: list[tuple[float, int, _Tenant]] = []
        self._clock = 0.0
        self._arrivals = 0

    def add(self, pid: int, tenant: str, weight: float = 1.0) -> None:
        """A new process, not ready yet. `weight` > 0 counts among the tenant's processes; see `weight_of`."""
        owner = self._tenants.get(tenant)
        if owner is None:
            owner = self._tenants[tenant] = _Tenant(tenant, self._weights.get(tenant, 1.0), self._clock)
        owner.members += 1
        self._processes[pid] = _Process(pid, owner, weight)

    def remove(self, pid: int) -> None:
        """The process is gone, in whatever state."""
        process = self._processes.pop(pid)
        process.live = False
        tenant = process.tenant
        tenant.members -= 1
        if not tenant.members:
            del self._tenants[tenant.name]

    def ready(self, pid: int) -> None:
        """The process wants a turn. Asking twice is asking once."""
        process = self._processes[pid]
        if process.queued:
            return
        process.queued = True
        tenant = process.tenant
        if process.time < tenant.clock:
            process.time = tenant.clock
        elif process.time > tenant.clock + MAX_LAG_NS:
            process.time = tenant.clock + MAX_LAG_NS
        self._arrivals = order = self._arrivals + 1
        heappush(tenant.queue, (process.time, order, process))
        if not tenant.queued:
            tenant.queued = True
            if tenant.time < self._clock:
                tenant.time = self._clock
            heappush(self._queue, (tenant.time, order, tenant))

    def next(self) -> int | None:
        """Whose turn it is; None if nobody is ready. The process must become `ready` again to get another turn.

        Nothing comes of it before `charge`: who puts the turn off makes the process `ready` again, and that is all.
        """
        queue = self._queue
        while queue:
            time, order, tenant = queue[0]
            if time < tenant.time and len(queue) > 1:
                heapreplace(queue, (tenant.time, order, tenant))
                continue
            members = tenant.queue
            time, order, process = members[0]
            if time < process.time and process.live:
                heapreplace(members, (process.time, order, process))
                continue
            heappop(members)
            if not members:
                heappop(queue)
                tenant.queued = False
            if process.live:
                process.queued = False
                return process.pid
        return None

    def charge(self, pid: int, ns: float) -> None:
        """The process had its turn, and used `ns` of CPU in it. The present virtual time is where it began."""
        process = self._processes[pid]
        tenant = process.tenant
        if process.time > tenant.clock:
            tenant.clock = process.time
        if tenant.time > self._clock:
            self._clock = tenant.time
        process.time += ns / process.weight
        tenant.time += ns / tenant.weight

    def __len__(self) -> int:
        return len(self._processes)
