"""What an arena's files could give up: pages of those that rest on the device, slots of those that rest on the host.

    on the device   YOUNG ──not used for a while──▶ RIPE ◀──────▶ STUCK (derived, and host and disk have no room)
    on the host     SPARE (on disk too; behind all these: plain)

Files come and go with every token, but who asks is only whoever lacks pages. So this is off as a rule; once somebody
asks it lists everything, and from then on files that change are noted (`Kvfs.note`) and looked at when somebody asks
again, until `stop`. Then an answer takes time for what it takes and what changed, not for what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from math import inf
from operator import attrgetter
from typing import NamedTuple

from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.spares import Spares

_LATER = 1 << 60
"""Behind all numbers of files."""
Table = dict["str | None", Spares]
"""Of all (None), and of each tenant that was asked for."""


class Slots(NamedTuple):
    """To go there or there."""

    host: int
    disk: int

    def suffice(self, need: Slots) -> bool:
        """For one of both ways."""
        return self.host >= need.host or self.disk >= need.disk


class Standby:
    """Files without an operation, a pin or a move."""

    def __init__(self, kvfs: Kvfs, arena: Arena) -> None:
        self.young: dict[File, int] = {}
        """On the device, and in use; with their numbers in the order of rest."""
        self.asked = False
        """Somebody did, since this was last set to False."""
        self._kvfs = kvfs
        self._arena = arena
        self._ripening: list[tuple[float, int, File]] = []
        """A heap of the young: since when they have not been used."""
        self._ripe: Table = {}
        self._spare: Table = {}
        self._stuck: dict[File, int] = {}
        """With their numbers."""
        self._least: dict[str, Slots] = {}
        """The fewest slots with which a stuck file of each tenant could go, on either way."""
        self._stuck_pages: set[int] = set()
        self._released = False
        """Somebody else took a page of a stuck file, maybe to the host: the file needs fewer slots then."""

    # ---- asking --------------------------------------------------------------------------------------------------
    def ripe(self, tenant: str | None) -> Spares:
        """Files whose pages may go, of all or of one tenant, as of the last `ripen`."""
        return self._of(self._ripe, tenant, tenant)

    def spare(self, tenant: str | None) -> Spares:
        """Files whose slots may go, of all or of one tenant, as of now; an id counts as free when nobody holds it."""
        self.sync()
        return self._of(self._spare, tenant, None)

    def ripen(self, before: float, attainable: Callable[[str], Slots]) -> bool:
        """Bring everything up to date: open files last used `before` are ripe, and so are stuck ones that need no more
        slots than the tenant can have. Returns whether anything changed."""
        changed = self.sync()
        while self._ripening and self._ripening[0][0] <= before:
            _, number, file = heappop(self._ripening)
            if self.young.get(file) == number:
                changed = True
                del self.young[file]
                self._add(self._ripe, file, number)
        if self._least:
            tenants = {t for t, need in self._least.items() if self._released or attainable(t).suffice(need)}
            if tenants:
                changed = True
                self._release(tenants)
        return changed

    def stick(self, file: File, need: Slots) -> None:
        """The ripe file cannot go: neither host nor disk have what it needs there."""
        if not self._least:
            self._arena.pool.watchers.append(self)
        self._stuck[file] = self._ripe[None].numbers[file]
        least = self._least.get(file.tenant, need)
        self._least[file.tenant] = Slots(min(need.host, least.host), min(need.disk, least.disk))
        self._stuck_pages.update(file.pages)
        self._remove(self._ripe, file)

    def stop(self) -> None:
        """Nobody asks any more."""
        if self._least:
            self._release(set(self._least))
        for spares in (*self._ripe.values(), *self._spare.values()):
            spares.close()
        self._arena.changed = None
        self.young.clear()
        self._ripening.clear()
        self._ripe.clear()
        self._spare.clear()

    # ---- following -----------------------------------------------------------------------------------------------
    @property
    def on(self) -> bool:
        return self._arena.changed is not None

    def sync(self) -> bool:
        """Take in what changed; returns whether anything did. The first time, list everything."""
        self.asked = True
        changed: Iterable[File] | None = self._arena.changed
        if changed is None:
            changed = (*self._kvfs.idle, *self._kvfs.stowed)
            self._ripe[None] = Spares(self._arena.pool, attrgetter("pages"))
            self._spare[None] = Spares(self._arena.host, attrgetter("slots"))
        elif not changed:
            return False
        self._arena.changed = {}
        for file in changed:
            self._forget(file)
            self._place(file)
        return True

    def changed(self, ids: Iterable[int]) -> None:
        """References to these pages changed."""
        if not self._released:
            self._released = not self._stuck_pages.isdisjoint(ids)

    def _place(self, file: File) -> None:
        if file.arena is not self._arena or file.move is not None:
            return
        number = self._kvfs.idle.get(file)
        if number is not None:
            if not file.pins:
                self.young[file] = number
                heappush(self._ripening, (file.touched if file.opens else -inf, number, file))
        elif (number := self._kvfs.stowed.get(file)) is not None and self._kvfs.may_drop(file):
            self._add(self._spare, file, number if self._kvfs.is_imaged(file) else number + _LATER)

    def _forget(self, file: File) -> None:
        self.young.pop(file, None)
        self._stuck.pop(file, None)
        self._remove(self._ripe, file)
        self._remove(self._spare, file)

    def _release(self, tenants: set[str]) -> None:
        stuck = [(file, number) for file, number in self._stuck.items() if file.tenant in tenants]
        for file, number in stuck:
            del self._stuck[file]
            self._add(self._ripe, file, number)
        for tenant in tenants:
            del self._least[tenant]
        self._released = False
        self._stuck_pages = {page for file in self._stuck for page in file.pages}
        if not self._least:
            self._arena.pool.watchers.remove(self)

    @staticmethod
    def _of(table: Table, tenant: str | None, payer: str | None) -> Spares:
        found = table.get(tenant)
        if found is None:
            everybody = table[None]
            found = table[tenant] = Spares(everybody.pool, everybody.ids, payer)
            for file, number in everybody.numbers.items():
                if file.tenant == tenant:
                    found.add(file, number)
        return found

    @staticmethod
    def _add(table: Table, file: File, number: int) -> None:
        table[None].add(file, number)
        if file.tenant in table:
            table[file.tenant].add(file, number)

    @staticmethod
    def _remove(table: Table, file: File) -> None:
        table[None].discard(file)
        if file.tenant in table:
            table[file.tenant].discard(file)
