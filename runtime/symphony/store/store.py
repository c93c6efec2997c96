"""The store of KV files that are to survive: pages in pool files, and a journal that says which pages are which file's.

    commit ─▶ queue ─▶ one thread, all that is queued at once:  write pages, sync them, append to the journal, sync it
                                                                                      └── only then acknowledged ──┘
    commit without records:  write pages; they are synced with the first commit that names them

The journal names only pages that are on the medium, and a slot that it names is not written again before the journal
says otherwise; so a crash leaves the state of the last commit, or of the one that was being made. A commit that fails
has changed nothing: what it wrote into free slots nobody names. One whose pages cannot be written takes no other along.

Slots are handed out by `kvfs`; this package knows tokens, bytes and names as data only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from symphony.errors import InternalError, NoSpace, SymphonyError, Unavailable
from symphony.store.disk import Disk
from symphony.store.journal import FRESH, Journal
from symphony.store.pool import NOTHING, Pool, is_pool, pool_name
from symphony.store.records import Format, Put, Record, State, decode, encode

COMPACT_BYTES = 1 << 20
"""A journal that is shorter is left alone; a longer one is rewritten once less than a quarter of it is of use."""
_FULL = (28, 122)
"""ENOSPC, EDQUOT."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Recovery:
    """What a start found."""

    files: int
    torn: int
    """Bytes of a commit that was not finished, and left out."""
    damaged: int
    """Commits that could not be read although later ones could."""
    orphans: int
    """Pool files that no file needs, removed."""

    def __str__(self) -> str:
        text = f"{self.files} durable files"
        if self.torn:
            text += f", {self.torn} bytes of an unfinished commit left out"
        if self.damaged:
            text += f", {self.damaged} commits DAMAGED (files may be older than their last sync, or missing)"
        if self.orphans:
            text += f", {self.orphans} unused page files removed"
        return text


@dataclass(slots=True)
class _Job:
    pages: Mapping[Format, Mapping[int, bytes]]
    records: list[Record]
    done: asyncio.Future[None]


