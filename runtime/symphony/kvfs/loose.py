"""Files of which more is on disk than a sync wrote: what of that gives way to others, and in which order.

    LOOSE ──read from, moved, or nowhere but on disk (derived)──▶ BUSY ──(`Kvfs.note`)──▶ LOOSE, or not here any more

Kept in order and counted, in all and for each tenant that was asked for, so that an answer takes as long as what gives
way, however many files there are, of whomever. Where the room goes is the caller's to say (`Kvfs.take_disk`).
"""

from __future__ import annotations

import itertools
from contextlib import closing

from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.spares import Spares


class Loose:
    """All arenas' files."""

    def __init__(self) -> None:
        self.synced: dict[File, int] = {}
        """The files, and how many leading pages on disk of each are a sync's."""
        self._numbers: dict[File, int] = {}
        """In the order in which they were read, or put there."""
        self._next = itertools.count()
        self._tables: dict[Arena, dict[str | None, Spares]] = {}
        """Those that could go now: of all (None), and of each tenant that was asked for."""

    def __contains__(self, file: File) -> bool:
        return file in self.synced

    def __len__(self) -> int:
        return len(self.synced)

    def get(self, file: File) -> int | None:
        return self.synced.get(file)

    # ---- following -----------------------------------------------------------------------------------------------
    def put(self, file: File, synced: int | None) -> None:
        """It has another image now; `synced` as above, None: all of it is a sync's, or there is none."""
        self._remove(file)
        if synced is None or file.image is None or synced >= len(file.image.slots):
            self.synced.pop(file, None)
            self._numbers.pop(file, None)
            return
        self.synced[file] = synced
        self._numbers[file] = next(self._next)
        self.place(file)

    def used(self, file: File) -> None:
        """It was read: others give way before it."""
        if file in self.synced:
            self._remove(file)
            self._numbers[file] = next(self._next)
            self.place(file)

    def place(self, file: File) -> None:
        """What the file holds, or what is done with it, may have changed. For one that is here."""
        table = self._table(file.arena)
        if can_go(file) == (file in table[None].numbers):
            return
        if file in table[None].numbers:
            self._remove(file)
            return
        number = self._numbers[file]
        table[None].add(file, number)
        if file.tenant in table:
            table[file.tenant].add(file, number)

    def is_placed(self, file: File) -> bool:
        """Whether the books have it right, whether it could go."""
        return can_go(file) == (file in self._table(file.arena)[None].numbers)

    # ---- asking --------------------------------------------------------------------------------------------------
    def attainable(self, arena: Arena, tenant: str) -> int:
        """Slots on disk that the tenant has if all goes that gives way to it."""
        there = len(arena.disk.free) + self._of(arena, None).gain
        own = _left(arena, tenant)
        if own < there:
            own += self._of(arena, tenant).gain
        return max(min(own, there), 0)

    def has_room(self, arena: Arena, count: int, tenant: str, staying: int = 0) -> bool:
        """Whether the tenant can have `count` slots on disk; of those that would give way for it, `staying` do not."""
        if count <= min(_left(arena, tenant), len(arena.disk.free)):
            return True
        return count + staying <= self.attainable(arena, tenant)

    def first(self, arena: Arena, count: int, tenant: str) -> File | None:
        """Who gives way first for that; None: nobody has to, or it would not help."""
        own = count > _left(arena, tenant)
        if not (own or count > len(arena.disk.free)) or not self.has_room(arena, count, tenant):
            return None
        with closing(self._of(arena, tenant if own else None).in_order()) as files:
            return next(files, None)

    # ---- the inside ----------------------------------------------------------------------------------------------
    def _table(self, arena: Arena) -> dict[str | None, Spares]:
        table = self._tables.get(arena)
        if table is None:
            table = self._tables[arena] = {None: Spares(arena.disk, self._slots)}
        return table

    def _of(self, arena: Arena, tenant: str | None) -> Spares:
        table = self._table(arena)
        found = table.get(tenant)
        if found is None:
            found = table[tenant] = Spares(arena.disk, self._slots, tenant)
            for file, number in table[None].numbers.items():
                if file.tenant == tenant:
                    found.add(file, number)
        return found

    def _slots(self, file: File) -> tuple[int, ...]:
        return () if file.image is None else file.image.slots[self.synced[file] :]

    def _remove(self, file: File) -> None:
        table = self._tables.get(file.arena)
        if table is None:
            return
        table[None].discard(file)
        if (own := table.get(file.tenant)) is not None:
            own.discard(file)
            if not own.numbers:
                own.close()
                del table[file.tenant]


def can_go(file: File) -> bool:
    """Whether the file does without what is on disk of it: it is nobody's turn to read or write that, and its K/V is
    elsewhere, or can be computed."""
    image = file.image
    if image is None or file.move is not None:
        return False
    return file.derived is None or file.computed >= image.entries


def _left(arena: Arena, tenant: str) -> int:
    """Of its share of the disk, what the tenant does not have."""
    return arena.disk_of(tenant) - arena.disk.used.get(tenant, 0)
