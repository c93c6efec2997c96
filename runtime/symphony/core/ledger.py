"""What the journal says of synced files, and what of it is not so any more: names, mode, time to live, their end.

    kept      the slots that the journal names, in use whatever becomes of the file
    stale     (`Kvfs.stale`) records of which something changed since
    unsure    records that a commit on its way brings up to date: it may fail

Each commit takes all that is due along, so that no two files have the same name whatever a crash leaves.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from symphony.core.depot import Held
from symphony.errors import SymphonyError
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.image import Image, unref_image
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.tree import Tree
from symphony.store.records import Dropped, Format, Named, Put, Record
from symphony.store.store import Store
from symphony.store.words import unpacked

GRACE_SECONDS = 600.0
"""After a restart, in which a file does not outlive its time: who had it open may open it again."""
DROPS = 1000
"""Ended files that are recorded in one commit."""
_log = logging.getLogger(__name__)


class Ledger:
    """All methods belong to the event-loop thread; those with a store suspend, and must not be cancelled."""

    def __init__(self, kvfs: Kvfs, tree: Tree) -> None:
        self.kept: dict[int, Held] = {}
        """By record."""
        self.busy: Counter[int] = Counter()
        """Records of which a sync is on its way."""
        self._kvfs = kvfs
        self._tree = tree
        self._next = 1
        """Record."""
        self._unsure: dict[int, dict[int, File]] = {}
        """Of each commit on its way."""
        self._commits = itertools.count()

    # ---- an earlier life -----------------------------------------------------------------------------------------
    def restore(self, files: Sequence[Put], homes: Mapping[Format, Arena]) -> None:
        """Give the tree the files of an earlier life, which the arenas have slots for."""
        for put in reversed(files):  # the newest has its names, if a commit was lost that took them from another
            self._restore(put, homes[put.format])
        for arena in set(homes.values()):
            arena.disk.free = [slot for slot in arena.disk.free if not arena.disk.refs[slot]]
        self._next = max((put.id for put in files), default=0) + 1

    def _restore(self, put: Put, arena: Arena) -> None:
        kvfs, disk = self._kvfs, arena.disk
        for slot in put.slots:
            if disk.refs[slot]:
                disk.ref((slot,), put.tenant)
            else:
                disk.adopt(slot, put.tenant)
        self.kept[put.id] = Held(arena, put.tenant, tuple(put.slots))
        tokens = unpacked(put.tokens)
        file = File(arena, put.tenant, put.owner, put.created, put.modified, put.used, tokens, len(tokens))
        file.mode, file.ttl, file.record, file.derived = put.mode, put.ttl, put.id, put.derived
        file.positions = None if put.positions is None else unpacked(put.positions)
        if file.ttl is not None:
            file.used = max(file.used, kvfs.clock() - max(file.ttl - GRACE_SECONDS, 0.0))
        if put.entries:
            kvfs.set_image(file, Image(put.entries, tuple(put.slots)))
        kvfs.adopt(file)
        self._tree.restore(file, put.names)
        kvfs.end_if_unused(file)  # another one has taken all its names

    # ---- what is due ---------------------------------------------------------------------------------------------
    def number(self, file: File) -> int:
        """The file's record; a new one, if it has none."""
        if file.record is None:
            file.record, self._next = self._next, self._next + 1
        return file.record

    def due(self) -> dict[int, File]:
        """The records that are not as the journal has them, or as it will have them if no commit fails."""
        due: dict[int, File] = {}
        for some in (*self._unsure.values(), self._kvfs.stale):
            due.update(some)
        return {record: self.holder(record, file) for record, file in due.items()}

    def holder(self, record: int, file: File) -> File:
        """Whose record it is now: it goes over to what is saved in the file's place. `file`, if it is nobody's."""
        known = [some.get(record) for some in (self._kvfs.stale, *self._unsure.values())]
        return next((one for one in known if one is not None and one.record == record), file)

    def _is_gone(self, record: int, file: File) -> bool:
        return file.record != record and not self.busy[record]

    # ---- commits -------------------------------------------------------------------------------------------------
    async def flush(self, store: Store) -> None:
        """Record what changed. A failure is logged, and made good by the next one, or the next sync."""
        try:
            await self.drop_ahead(store)
            if any(not self.busy[record] for record in self._kvfs.stale):
                await self.record(store, self.due())
        except SymphonyError:
            _log.exception("names of synced files could not be recorded; the next sync tries again")

    async def drop_ahead(self, store: Store) -> None:
        """Keep the next commit small: most of what is gone goes ahead. What has names goes at once, as names may have
        changed hands."""
        while True:
            ended = (item for item in self._kvfs.stale.items() if self._is_gone(*item))
            some = dict(itertools.islice(ended, DROPS))
            if len(some) < DROPS:
                return
            await self.record(store, some)

    async def record(
        self,
        store: Store,
        due: dict[int, File],
        put: Put | None = None,
        pages: Mapping[Format, Mapping[int, bytes]] = MappingProxyType({}),
    ) -> None:
        """One commit of all that is due, and of `put`: whatever a crash leaves, no two files have the same name.

        A file of which a sync is on its way is not dropped, it loses its names: the sync may still write it.
        """
        stale, commit = self._kvfs.stale, next(self._commits)
        records: list[Record] = []
        gone: list[int] = []
        for record, file in due.items():
            if put is not None and record == put.id:
                if file.record == record:
                    stale.pop(record, None)
            elif self._is_gone(record, file):
                records.append(Dropped(record))
                gone.append(record)
                stale.pop(record, None)
            else:
                places = self._tree.places(file) if file.record == record else []
                records.append(Named(record, file.mode, file.ttl, file.used, places))
                if not self.busy[record]:
                    stale.pop(record, None)
        self._unsure[commit] = due
        try:
            await store.commit(pages, records if put is None else [*records, put])
        except BaseException:
            del self._unsure[commit]
            stale.update({record: self.holder(record, file) for record, file in due.items()})
            raise
        del self._unsure[commit]
        for record in gone:
            self._release(record)

    def keep(self, record: int, held: Held) -> None:
        """The journal names these slots for the record now; it has references on them."""
        self._release(record)
        self.kept[record] = held

    def _release(self, record: int) -> None:
        held = self.kept.pop(record, None)
        if held is not None:
            unref_image(held.arena, held.slots, held.tenant)
