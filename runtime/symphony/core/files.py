"""What the core answers about files, names and locks: ids and paths in, ids and records out.

Checks that an id belongs to the session it came with and that the session may do what it asks; what is then done, and
what it means, is in kvfs (`Kvfs`, `Tree`, `Locks`). Of operations this module knows only how to end one.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from functools import partial

from symphony.core.config import CoreConfig
from symphony.core.damage import check
from symphony.core.durable import Durable
from symphony.core.generation import Generation
from symphony.core.loop import StepLoop
from symphony.core.messages import Entry, Stat
from symphony.core.operation import Operation
from symphony.core.operations import Deliver
from symphony.core.porting import Porter
from symphony.core.repaging import Repaging
from symphony.core.session import Handle, Session
from symphony.errors import Busy, Invalid, LimitExceeded, NotFound, SymphonyError
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.locks import Lock, Locks
from symphony.kvfs.modes import READ, WRITE, Mode, require
from symphony.kvfs.transfer import check_range
from symphony.kvfs.tree import Tree
from symphony.param import SWEEP_SECONDS

_log = logging.getLogger(__name__)

Tokens = list[int]
Entries = list[Entry]
Paths = list[str]


class Files:
    """The part of `Core` that needs no engine."""

    def __init__(self, config: CoreConfig, default: str) -> None:
        """`default`: the model that is meant where none is named."""
        self._config = config
        self._default = default
        self._kvfs = Kvfs(config.wall_clock, config.max_files)
        self._tree = Tree(self._kvfs, config.max_names)
        self._locks = Locks(config.max_locks)
        self._awaited: dict[Lock, int] = {}
        """Locks that are waited for, and the operation ids under which their holders hear of it."""
        self._loops: dict[str, StepLoop] = {}
        self._sessions: dict[int, Session] = {}
        self._durable: Durable
        self._porter: Porter
        self._repaging: Repaging
        """`Core` makes these: they need the engines."""
        self._ids = itertools.count(1)
        self._deliver: Deliver | None = None

    # ---- handles -------------------------------------------------------------------------------------------------
    async def create(self, session: int, model: str | None) -> int:
        """A new, empty, unnamed file. Raises NotFound (the model), LimitExceeded."""
        owner, loop = self._session(session), self._loop(model)
        self._check_open(owner)
        return self._admit(owner, self._kvfs.create(owner.who.tenant, owner.who.owner, loop.arena.model))

    async def open(
        self,
        session: int,
        model: str | None,
        path: str,
        *,
        write: bool = False,
        create: bool = False,
        exclusive: bool = False,
    ) -> int:
        """A named file; without `write` a private fork of it, which belongs to who opened it.

        Raises NotFound, Exists, PermissionDenied, Invalid (path, flags, another model's file), LimitExceeded.
        """
        owner, loop = self._session(session), self._loop(model)
        self._check_open(owner)
        if self._durable.depot.foreign:
            await self._repaging.adapt(owner.who, loop.arena.model, path)
            owner = self._session(session)  # it may have ended meanwhile
        file = self._tree.open(owner.who, loop.arena.model, path, write=write, create=create, exclusive=exclusive)
        number = self._admit(owner, file)
        if file.derived is not None and file.image is not None:
            try:
                await check(self._durable.depot, file, path)
            except BaseException:
                await self.close_file(session, number)
                raise
        return number

    async def fork(self, session: int, file: int) -> int:
        """Raises Busy, PermissionDenied, LimitExceeded."""
        found, owner = await self._may(session, file, READ)
        if found.busy:
            raise Busy("an operation is in flight on this file", "wait for it before you fork")
        self._check_open(owner)
        return self._admit(owner, self._kvfs.fork(found, owner.who.tenant, owner.who.owner))

    def hand_over(self, session: int, file: int, to: int) -> None:
        """Make a file another session's, of the same tenant, under the same id. Nothing may be in flight on it."""
        giver, taker = self._session(session), self._session(to)
        handle = self._handle(giver, file)
        handle.loop.disturb(handle)
        if giver.who.tenant != taker.who.tenant or handle.operation is not None:
            raise Invalid("this file cannot change hands", "hand over a fork of it, to a session of the same tenant")
        del giver.files[file]
        taker.files[file] = handle

    def model_of(self, session: int, file: int) -> str:
        """The name of the model whose K/V the file holds."""
        return self._handle(self._session(session), file).file.arena.model

    async def close_file(self, session: int, file: int) -> None:
        """Close a handle; what was started through it is cancelled. Idempotent."""
        handle = self._session(session).files.pop(file, None)
        if handle is not None:
            self._close(handle)

    # ---- contents ------------------------------------------------------------------------------------------------
    async def length(self, session: int, file: int) -> int:
        """Tokens; during an operation: those before it."""
        return (await self._quiet(session, file)).length

    async def tokens(self, session: int, file: int, start: int, end: int) -> Tokens:
        """Ids of `[start, end)`. Raises PermissionDenied, Invalid."""
        found, _ = await self._may(session, file, READ)
        check_range(found, start, end)
        return found.tokens[start:end].tolist()

    async def truncate(self, session: int, file: int, length: int) -> None:
        """Keep the first `length` tokens. Raises PermissionDenied, Invalid, Busy."""
        found, _ = await self._may(session, file, WRITE)
        self._kvfs.truncate(found, length)

    async def sync(self, session: int, file: int, op: int) -> None:
        """Make the file, as it is now, survive whatever happens to the host. None, or why not, is delivered for `op`.

        Raises PermissionDenied, Busy at once.
        """
        found, _ = await self._may(session, file, WRITE)
        self._start_sync(found, op)

    async def sync_path(self, session: int, path: str, op: int) -> None:
        """Likewise the file of that name. Raises NotFound, Invalid, PermissionDenied, Busy at once."""
        who = self._session(session).who
        found = self._tree.file(who, path)
        require(found, who, WRITE, path)
        self._start_sync(found, op)

    async def stat(self, session: int, file: int) -> Stat:
        return self._kvfs.stat(await self._quiet(session, file))

    # ---- names ---------------------------------------------------------------------------------------------------
    async def save(self, session: int, file: int, path: str, overwrite: bool) -> None:
        """Name a snapshot. Raises Exists, PermissionDenied, Invalid, Busy, LimitExceeded."""
        found = await self._quiet(session, file)
        self._tree.save(self._session(session).who, found, path, overwrite)

    async def link(self, session: int, file: int, path: str) -> None:
        """Give the file itself a further name. Raises Exists, PermissionDenied, Invalid, LimitExceeded."""
        owner = self._session(session)
        handle = self._handle(owner, file)
        handle.loop.disturb(handle)
        self._tree.link(owner.who, handle.file, path)

    async def set_mode(self, session: int, file: int, mode: Mode) -> None:
        """Say who may do what. Raises PermissionDenied unless the file is the session's principal's own."""
        owner = self._session(session)
        self._tree.set_mode(owner.who, self._handle(owner, file).file, mode)

    async def set_ttl(self, session: int, file: int, seconds: float | None) -> None:
        """Let the names of the file go so long after its last use; None: never. Raises PermissionDenied, Invalid."""
        owner = self._session(session)
        self._tree.set_ttl(owner.who, self._handle(owner, file).file, seconds)

    async def stat_path(self, session: int, path: str) -> Stat:
        """Raises NotFound, Invalid."""
        return self._tree.stat_path(self._session(session).who, path)

    async def list(self, session: int, path: str) -> Entries:
        """What lies directly below a directory, sorted. Raises NotFound, Invalid."""
        return self._tree.list(self._session(session).who, path)

    async def glob(self, session: int, pattern: str) -> Paths:
        """Paths of the files that match, sorted. Raises Invalid, LimitExceeded."""
        return self._tree.glob(self._session(session).who, pattern)

    async def mkdir(self, session: int, path: str) -> None:
        """Make a directory. Raises Exists, PermissionDenied, Invalid, LimitExceeded."""
        self._tree.mkdir(self._session(session).who, path)

    async def rename(self, session: int, old: str, new: str) -> None:
        """Move a file, or a directory and what lies below. Raises NotFound, Exists, PermissionDenied, Invalid."""
        self._tree.rename(self._session(session).who, old, new)

    async def unlink(self, session: int, path: str) -> None:
        """Remove a name, or an empty directory. Raises NotFound, PermissionDenied, Invalid."""
        self._tree.unlink(self._session(session).who, path)

    # ---- locks ---------------------------------------------------------------------------------------------------
    async def lock(self, session: int, file: int, op: int, shared: bool) -> int:
        """Ask for an advisory lock. Returns its id; None is delivered for `op` once it is held, which may be at once.

        Raises Busy (waiting would close a cycle), PermissionDenied, LimitExceeded.
        """
        owner, found = self._lockable(session, file, shared)
        lock = self._locks.request(found, session, shared)
        number = next(self._ids)
        owner.locks[number] = lock
        self._awaited[lock] = op
        if lock.held:
            self._tell(lock)
        return number

    async def try_lock(self, session: int, file: int, shared: bool) -> int:
        """Take an advisory lock now. Raises Busy, PermissionDenied, LimitExceeded."""
        owner, found = self._lockable(session, file, shared)
        number = next(self._ids)
        owner.locks[number] = self._locks.attempt(found, session, shared)
        return number

    async def unlock(self, session: int, lock: int) -> None:
        """Release a lock, or stop waiting for it. Idempotent."""
        found = self._session(session).locks.pop(lock, None)
        if found is not None:
            self._release(found)

    # ---- the inside ----------------------------------------------------------------------------------------------
    def _session(self, session: int) -> Session:
        found = self._sessions.get(session)
        if found is None:
            raise Invalid(f"there is no session {session}", "it was closed")
        return found

    def _handle(self, session: Session, file: int) -> Handle:
        found = session.files.get(file)
        if found is None:
            raise Invalid(f"this process has no open file {file}", "it was closed")
        return found

    async def _quiet(self, session: int, file: int) -> File:
        """The file, once no cancelled operation is on it: as a rule at once."""
        handle = self._handle(self._session(session), file)
        handle.loop.disturb(handle)
        if handle.loop.dying:
            await handle.loop.quiet(handle.file)
            self._handle(self._session(session), file)  # it may have been closed meanwhile
        return handle.file

    async def _may(self, session: int, file: int, wanted: int) -> tuple[File, Session]:
        """The quiet file, and the session, which has these rights on it. Raises PermissionDenied."""
        found = await self._quiet(session, file)
        owner = self._session(session)
        require(found, owner.who, wanted)
        return found, owner

    def _loop(self, model: str | None) -> StepLoop:
        found = self._loops.get(self._default if model is None else model)
        if found is None:
            raise NotFound(f"no model is named {model}", f"loaded: {', '.join(self._loops)}")
        return found

    def _check_open(self, session: Session) -> None:
        if len(session.files) >= self._config.max_open_files:
            raise LimitExceeded(f"the process has {len(session.files)} open KV files, the limit", "close some")

    def _admit(self, session: Session, file: File) -> int:
        number = next(self._ids)
        session.files[number] = Handle(file, self._loops[file.arena.model])
        return number

    def _close(self, handle: Handle) -> None:
        handle.loop.disturb(handle)
        if handle.operation is not None:
            self._cancel(handle.operation)
        handle.loop.dispatch.gone(handle)
        self._unpin(handle)
        self._kvfs.close(handle.file)
        self._tree.rest(handle.file)
        handle.loop.freed()

    def _unpin(self, handle: Handle) -> None:
        if handle.pinned:
            handle.pinned = False
            self._kvfs.unpin(handle.file)
            self._tree.rest(handle.file)
            handle.loop.freed()

    def _cancel(self, operation: Operation) -> None:
        known = operation.session.operations.pop(operation.id, None) is not None
        failed = isinstance(operation, Generation) and operation.error is not None
        if known and not failed and not operation.cancelled:
            operation.handle.loop.cancel(operation)

    def _lockable(self, session: int, file: int, shared: bool) -> tuple[Session, File]:
        owner = self._session(session)
        found = self._handle(owner, file).file
        require(found, owner.who, READ if shared else WRITE)
        return owner, found

    def _release(self, lock: Lock) -> None:
        self._awaited.pop(lock, None)
        for granted in self._locks.release(lock):
            self._tell(granted)

    def _start_sync(self, file: File, op: int) -> None:
        self._kvfs.check_idle(file)
        self._durable.start(file, partial(self._answer, op))

    def _answer(self, op: int, error: SymphonyError | None) -> None:
        if self._deliver is not None:
            self._deliver(op, error)

    def _tell(self, lock: Lock) -> None:
        op = self._awaited.pop(lock)
        if self._deliver is not None:
            self._deliver(op, None)

    async def _sweep(self) -> None:
        """Remove names that outlived their time, now and then, for ever; also after a bug of the host in it."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                while (due := self._tree.sweep()) is not None and due <= self._config.wall_clock():  # noqa: ASYNC110
                    await asyncio.sleep(0)
                await self._durable.flush()
            except Exception:
                _log.exception("looking for names that are past their time failed; it goes on with the next ones")
