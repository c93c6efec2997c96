"""`symphony:lip/kvfs`: KV files. Source: `wit/kvfs.wit`; meanings in semantics 1-8.

A handle holds ids only; the file itself lives in the core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from symphony.core.messages import Entry, Stat, bits_of, mode_of
from symphony.errors import LimitExceeded, SymphonyError
from symphony.param import MAX_EXTRACT_RANGES
from symphony.syscall.caller import Caller
from symphony.syscall.inbox import Answer
from symphony.syscall.model import Model
from symphony.syscall.pollable import Pollable
from symphony.syscall.values import Err, Handler, Ok


class KvFile:
    """A guest's handle on a file. `idle` is ready whenever `in_flight` (operations started through it) is 0."""

    __slots__ = ("caller", "id", "idle", "in_flight")

    def __init__(self, caller: Caller, file: int) -> None:
        self.caller = caller
        self.id = file
        self.idle = Pollable(fired=True)
        self.in_flight = 0

    def begin(self) -> None:
        self.in_flight += 1
        self.idle.clear()

    def end(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.fire()

    async def drop(self) -> None:
        await self.caller.core.close_file(self.caller.session, self.id)


class LockHandle:
    """A guest's handle on a lock; `pollable` fires once it is held."""

    __slots__ = ("caller", "id", "op", "pollable")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.pollable = Pollable()
        self.op = caller.inbox.register(self)
        self.id: int | None = None
        """None: the core has not answered yet, or refused it."""

    def deliver(self, answer: Answer) -> None:
        self.caller.inbox.forget(self.op)
        self.pollable.fire()
        if self.id is not None:  # else it was free, and nobody waited for it
            self.caller.stirred()

    async def drop(self) -> None:
        self.caller.inbox.forget(self.op)
        if self.id is not None:
            await self.caller.core.unlock(self.caller.session, self.id)


class Syncing:
    """A guest's handle on a sync. `outcome` once it is over."""

    __slots__ = ("caller", "op", "outcome", "pollable")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.pollable = Pollable()
        self.op = caller.inbox.register(self)
        self.outcome: Ok[None] | Err[SymphonyError] | None = None

    def deliver(self, answer: Answer) -> None:
        self.caller.inbox.forget(self.op)
        self.outcome = Err(answer) if isinstance(answer, SymphonyError) else Ok(None)
        self.pollable.fire()
        self.caller.stirred()

    def drop(self) -> None:
        self.caller.inbox.forget(self.op)


class StatRecord(NamedTuple):
    length: int
    plain: int
    next_position: int
    unique_pages: int
    shared_pages: int
    tier: str
    pinned: bool
    tenant: str
    owner: str
    mode: frozenset[str]
    created: int
    modified: int
    used: int
    ttl: int | None
    names: int


def _record(stat: Stat) -> StatRecord:
    return StatRecord(
        stat.length,
        stat.plain,
        stat.next_position,
        stat.unique_pages,
        stat.shared_pages,
        stat.tier,
        stat.pinned,
        stat.tenant,
        stat.owner,
        bits_of(stat.mode),
        stat.created,
        stat.modified,
        stat.used,
        stat.ttl,
        stat.names,
    )


class Span(NamedTuple):
    start: int
    end: int


async def create(caller: Caller, model: Model) -> KvFile:
    return KvFile(caller, await caller.core.create(caller.session, model.name))


async def open_file(caller: Caller, model: Model, path: str, how: frozenset[str]) -> KvFile:
    file = await caller.core.open(
        caller.session, model.name, path, write="write" in how, create="create" in how, exclusive="exclusive" in how
    )
    return KvFile(caller, file)


async def fork(caller: Caller, file: KvFile) -> KvFile:
    return KvFile(caller, await caller.core.fork(caller.session, file.id))


async def length(caller: Caller, file: KvFile) -> int:
    return await caller.core.length(caller.session, file.id)


async def tokens(caller: Caller, file: KvFile, span: Span) -> list[int]:
    return await caller.core.tokens(caller.session, file.id, span.start, span.end)


async def truncate(caller: Caller, file: KvFile, length: int) -> None:
    await caller.core.truncate(caller.session, file.id, length)


async def extract(caller: Caller, file: KvFile, ranges: Sequence[Span], rebase: bool) -> KvFile:
    if len(ranges) > MAX_EXTRACT_RANGES:
        raise LimitExceeded(f"{len(ranges)} ranges, at most {MAX_EXTRACT_RANGES}", "extract from what was extracted")
    spans = [(span.start, span.end) for span in ranges]
    return KvFile(caller, await caller.core.extract(caller.session, file.id, spans, rebase))


async def append_from(caller: Caller, file: KvFile, other: KvFile, span: Span) -> None:
    await caller.core.append_from(caller.session, file.id, other.id, span.start, span.end)


async def pin(caller: Caller, file: KvFile) -> None:
    await caller.core.pin(caller.session, file.id)


async def unpin(caller: Caller, file: KvFile) -> None:
    await caller.core.unpin(caller.session, file.id)


async def advise(caller: Caller, file: KvFile, what: str) -> None:
    await caller.core.advise(caller.session, file.id, what)


async def save(caller: Caller, file: KvFile, path: str, overwrite: bool) -> None:
    await caller.core.save(caller.session, file.id, path, overwrite)


async def link(caller: Caller, file: KvFile, path: str) -> None:
    await caller.core.link(caller.session, file.id, path)


async def stat(caller: Caller, file: KvFile) -> StatRecord:
    return _record(await caller.core.stat(caller.session, file.id))


async def set_mode(caller: Caller, file: KvFile, mode: frozenset[str]) -> None:
    await caller.core.set_mode(caller.session, file.id, mode_of(mode))


async def set_ttl(caller: Caller, file: KvFile, seconds: int | None) -> None:
    await caller.core.set_ttl(caller.session, file.id, seconds)


async def lock(caller: Caller, file: KvFile, kind: str) -> LockHandle:
    handle = LockHandle(caller)
    try:
        handle.id = await caller.core.lock(caller.session, file.id, handle.op, kind == "shared")
    except BaseException:
        await handle.drop()
        raise
    return handle


async def try_lock(caller: Caller, file: KvFile, kind: str) -> LockHandle:
    handle = LockHandle(caller)
    handle.deliver(None)
    handle.id = await caller.core.try_lock(caller.session, file.id, kind == "shared")
    return handle


async def sync(caller: Caller, file: KvFile) -> Syncing:
    syncing = Syncing(caller)
    try:
        await caller.core.sync(caller.session, file.id, syncing.op)
    except BaseException:
        syncing.drop()
        raise
    return syncing


async def sync_path(caller: Caller, path: str) -> Syncing:
    syncing = Syncing(caller)
    try:
        await caller.core.sync_path(caller.session, path, syncing.op)
    except BaseException:
        syncing.drop()
        raise
    return syncing


def sync_subscribe(caller: Caller, syncing: Syncing) -> Pollable:
    return syncing.pollable


def sync_get(caller: Caller, syncing: Syncing) -> Ok[None] | Err[SymphonyError] | None:
    return syncing.outcome


def lock_subscribe(caller: Caller, lock: LockHandle) -> Pollable:
    return lock.pollable


def lock_held(caller: Caller, lock: LockHandle) -> bool:
    return lock.pollable.ready()


def idle(caller: Caller, file: KvFile) -> Pollable:
    return file.idle


async def list_directory(caller: Caller, path: str) -> list[Entry]:
    return await caller.core.list(caller.session, path)


async def glob(caller: Caller, pattern: str) -> list[str]:
    return await caller.core.glob(caller.session, pattern)


async def stat_path(caller: Caller, path: str) -> StatRecord:
    return _record(await caller.core.stat_path(caller.session, path))


async def mkdir(caller: Caller, path: str) -> None:
    await caller.core.mkdir(caller.session, path)


async def rename(caller: Caller, old: str, new: str) -> None:
    await caller.core.rename(caller.session, old, new)


async def unlink(caller: Caller, path: str) -> None:
    await caller.core.unlink(caller.session, path)


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/kvfs#[static]kv-file.create": create,
    "symphony:lip/kvfs#[static]kv-file.open": open_file,
    "symphony:lip/kvfs#[method]kv-file.fork": fork,
    "symphony:lip/kvfs#[method]kv-file.length": length,
    "symphony:lip/kvfs#[method]kv-file.tokens": tokens,
    "symphony:lip/kvfs#[method]kv-file.truncate": truncate,
    "symphony:lip/kvfs#[method]kv-file.extract": extract,
    "symphony:lip/kvfs#[method]kv-file.append-from": append_from,
    "symphony:lip/kvfs#[method]kv-file.pin": pin,
    "symphony:lip/kvfs#[method]kv-file.unpin": unpin,
    "symphony:lip/kvfs#[method]kv-file.advise": advise,
    "symphony:lip/kvfs#[method]kv-file.save": save,
    "symphony:lip/kvfs#[method]kv-file.link": link,
    "symphony:lip/kvfs#[method]kv-file.stat": stat,
    "symphony:lip/kvfs#[method]kv-file.set-mode": set_mode,
    "symphony:lip/kvfs#[method]kv-file.set-ttl": set_ttl,
    "symphony:lip/kvfs#[method]kv-file.lock": lock,
    "symphony:lip/kvfs#[method]kv-file.try-lock": try_lock,
    "symphony:lip/kvfs#[method]kv-file.sync": sync,
    "symphony:lip/kvfs#sync": sync_path,
    "symphony:lip/kvfs#[method]syncing.subscribe": sync_subscribe,
    "symphony:lip/kvfs#[method]syncing.get": sync_get,
    "symphony:lip/kvfs#[method]lock.subscribe": lock_subscribe,
    "symphony:lip/kvfs#[method]lock.held": lock_held,
    "symphony:lip/kvfs#[method]kv-file.idle": idle,
    "symphony:lip/kvfs#list": list_directory,
    "symphony:lip/kvfs#glob": glob,
    "symphony:lip/kvfs#stat-path": stat_path,
    "symphony:lip/kvfs#mkdir": mkdir,
    "symphony:lip/kvfs#rename": rename,
    "symphony:lip/kvfs#unlink": unlink,
}
