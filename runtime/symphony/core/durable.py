"""Files that survive the host: `sync`, what is found again after a restart, and K/V that comes back from disk.

    sync      a snapshot of the file is read from the device or the host tier, written, and named in the journal
    restore   the named files of an earlier life, with their tokens; K/V is read when somebody needs it (room.py)
    flush     what changed of synced files since: names, mode, time to live, their end

What was synced stays as it was, whatever is done to the file, until the next sync or until its last name is removed.
Joins kvfs (whose slots on disk), the engines (what pages hold) and the store (what is on the medium).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from symphony.core.operation import Operation, Transfer
from symphony.core.session import Handle, Session
from symphony.engine.engine import Engine
from symphony.errors import Busy, InternalError, Invalid, NoSpace, SymphonyError, Unavailable
from symphony.kvfs.arena import Arena, Costs
from symphony.kvfs.file import File
from symphony.kvfs.image import Image, unref_image
from symphony.kvfs.integrity import Holders
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.modes import Principal
from symphony.kvfs.pages import PagePool
from symphony.kvfs.tree import Tree
from symphony.param import MAX_DISK_PAGES
from symphony.store.records import Dropped, Format, Named, Put, Record
from symphony.store.store import Store
from symphony.store.words import packed, unpacked

if TYPE_CHECKING:
    from symphony.core.loop import StepLoop

SYNCS = 8
"""Syncs that are written at a time; what more there are wait, and share a commit later..."""
PART_BYTES = 32 << 20
"""...and the bytes that each holds in memory."""
GRACE_SECONDS = 600.0
"""After a restart, in which a file does not outlive its time: who had it open may open it again."""
ASSUMED_DISK_BYTES = 500e6
"""A second, until pages have been written or read."""
DROPS = 1000
"""Ended files that are recorded in one commit."""
_log = logging.getLogger(__name__)


class DiskLimits(NamedTuple):
    size: int
    """Bytes of K/V on disk, of each model."""
    tenant_share: float
    """Of them, what one tenant may have..."""
    tenant_shares: Mapping[str, float] = MappingProxyType({})
    """...and tenants with a share of their own."""


@dataclass(slots=True)
class Damage:
    """A page on disk that does not hold what was written."""

    path: str
    page: int
    pages: int
    """Of the file."""
    what: str
    """Follows from it, or was done."""
    repaired: bool


@dataclass(slots=True)
class Verdict:
    """What a look at all that was synced found."""

    files: int = 0
    pages: int = 0
    damaged: list[Damage] = field(default_factory=list[Damage])
    lost_commits: int = 0
    """Of the journal, that could not be read when the host started."""


class Mounted(Protocol):
    """A model's engine and its books."""

    @property
    def engine(self) -> Engine: ...

    @property
    def arena(self) -> Arena: ...

    @property
    def clock(self) -> Callable[[], float]: ...

    def freed(self) -> None:
        """Somebody gave K/V up."""
        ...

    def submit(self, operation: Operation) -> None:
        """A new one."""
        ...


class _Completion(Transfer):
    """Of nothing; but first the model completes what the file lacks. The file stays busy, for the sync."""

    __slots__ = ()

    def release(self, kvfs: Kvfs) -> None:
        kvfs.trim(self.target)


class _Kept(NamedTuple):
    """What the journal says of a file: its slots are in use, whatever becomes of the file."""

    arena: Arena
    tenant: str
    slots: tuple[int, ...]


