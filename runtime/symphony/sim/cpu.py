"""The simulated CPU on which guests think: one core, shared by the real level-1 scheduler, on virtual time.

A guest asks for seconds of CPU and is told when it has had them. Its turns are at most a slice long.
"""

from __future__ import annotations

import asyncio
from collections import deque

from symphony.param import SLICE_NS
from symphony.sched.process import ProcessScheduler, weight_of


class _Demand:
    __slots__ = ("done", "left")

    def __init__(self, left: int, done: asyncio.Future[None]) -> None:
        self.left = left
        """Nanoseconds."""
        self.done = done


class Cpu:
    """Call inside a running loop."""

    def __init__(self, tenant_weights: dict[str, float] | None = None) -> None:
        self._scheduler = ProcessScheduler(tenant_weights)
        self._demands: dict[int, deque[_Demand]] = {}
        self._running = False
        self.turns = 0
        self.used: dict[str, int] = {}
        """Nanoseconds of each tenant."""
        self._tenants: dict[int, str] = {}

    def add(self, pid: int, tenant: str, nice: int) -> None:
        self._scheduler.add(pid, tenant, weight_of(nice))
        self._demands[pid] = deque()
        self._tenants[pid] = tenant

    def remove(self, pid: int) -> None:
        """The process has ended; what it still wants is forgotten."""
        self._scheduler.remove(pid)
        del self._demands[pid], self._tenants[pid]

    async def use(self, pid: int, seconds: float) -> None:
        """Returns once the process has had so much CPU, after what it asked for before."""
        ns = round(seconds * 1e9)
        if ns <= 0:
            return
        demand = _Demand(ns, asyncio.get_running_loop().create_future())
        self._demands[pid].append(demand)
        self._scheduler.ready(pid)
        if not self._running:
            self._turn()
        await demand.done

    def _turn(self) -> None:
        pid = self._scheduler.next()
        self._running = pid is not None
        if pid is not None:
            self.turns += 1
            ns = min(self._demands[pid][0].left, SLICE_NS)
            asyncio.get_running_loop().call_later(ns * 1e-9, self._after, pid, ns)

    def _after(self, pid: int, ns: int) -> None:
        demands = self._demands.get(pid)
        if demands is not None:
            self._account(pid, ns)
            demand = demands[0]
            demand.left -= ns
            if not demand.left:
                demands.popleft()
                if not demand.done.done():
                    demand.done.set_result(None)
            if demands:
                self._scheduler.ready(pid)
        self._turn()

    def _account(self, pid: int, ns: int) -> None:
        tenant = self._tenants[pid]
        self.used[tenant] = self.used.get(tenant, 0) + ns
        self._scheduler.charge(pid, ns)
