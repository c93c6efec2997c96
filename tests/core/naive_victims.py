"""The naive choice of victims: every file is looked at whenever pages are missing, in the order of semantics 19.

`watch(core)` holds each choice of the core against it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import inf
from typing import Any

from symphony.core.core import Core
from symphony.core.operation import Operation, Transfer
from symphony.core.victims import Victim, Victims
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Shortage


def watch(core: Core, seen: Counter[str] | None = None) -> None:
    for loop in core._loops.values():
        _watch(loop.room._victims, Counter() if seen is None else seen)


def _watch(victims: Victims, seen: Counter[str]) -> None:
    choose = victims.choose

    def checked(favoured: Operation, shortage: Shortage) -> list[Victim] | None:
        expected, due = Naive(victims).choose(favoured, shortage)
        before = victims.due
        chosen = choose(favoured, shortage)
        assert chosen == expected
        seen["chosen" if chosen else "too few"] += 1
        seen["of one tenant"] += shortage.tenant is not None
        if chosen is None and before == inf:
            assert victims.due == due  # in a round, later ones see no more than the first
        return chosen

    victims.choose = checked


class Naive:
    def __init__(self, victims: Victims) -> None:
        self.tiers: Any = victims._tiers
        self.crowd = victims._crowd
        self.now = victims.now()
        self.limits = victims._limits
        self.due = inf

    def choose(self, favoured: Operation, shortage: Shortage) -> tuple[list[Victim] | None, float]:
        pages, tenant = shortage
        pool = self.tiers.arena.pool
        file = favoured.target if isinstance(favoured, Transfer) and favoured.present else favoured.file
        index, offset = divmod(file.computed, file.arena.page_size)
        shared = file.pages[index] if offset and file.pages else 0
        victims: list[Victim] = []
        left: dict[int, int] = {}
        gain = 0
        for victim in self._in_order(favoured, tenant):
            victims.append(victim)
            for page in victim[0].pages:
                left.setdefault(page, pool.refs[page] if tenant is None else pool.held(page, tenant))
                left[page] -= 1
                gain += left[page] == (page == shared)
            if gain >= pages:
                return victims, self.due
        return None, self.due

    def _in_order(self, favoured: Operation, tenant: str | None) -> Iterator[Victim]:
        limits, busy = self.limits, list[File]()
        for file in self.tiers.kvfs.idle:
            if self._movable(file, tenant):
                if not file.opens or file.touched <= self.now - limits.idle_seconds:
                    yield file, None
                else:
                    busy.append(file)
        for operation in self.crowd.parked:
            for file in operation.files:
                if not operation.running and self._movable(file, tenant):
                    yield file, operation
        for file in busy:
            if self._is_due(min(file.touched + limits.idle_seconds, self._leaves(file))):
                yield file, None
        for operation in reversed(self.crowd.active):
            if operation is favoured:
                return
            for file in operation.files:
                if not operation.running and self._movable(file, tenant) and self._is_due(self._leaves(file)):
                    yield file, operation

    def _is_due(self, due: float) -> bool:
        if due > self.now:
            self.due = min(self.due, due)
        return due <= self.now

    def _leaves(self, file: File) -> float:
        limits = self.limits
        return file.resident + max(limits.residence_seconds, limits.residence_factor * self.tiers.cost(file))

    def _movable(self, file: File, tenant: str | None) -> bool:
        if not file.pages or file.pins or file.arena is not self.tiers.arena or file.move is not None:
            return False
        if tenant is not None and file.tenant != tenant:
            return False
        if file.derived is None or self.tiers.kvfs.is_imaged(file) or self.tiers.spill.can(file):
            return True
        return self.tiers.usable and self._slots(file) <= self._attainable(file.tenant)

    def _slots(self, file: File) -> int:
        held = {page for page, slot in file.arena.slot_of_page.items() if file.arena.host.refs[slot]}
        return sum(page not in held and page not in self.tiers._leaving for page in file.pages)

    def _attainable(self, tenant: str) -> int:
        """Slots that the tenant can have if plain files' K/V goes for it."""
        arena, host = self.tiers.arena, self.tiers.arena.host
        spare = [
            file
            for file in self.tiers.kvfs.stowed
            if file.arena is arena and file.move is None
            if file.derived is None or self.tiers.kvfs.is_imaged(file)
        ]
        everybody = Counter(slot for file in spare for slot in file.slots)
        own = Counter(slot for file in spare if file.tenant == tenant for slot in file.slots)
        free = (
            len(host.free) + len(arena.idle_slots) + sum(host.refs[slot] == count for slot, count in everybody.items())
        )
        limit = min(arena.tenant_slots, arena.kept_slots)
        left = limit - host.used.get(tenant, 0) + sum(host.refs[slot] == n for slot, n in own.items())
        return min(free, left)