class Store:
    """Methods belong to the event-loop thread; `commit` and `read` suspend while threads of ours work."""

    def __init__(self, disk: Disk) -> None:
        """Recovers what is there; takes time for the journal, not for the pages. Raises OSError, Invalid."""
        self._disk = disk
        names = disk.names()
        if FRESH in names:
            disk.remove(FRESH)  # a rewrite that was not finished
        self._journal = Journal(disk)
        self._state = State()
        self._pools: dict[str, Pool] = {}
        self._limit = COMPACT_BYTES
        """The journal is rewritten when it is longer."""
        found = self._journal.found
        for payload in found.payloads:
            try:
                self._state.apply(decode(payload))
            except msgspec.DecodeError:
                found.damaged += 1
        found.payloads.clear()
        self._claim()
        self._allow(sum([len(encode([file])) for file in self._state.files.values()]))
        orphans: list[str] = []
        if not found.damaged:  # else a commit that was lost may name what seems to be of no use
            orphans = [name for name in names if is_pool(name) and name not in self._pools]
            for name in orphans:
                disk.remove(name)
            for pool in self._pools.values():
                pool.shrink()
        self.recovery = Recovery(len(self._state.files), found.torn, found.damaged, len(orphans))
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._readers = ThreadPoolExecutor(2, "store-reader")
        self._queue: list[_Job] = []
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    def _claim(self) -> None:
        """Which slots hold what. If a commit was lost, an older file may still claim a slot that was given to a newer
        one since: it has a slot that holds nothing instead, and its page is found damaged."""
        lost: list[tuple[Pool, list[int], int]] = []
        for file in reversed(self._state.files.values()):
            pool = self._pool(file.format)
            for index, (slot, check) in enumerate(zip(file.slots, file.sums, strict=True)):
                if pool.sums.setdefault(slot, check) != check:
                    lost.append((pool, file.slots, index))
        for pool, slots, index in lost:
            slots[index] = max(pool.sums) + 1
            pool.sums[slots[index]] = NOTHING

    def files(self) -> list[Put]:
        """As of the start, and of commits since then. Not to be changed."""
        return list(self._state.files.values())

    async def commit(self, pages: Mapping[Format, Mapping[int, bytes]], records: Sequence[Record]) -> None:
        """Make these pages and then these records durable; returns when they are. Checksums of pages are filled in.
        Pages that no record names are only written: a later commit that names them makes them durable.

        Raises NoSpace, Unavailable, InternalError: nothing has changed then.
        """
        if self._closed:
            raise Unavailable("the KV store is closed", "the host is shutting down")
        job = _Job(pages, list(records), asyncio.get_running_loop().create_future())
        self._queue.append(job)
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        await job.done

    async def read(self, form: Format, slots: Sequence[int]) -> list[bytes | None]:
        """Pages, in order; None where what is there is not what was written. Slots must not be written meanwhile."""
        pool = self._pools.get(pool_name(form))
        if pool is None:
            return [None for _ in slots]
        return await asyncio.get_running_loop().run_in_executor(self._readers, _read, pool, slots)

    async def close(self) -> None:
        """Finish what is queued. Idempotent."""
        closed, self._closed = self._closed, True
        if closed:
            return
        if self._pump is not None:
            await asyncio.wait([self._pump])
        self._writer.shutdown()
        self._readers.shutdown()
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        self._journal.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                jobs, self._queue = self._queue, []
                errors: list[SymphonyError | None]
                errors = [InternalError("the host went down while files were synced")] * len(jobs)
                try:
                    errors = await loop.run_in_executor(self._writer, self._write, jobs)
                except Exception as e:
                    _log.exception("a commit of KV files failed")
                    errors = [_bug(e)] * len(jobs)
                finally:
                    for job, error in zip(jobs, errors, strict=True):
                        if not job.done.done():
                            job.done.set_result(None) if error is None else job.done.set_exception(error)
        finally:
            self._pump = None

    # ---- in the writer's thread ----------------------------------------------------------------------------------
    def _write(self, jobs: list[_Job]) -> list[SymphonyError | None]:
        """Each job all or nothing, those with records in one commit. Returns why not, of each."""
        try:
            self._journal.repair()  # a commit that failed may name slots that are free again
        except OSError as e:
            return [_error(e, doubtful=False) for _ in jobs]
        errors = [_attempt(self._write_pages, job) for job in jobs]
        for i, job in enumerate(jobs):
            errors[i] = errors[i] or _attempt(self._sync_pages, job)
        ready = [i for i, job in enumerate(jobs) if job.records and errors[i] is None]
        error = self._append([record for i in ready for record in jobs[i].records]) if ready else None
        for i in ready:
            errors[i] = error
        return errors

    def _write_pages(self, job: _Job) -> None:
        for form, pages in job.pages.items():
            pool = self._pool(form)
            for slot, data in pages.items():
                pool.write(slot, data)

    def _sync_pages(self, job: _Job) -> None:
        """All that its records name is on the medium then."""
        for record in job.records:
            if isinstance(record, Put):
                pool = self._pool(record.format)
                record.sums = [pool.sums[slot] for slot in record.slots]
                pool.sync(record.slots)

    def _append(self, records: list[Record]) -> SymphonyError | None:
        """The commit."""
        try:
            payload = encode(records)
            self._journal.append(payload)
        except OSError as e:
            return _error(e, self._journal.doubtful)
        except Exception as e:
            _log.exception("a commit of KV files failed")
            return _bug(e)
        self._state.apply(decode(payload))  # copies: the caller's records are its own
        self._compact()
        return None

    def _pool(self, form: Format) -> Pool:
        name = pool_name(form)
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = Pool(self._disk, form)
        return pool

    def _compact(self) -> None:
        """Rewrite the journal if most of it is past."""
        if self._journal.size < self._limit:
            return
        try:
            self._journal.rewrite(encode([file]) for file in self._state.files.values())
        except Exception:  # the commit is made, whatever becomes of this
            _log.exception("the KV store's journal could not be rewritten; it goes on with the long one")
            self._limit = self._journal.size + COMPACT_BYTES
        else:
            self._allow(self._journal.size)

    def _allow(self, live: int) -> None:
        """So many bytes of the journal are of use."""
        self._limit = max(COMPACT_BYTES, 4 * live)


def _read(pool: Pool, slots: Sequence[int]) -> list[bytes | None]:
    return [pool.read(slot) for slot in slots]


def _attempt(work: Callable[[_Job], None], job: _Job) -> SymphonyError | None:
    """Why it failed; the journal says nothing of it then."""
    try:
        work(job)
    except OSError as e:
        return _error(e, doubtful=False)
    except Exception as e:
        _log.exception("a commit of KV files failed")
        return _bug(e)
    return None


def _bug(e: Exception) -> SymphonyError:
    return InternalError(f"the host failed: {e!r}")


def _error(e: OSError, doubtful: bool) -> SymphonyError:
    what = "whether this sync is kept would show after a crash" if doubtful else "nothing of this write is kept"
    if e.errno in _FULL:
        return NoSpace(
            f"the disk of the KV store is full ({e.strerror}); {what}",
            "free some of it, or unlink synced files, and try again",
        )
    return InternalError(f"the disk of the KV store failed: {e.strerror or e}; {what}")
