"""Files that survive the host: `sync`, and what is found again after a restart.

    depot     K/V on disk, whosever it is                                                                 depot.py
    ledger    what the journal says of files                                                              ledger.py
    sync      a snapshot of the file is read from the device or the host tier, written, and recorded      this file

What was synced stays as it was, whatever is done to the file, until the next sync or until its last name is removed.
What of it does not hold any more what was written: damage.py. K/V is read back when somebody needs it (room.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from symphony.core.depot import PART_BYTES, Depot, DiskLimits, Held, Mounted
from symphony.core.ledger import Ledger
from symphony.core.operation import Transfer
from symphony.core.session import Handle, Session
from symphony.errors import Busy, InternalError, Invalid, NoSpace, SymphonyError, Unavailable
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.image import Image, unref_image
from symphony.kvfs.integrity import Holders
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.modes import Principal
from symphony.kvfs.tree import Tree
from symphony.store.records import Put
from symphony.store.store import Store
from symphony.store.words import packed

if TYPE_CHECKING:
    from symphony.core.loop import StepLoop

SYNCS = 8
"""Syncs that are written at a time; what more there are wait, and share a commit later."""
_log = logging.getLogger(__name__)


class _Completion(Transfer):
    """Of nothing; but first the model completes what the file lacks. The file stays busy, for the sync."""

    __slots__ = ()

    def release(self, kvfs: Kvfs) -> None:
        kvfs.trim(self.target)


class Durable:
    """All methods belong to the event-loop thread; `sync` and `flush` suspend. A cancelled one goes on by itself: the
    slots that it writes are its own until its commit is over."""

    def __init__(
        self, kvfs: Kvfs, tree: Tree, loops: Mapping[str, Mounted], store: Store | None, limits: DiskLimits
    ) -> None:
        """Restores what the store has. Without a store nothing can be synced."""
        self.kvfs = kvfs
        self.depot = Depot(kvfs, loops, store)
        self.ledger = Ledger(kvfs, tree)
        self._tree = tree
        self._loops = loops
        self._turns = asyncio.Semaphore(SYNCS)
        self._tasks: dict[asyncio.Task[None], None] = {}
        if store is not None:
            files = store.files()
            self.ledger.restore(files, self.depot.mount(files, limits))

    def holders(self) -> dict[Arena, Holders]:
        """Who holds slots on disk besides files and moves."""
        return self.depot.holders(list(self.ledger.kept.values()))

    # ---- sync ----------------------------------------------------------------------------------------------------
    async def sync(self, file: File) -> None:
        """Returns when the file, as it was at the call, survives whatever happens to this host.

        Raises Invalid (it has no name), Busy, NoSpace, LimitExceeded, Unavailable (there is no store), InternalError.
        """
        await asyncio.shield(self._go(self._begin(file)))

    def _begin(self, file: File) -> Coroutine[None, None, None]:
        """The file as it is now, and what is left to do."""
        store, kvfs = self.depot.store, self.kvfs
        if store is None or not self.depot.keeps(file.arena):
            raise Unavailable(
                "this host keeps nothing on disk",
                "start it with a home of its own: symphony serve, or Runtime(home=...)",
            )
        if file.arena.model not in self._loops:
            raise Invalid(
                f"the file was made by the model {file.arena.model}, which this host does not run",
                "it is on disk as it is; start the host with that model to change it",
            )
        if file.busy:
            raise Busy("an operation is in flight on this file", "wait for it before you sync")
        if self.is_busy(file):
            raise Busy("a sync of this file is on its way", "wait for it")
        if not file.names:
            raise Invalid(
                "the file has no name under which it could be found again",
                "give it one by link, or save a snapshot and sync that (save with sync=True)",
            )
        record = self.ledger.number(file)
        snapshot = kvfs.fork(file, file.tenant, file.owner)
        kvfs.begin(snapshot, ())  # nobody takes its pages
        file.arena.snapshots += 1
        self.ledger.busy[record] += 1
        return self._finish(store, file, snapshot, record)

    async def _finish(self, store: Store, file: File, snapshot: File, record: int) -> None:
        try:
            if snapshot.computed + 1 == snapshot.length > _imaged(snapshot):  # the token that was drawn last
                await self._complete(snapshot)  # before it has a turn: others' pages may have to go for it
            async with self._turns:
                await self._write(store, file, snapshot, record)
        finally:
            self.kvfs.settle(snapshot, snapshot.length)
            self.kvfs.close(snapshot)
            file.arena.snapshots -= 1
            self._loops[file.arena.model].freed()
            self.ledger.busy[record] -= 1
            if not self.ledger.busy[record]:
                del self.ledger.busy[record]
        await self.ledger.flush(store)

    async def _complete(self, snapshot: File) -> None:
        """Have the model compute what it lacks, if there is room for that."""
        loop, arena = self._loops[snapshot.arena.model], snapshot.arena
        session = Session(Principal(snapshot.tenant, snapshot.owner))
        handle = Handle(snapshot, cast("StepLoop", loop))
        handle.operation = completion = _Completion(0, session, handle, loop.clock(), snapshot, snapshot, ())
        arena.snapshots -= 1  # it waits for pages as others do, not for itself
        try:
            loop.submit(completion)
            await completion.done
        finally:
            arena.snapshots += 1

    def start(self, file: File, tell: Callable[[SymphonyError | None], None]) -> None:
        """`sync` in the background, of the file as it is now; `tell` hears of its end."""
        try:
            work = self._begin(file)
        except SymphonyError as e:
            work = _refused(e)
        self._go(self._told(work, tell))

    def _go(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks[task] = None
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled():
            task.exception()  # whoever waited may be gone

    async def _told(self, work: Coroutine[None, None, None], tell: Callable[[SymphonyError | None], None]) -> None:
        try:
            await work
        except SymphonyError as e:
            tell(e)
        except Exception as e:
            _log.exception("a sync failed")
            tell(InternalError(f"the host failed: {e!r}"))
        else:
            tell(None)

    def is_busy(self, file: File) -> bool:
        """Whether a sync of its record is on its way; another one would be refused."""
        return self.ledger.busy[file.record or 0] > 0

    async def some_end(self) -> None:
        """Until one of the syncs that are on their way is over."""
        await asyncio.wait(list(self._tasks), return_when=asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """The end of the core: what is on its way is made sure."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        await self.flush()

    async def _write(self, store: Store, file: File, snapshot: File, record: int) -> None:
        kvfs, arena, tenant = self.kvfs, snapshot.arena, snapshot.tenant
        old = snapshot.image
        if old is not None and old.entries >= snapshot.computed:
            entries, have = old.entries, len(old.slots)
        else:
            entries = snapshot.computed
            have = 0 if old is None else old.entries // arena.page_size
        pages = arena.pages_for(entries)
        kept = old.slots[:have] if old is not None else ()
        arena.disk.ref(kept, tenant)  # first: to make room, the file may lose its image
        try:
            fresh = kvfs.take_disk(arena, pages - have, tenant)
        except NoSpace:
            unref_image(arena, kept, tenant)
            raise
        slots = (*kept, *fresh)
        try:
            with self.depot.hold(arena, tenant, slots):
                part = await self._write_pages(store, snapshot, have, fresh)
                await self.ledger.drop_ahead(store)
                put = self._put(record, file, snapshot, entries, slots)
                await self.ledger.record(store, self.ledger.due(), put, {put.format: part})
        except BaseException:
            unref_image(arena, slots, tenant)
            raise
        self.ledger.keep(record, Held(arena, tenant, slots))
        same = file.tokens[:entries] == snapshot.tokens[:entries] and file.derived == snapshot.derived
        if entries and same and file.cuts == snapshot.cuts and file in kvfs.files:
            self._has(file, Image(entries, slots))

    def _put(self, record: int, file: File, snapshot: File, entries: int, slots: Sequence[int]) -> Put:
        """What the journal will say of it."""
        holder = self.ledger.holder(record, file)
        return Put(
            id=record,
            tenant=snapshot.tenant,
            owner=file.owner,
            mode=holder.mode,
            ttl=holder.ttl,
            created=file.created,
            modified=file.modified,
            used=file.used,
            names=self._tree.places(holder) if holder.record == record else [],
            format=self.depot.form(snapshot.arena),
            tokens=packed(snapshot.tokens),
            entries=entries,
            derived=snapshot.derived,
            positions=None if snapshot.positions is None else packed(snapshot.positions),
            slots=list(slots),
        )

    def _has(self, file: File, image: Image) -> None:
        """What was written for a sync is the file's; what the file got on disk meanwhile, behind that, stays there."""
        kvfs, size, old, entries = self.kvfs, file.arena.page_size, file.image, image.entries
        if old is not None and old.entries > entries:
            full = entries // size
            kvfs.set_image(file, Image(old.entries, (*image.slots[:full], *old.slots[full:])), full)
            return
        if file.computed + 1 == entries > _imaged(file):
            entries -= 1  # what was computed for the sync it does not have itself: no reason to read the file
        kvfs.set_image(file, image.cut(entries, size) if entries else None)

    async def _write_pages(self, store: Store, file: File, first: int, slots: Sequence[int]) -> dict[int, bytes]:
        """Write the pages of a file, from `first` on, to these slots; but for the last part, which is returned."""
        form, engine = self.depot.form(file.arena), self._loops[file.arena.model].engine
        size = max(PART_BYTES // form.page_bytes, 1)
        part: dict[int, bytes] = {}
        for start in range(0, len(slots), size):
            if part:
                await store.commit({form: part}, [])
            some = slots[start : start + size]
            at = slice(first + start, first + start + len(some))
            part = dict(zip(some, await engine.read(file.pages[at], file.slots[at]), strict=True))
        return part

    # ---- what changed of synced files ------------------------------------------------------------------------------
    async def flush(self) -> None:
        """Record what changed of synced files. A failure is logged, and made good by the next flush or sync."""
        if self.depot.store is not None and self.kvfs.stale:
            await asyncio.shield(self._go(self.ledger.flush(self.depot.store)))


def _imaged(file: File) -> int:
    """Entries whose K/V is on disk."""
    return 0 if file.image is None else file.image.entries


async def _refused(error: SymphonyError) -> None:
    raise error