class Durable:
    """All methods belong to the event-loop thread; `sync`, `flush`, `read` and `check` suspend. A cancelled `sync` or
    `flush` goes on by itself: the slots that it writes are its own until its commit is over."""

    def __init__(
        self, kvfs: Kvfs, tree: Tree, loops: Mapping[str, Mounted], store: Store | None, limits: DiskLimits
    ) -> None:
        """Restores what the store has. Without a store nothing can be synced."""
        self._kvfs = kvfs
        self._tree = tree
        self._loops = loops
        self._store = store
        self._limits = limits
        self._kept: dict[int, _Kept] = {}
        self._next = 1
        """Record."""
        self._used: dict[int, _Kept] = {}
        """Slots that a sync writes, or a check reads, for the moment."""
        self._uses = itertools.count()
        self._formats: dict[Arena, Format] = {}
        self._turns = asyncio.Semaphore(SYNCS)
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._busy: Counter[int] = Counter()
        """Records of which a sync is on its way."""
        self._unsure: dict[int, dict[int, File]] = {}
        """Of each commit on its way, the records it brings up to date: it may fail."""
        if store is not None:
            self._restore(store.files())

    def holders(self) -> dict[Arena, Holders]:
        """Who holds slots on disk besides files and moves."""
        found: dict[Arena, Holders] = {arena: Counter() for arena in self._formats}
        for kept in (*self._kept.values(), *self._used.values()):
            found[kept.arena].update((slot, kept.tenant) for slot in kept.slots)
        return found

    # ---- sync ----------------------------------------------------------------------------------------------------
    async def sync(self, file: File) -> None:
        """Returns when the file, as it was at the call, survives whatever happens to this host.

        Raises Invalid (it has no name), Busy, NoSpace, LimitExceeded, Unavailable (there is no store), InternalError.
        """
        await asyncio.shield(self._go(self._begin(file)))

    def _begin(self, file: File) -> Coroutine[None, None, None]:
        """The file as it is now, and what is left to do."""
        store, kvfs = self._store, self._kvfs
        if store is None or file.arena not in self._formats:
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
        if self._busy[file.record or 0]:
            raise Busy("a sync of this file is on its way", "wait for it")
        if not file.names:
            raise Invalid(
                "the file has no name under which it could be found again",
                "give it one by link, or save a snapshot and sync that (save with sync=True)",
            )
        if file.record is None:
            file.record, self._next = self._next, self._next + 1
        record = file.record
        snapshot = kvfs.fork(file, file.tenant, file.owner)
        kvfs.begin(snapshot, ())  # nobody takes its pages
        file.arena.snapshots += 1
        self._busy[record] += 1
        return self._finish(store, file, snapshot, record)

    async def _finish(self, store: Store, file: File, snapshot: File, record: int) -> None:
        try:
            if snapshot.computed + 1 == snapshot.length > _imaged(snapshot):  # the token that was drawn last
                await self._complete(snapshot)  # before it has a turn: others' pages may have to go for it
            async with self._turns:
                await self._write(store, file, snapshot, record)
        finally:
            self._kvfs.settle(snapshot, snapshot.length)
            self._kvfs.close(snapshot)
            file.arena.snapshots -= 1
            self._loops[file.arena.model].freed()
            self._busy[record] -= 1
            if not self._busy[record]:
                del self._busy[record]
        await self._flush(store)

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

    async def finish(self) -> None:
        """The end of the core: what is on its way is made sure."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        await self.flush()

    async def _write(self, store: Store, file: File, snapshot: File, record: int) -> None:
        kvfs, arena, tenant = self._kvfs, snapshot.arena, snapshot.tenant
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
        use = next(self._uses)
        self._used[use] = _Kept(arena, tenant, slots)
        try:
            part = await self._write_pages(store, snapshot, have, fresh)
            await self._drop_ahead(store)
            holder = self._holder(record, file)
            put = Put(
                id=record,
                tenant=tenant,
                owner=file.owner,
                mode=holder.mode,
                ttl=holder.ttl,
                created=file.created,
                modified=file.modified,
                used=file.used,
                names=self._tree.places(holder) if holder.record == record else [],
                format=self._formats[arena],
                tokens=packed(snapshot.tokens),
                entries=entries,
                derived=snapshot.derived,
                positions=None if snapshot.positions is None else packed(snapshot.positions),
                slots=list(slots),
            )
            await self._record(store, self._due(), put, {put.format: part})
        except BaseException:
            unref_image(arena, slots, tenant)
            raise
        finally:
            del self._used[use]
        self._release(record)
        self._kept[record] = _Kept(arena, tenant, slots)
        same = file.tokens[:entries] == snapshot.tokens[:entries] and file.derived == snapshot.derived
        if entries and same and file.cuts == snapshot.cuts and file in kvfs.files:
            self._has(file, Image(entries, slots))

    def _has(self, file: File, image: Image) -> None:
        """What was written for a sync is the file's; what the file got on disk meanwhile, behind that, stays there."""
        kvfs, size, old, entries = self._kvfs, file.arena.page_size, file.image, image.entries
        if old is not None and old.entries > entries:
            full = entries // size
            kvfs.set_image(file, Image(old.entries, (*image.slots[:full], *old.slots[full:])), full)
            return
        if file.computed + 1 == entries > _imaged(file):
            entries -= 1  # what was computed for the sync it does not have itself: no reason to read the file
        kvfs.set_image(file, image.cut(entries, size) if entries else None)

    async def _write_pages(self, store: Store, file: File, first: int, slots: Sequence[int]) -> dict[int, bytes]:
        """Write the pages of a file, from `first` on, to these slots; but for the last part, which is returned."""
        form, engine = self._formats[file.arena], self._loops[file.arena.model].engine
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
        if self._store is not None and self._kvfs.stale:
            await asyncio.shield(self._go(self._flush(self._store)))

    async def _flush(self, store: Store) -> None:
        try:
            await self._drop_ahead(store)
            if any(not self._busy[record] for record in self._kvfs.stale):
                await self._record(store, self._due())
        except SymphonyError:
            _log.exception("names of synced files could not be recorded; the next sync tries again")

    async def _drop_ahead(self, store: Store) -> None:
        """Keep the next commit small: most of what is gone goes ahead. What has names goes at once, as names may have
        changed hands."""
        while True:
            ended = (item for item in self._kvfs.stale.items() if self._is_gone(*item))
            some = dict(itertools.islice(ended, DROPS))
            if len(some) < DROPS:
                return
            await self._record(store, some)

    def _due(self) -> dict[int, File]:
        """The records that are not as the journal has them, or as it will have them if no commit fails."""
        due: dict[int, File] = {}
        for some in (*self._unsure.values(), self._kvfs.stale):
            due.update(some)
        return {record: self._holder(record, file) for record, file in due.items()}

    def _holder(self, record: int, file: File) -> File:
        """Whose record it is now: it goes over to what is saved in the file's place. `file`, if it is nobody's."""
        known = [some.get(record) for some in (self._kvfs.stale, *self._unsure.values())]
        return next((one for one in known if one is not None and one.record == record), file)

    def _is_gone(self, record: int, file: File) -> bool:
        return file.record != record and not self._busy[record]

    async def _record(
        self,
        store: Store,
        due: dict[int, File],
        put: Put | None = None,
        pages: Mapping[Format, Mapping[int, bytes]] = MappingProxyType({}),
    ) -> None:
        """One commit of all that is due, and of `put`: whatever a crash leaves, no two files have the same name.

        A file of which a sync is on its way is not dropped, it loses its names: the sync may still write it.
        """
        stale, use = self._kvfs.stale, next(self._uses)
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
                if not self._busy[record]:
                    stale.pop(record, None)
        self._unsure[use] = due
        try:
            await store.commit(pages, records if put is None else [*records, put])
        except BaseException:
            del self._unsure[use]
            stale.update({record: self._holder(record, file) for record, file in due.items()})
            raise
        del self._unsure[use]
        for record in gone:
            self._release(record)

    def _release(self, record: int) -> None:
        kept = self._kept.pop(record, None)
        if kept is not None:
            unref_image(kept.arena, kept.slots, kept.tenant)

    # ---- back ----------------------------------------------------------------------------------------------------
    async def read(self, arena: Arena, slots: Sequence[int]) -> list[bytes | None]:
        """What these slots hold; None where it is damaged."""
        if self._store is None or arena not in self._formats:
            return [None for _ in slots]
        return await self._store.read(self._formats[arena], slots)

    async def write(self, arena: Arena, pages: Mapping[int, bytes]) -> None:
        """Fill these slots, of which no journal knows: they may be lost with the host. Raises SymphonyError."""
        assert self._store is not None
        await self._store.commit({self._formats[arena]: pages}, [])

    @property
    def foreign(self) -> bool:
        """Whether there are files whose pages no model of this host has."""
        return len(self._formats) > len(self._loops)

    def sizes(self) -> dict[str, int]:
        """Bytes of a page on disk, by the name of the arena."""
        return {arena.model: form.page_bytes for arena, form in self._formats.items()}

    def keeps(self, arena: Arena) -> bool:
        """Whether anything can go to disk of it."""
        return self._store is not None and arena in self._formats

    @contextmanager
    def hold(self, arena: Arena, tenant: str, slots: Sequence[int]) -> Generator[None]:
        """Somebody has a reference on these slots, for the moment."""
        use = next(self._uses)
        self._used[use] = _Kept(arena, tenant, tuple(slots))
        try:
            yield
        finally:
            del self._used[use]

    def home(self, arena: Arena) -> Arena | None:
        """The arena of a model of this host whose K/V is the same, in pages of another size."""
        form = self._formats.get(arena)
        if form is None or arena.model in self._loops:
            return None
        for loop in self._loops.values():
            own = self._formats.get(loop.arena)
            if own is None or own.digest != form.digest or loop.engine.info.image_shape is None:
                continue
            if own.page_bytes * form.page_size == form.page_bytes * own.page_size:
                return loop.arena
        return None

    async def damaged(self, arena: Arena, tenant: str, slots: Sequence[int]) -> list[int]:
        """Which of these pages are not what was written."""
        return await self._bad(_Kept(arena, tenant, tuple(slots)))

    async def check(self, file: File, path: str) -> None:
        """Raises Invalid if the file's K/V cannot be computed again and what is on disk of it is damaged."""
        image = file.image
        if file.derived is None or image is None or file.computed >= image.entries or file.slots:
            return
        if await self._bad(_Kept(file.arena, file.tenant, image.slots)):
            raise Invalid(
                f"{path}: its K/V on disk is damaged, and it is not of a kind that can be computed again",
                "remove it (symphony fs rm), and make it anew from its tokens (symphony fs cat)",
            )

    @property
    def lost_commits(self) -> int:
        """Commits that could not be read at the start."""
        return 0 if self._store is None else self._store.recovery.damaged

    async def verify(self, file: File, path: str, repair: bool, verdict: Verdict) -> None:
        """Read what the journal says of the file; what is found goes into `verdict`."""
        kept = self._kept.get(file.record or 0)
        if kept is None:
            return
        slots, bad = kept.slots, await self._bad(kept)
        verdict.files += 1
        verdict.pages += len(slots)
        if bad:
            what, repaired = await self._repair(file, slots, bad[0]) if repair else (_advice(file), False)
            verdict.damaged += [Damage(path, index, len(slots), what, repaired) for index in bad]

    async def _bad(self, kept: _Kept) -> list[int]:
        """Which of these pages are damaged."""
        arena, slots = kept.arena, kept.slots
        arena.disk.ref(slots, kept.tenant)
        try:
            with self.hold(arena, kept.tenant, slots):
                size = max(PART_BYTES // self._formats[arena].page_bytes, 1)
                bad: list[int] = []
                for start in range(0, len(slots), size):
                    contents = await self.read(arena, slots[start : start + size])
                    bad += [start + index for index, data in enumerate(contents) if data is None]
        finally:
            unref_image(arena, slots, kept.tenant)
        return bad

    async def _repair(self, file: File, slots: tuple[int, ...], good: int) -> tuple[str, bool]:
        """Keep the pages before the first bad one on disk, and write the others anew if they are in memory."""
        image, size = file.image, file.arena.page_size
        if image is not None and image.slots[: good + 1] == slots[: good + 1]:
            there = file.computed > good * size
            if not there and file.derived is not None:
                return _advice(file), False
            self._kvfs.set_image(file, image.cut(good * size, size) if good else None, self._kvfs.loose.get(file))
        elif file.derived is not None and file.computed <= good * size:
            return _advice(file), False
        try:
            await self.sync(file)
        except SymphonyError as e:
            return f"it could not be repaired: {e}", False
        return "repaired: it was synced anew, as it is now", True

    def _restore(self, files: Sequence[Put]) -> None:
        """Give the tree the files of an earlier life, and mount the disk tier."""
        for loop in self._loops.values():
            info = loop.engine.info
            if info.image_bytes:
                self._formats[loop.arena] = Format(info.name, info.digest, info.page_size, info.image_bytes)
        by_format = {_key(form): arena for arena, form in self._formats.items()}
        for put in files:
            arena = by_format.get(_key(put.format))
            if arena is None:
                arena = by_format[_key(put.format)] = self._mount_foreign(put.format)
        for arena, form in self._formats.items():
            mine = [put for put in files if by_format[_key(put.format)] is arena]
            least = max((slot + 1 for put in mine for slot in put.slots), default=0)
            room = min(self._limits.size // form.page_bytes, MAX_DISK_PAGES)
            arena.disk = PagePool(max(room, least), first=0)
            arena.costs.disk_seconds = form.page_bytes / ASSUMED_DISK_BYTES
            arena.tenant_disk = int(arena.disk.capacity * self._limits.tenant_share)
            shares = self._limits.tenant_shares
            arena.own_disk = {name: int(arena.disk.capacity * share) for name, share in shares.items()}
            for put in reversed(mine):  # the newest has its names, if a commit was lost that took them from another
                self._restore_file(put, arena)
            arena.disk.free = [slot for slot in arena.disk.free if not arena.disk.refs[slot]]
        self._next = max((put.id for put in files), default=0) + 1

    def _restore_file(self, put: Put, arena: Arena) -> None:
        kvfs, disk = self._kvfs, arena.disk
        for slot in put.slots:
            if disk.refs[slot]:
                disk.ref((slot,), put.tenant)
            else:
                disk.adopt(slot, put.tenant)
        self._kept[put.id] = _Kept(arena, put.tenant, tuple(put.slots))
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

    def _mount_foreign(self, form: Format) -> Arena:
        """Of a model that this host does not run: its files can be looked at and removed, nothing else."""
        facts = f"{form.model} (weights, dtype or RoPE of digest {form.digest[:12]}, {form.page_size} tokens a page)"
        arena = self._kvfs.mount(facts, form.digest, form.page_size, 1, 0, Costs(0.0))
        self._formats[arena] = form
        return arena


def _imaged(file: File) -> int:
    """Entries whose K/V is on disk."""
    return 0 if file.image is None else file.image.entries


async def _refused(error: SymphonyError) -> None:
    raise error


def _advice(file: File) -> str:
    if file.derived is None:
        return "it is computed again when somebody needs it (--repair: now left out)"
    if file.pages or file.slots:
        return "it is still in memory (--repair writes it anew)"
    return "it cannot be computed again: remove the file"


def _key(form: Format) -> tuple[str, int, int]:
    return form.digest, form.page_size, form.page_bytes
