"""The core: KV files, batch scheduling and engines as one thing, spoken to by ids and awaited calls (semantics 16).

    Core       checks what callers say; owns sessions and ids            this file
    StepLoop   one engine's steps, and the pages of its operations       loop.py
    Operation  one prediction or generation                              operation.py
    Kvfs, sched, Engine                                                  below

Callers are workers: they hold ids, never objects, and hear of their operations through `connect`. Every call checks
that an id belongs to the session it came with. The core knows nothing of processes, Wasm or HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from symphony.core.checks import check_ids, check_options, check_readings, wanted_entries
from symphony.core.loop import TIMER_RESOLUTION, Deliver, StepLoop
from symphony.core.messages import Chunk, Entry, GenerateOptions, Readings, Stat, Usage
from symphony.core.operation import Generation, Operation, Prediction
from symphony.core.session import Handle, Session
from symphony.engine.engine import Engine
from symphony.engine.messages import ModelInfo
from symphony.errors import Busy, Invalid, LimitExceeded, NotFound
from symphony.kvfs.file import File
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.tree import Tree
from symphony.param import MAX_OPEN_FILES, MAX_OPERATIONS
from symphony.sched.batch import BatchLimits, BatchScheduler
from symphony.sched.dispatch import ClosedLoop, Dispatch

Tokens = list[int]
Entries = list[Entry]


@dataclass(slots=True, frozen=True)
class CoreConfig:
    """Limits and policies; the defaults are those of `param.py`."""

    batch: BatchLimits = field(default_factory=BatchLimits)
    tenant_weights: Mapping[str, float] = field(default_factory=dict[str, float])
    dispatch: Callable[[], Dispatch] = ClosedLoop
    max_open_files: int = MAX_OPEN_FILES
    max_operations: int = MAX_OPERATIONS
    clock: Callable[[], float] = time.monotonic
    timer_resolution: float = TIMER_RESOLUTION


class Core:
    """All methods belong to the event-loop thread. The coroutines finish without suspending, except where a file's
    cancelled operation is still on the device."""

    def __init__(self, engines: Sequence[Engine], config: CoreConfig | None = None) -> None:
        """The first engine is the default model. Engines stay the caller's to close."""
        if not engines:
            raise ValueError("a core needs at least one engine")
        self._config = config or CoreConfig()
        self._kvfs = Kvfs()
        self._tree = Tree(self._kvfs)
        self._loops: dict[str, StepLoop] = {}
        for engine in engines:
            info = engine.info
            if info.name in self._loops:
                raise ValueError(f"two engines are named {info.name}")
            arena = self._kvfs.mount(info.name, info.digest, info.page_size, info.pages)
            batches = BatchScheduler[Operation](self._config.batch, self._config.tenant_weights)
            self._loops[info.name] = StepLoop(
                engine,
                self._kvfs,
                arena,
                batches,
                self._config.dispatch(),
                self._config.clock,
                self._config.timer_resolution,
            )
        self._default = engines[0].info.name
        self._sessions: dict[int, Session] = {}
        self._ids = itertools.count(1)
        self._stopped: asyncio.Event | None = None

    # ---- life ----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """The step loops, until `close`."""
        self._stopped = asyncio.Event()
        try:
            await asyncio.gather(*(loop.run() for loop in self._loops.values()))
        finally:
            self._stopped.set()

    async def close(self) -> None:
        """Close every session and end the loops; waits for the steps that are running."""
        for session in list(self._sessions):
            await self.close_session(session)
        for loop in self._loops.values():
            loop.close()
        if self._stopped is not None:
            await self._stopped.wait()

    def connect(self, deliver: Deliver) -> None:
        """The worker's inbox, `deliver(op, payload)`. For a prediction its readings or an error, once; for a
        generation None: `next` has something. Called from the loop; must not call back."""
        for loop in self._loops.values():
            loop.deliver = deliver

    def check_integrity(self) -> None:
        """Raises InternalError that says which books of the KVFS do not agree."""
        check_integrity(self._kvfs, [(loop.arena, copy) for loop in self._loops.values() for copy in loop.copies])
        self._tree.check_integrity()

    def idle(self) -> bool:
        """Whether no operation is in flight."""
        return not any(loop.active or loop.parked for loop in self._loops.values())

    def models(self) -> list[str]:
        """The default one first."""
        return list(self._loops)

    def engine(self, name: str | None) -> Engine:
        """None: the default. Raises NotFound."""
        return self._loop(name).engine

    # ---- sessions ------------------------------------------------------------------------------------------------
    def open_session(self, tenant: str, owner: str = "", *, priority: int = 0, deadline: float | None = None) -> int:
        """A process begins; its files will belong to `owner` (none: the tenant). `priority`: a nice value, -20 to 19;
        `deadline`: when it wants to be through, on the core's clock."""
        session = next(self._ids)
        self._sessions[session] = Session(tenant, owner or tenant, priority, inf if deadline is None else deadline)
        return session

    async def close_session(self, session: int) -> None:
        """Cancel its operations and close its files; idempotent."""
        gone = self._sessions.pop(session, None)
        if gone is None:
            return
        for operation in list(gone.operations.values()):
            self._cancel(operation)
        for handle in gone.files.values():
            self._close(handle)
        gone.files.clear()

    def usage(self, session: int) -> Usage:
        """What the session has used so far; `pages` now."""
        found = self._session(session)
        usage = found.usage
        usage.pages = len({(h.file.arena.model, page) for h in found.files.values() for page in h.file.pages})
        return Usage(usage.forwards, usage.prompt_tokens, usage.reused_tokens, usage.generated_tokens, usage.pages)

    # ---- files ---------------------------------------------------------------------------------------------------
    async def create(self, session: int, model: str | None) -> int:
        """A new, empty, unnamed file. Raises NotFound (the model), LimitExceeded."""
        owner, loop = self._session(session), self._loop(model)
        self._check_open(owner)
        return self._admit(owner, self._kvfs.create(owner.tenant, owner.owner, loop.arena.model))

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
        """A named file; without `write` a private fork of it.

        Raises NotFound, Exists, Invalid (path, flags, another model's file), LimitExceeded.
        """
        owner, loop = self._session(session), self._loop(model)
        self._check_open(owner)
        file = self._tree.open(
            owner.tenant, owner.owner, loop.arena.model, path, write=write, create=create, exclusive=exclusive
        )
        return self._admit(owner, file)

    async def fork(self, session: int, file: int) -> int:
        """Raises Busy, LimitExceeded."""
        found = await self._quiet(session, file)
        owner = self._session(session)
        if found.busy:
            raise Busy("an operation is in flight on this file", "wait for it before you fork")
        self._check_open(owner)
        return self._admit(owner, self._kvfs.fork(found, owner.owner))

    async def close_file(self, session: int, file: int) -> None:
        """Close a handle; what was started through it is cancelled. Idempotent."""
        handle = self._session(session).files.pop(file, None)
        if handle is not None:
            self._close(handle)

    async def length(self, session: int, file: int) -> int:
        """Tokens; during an operation: those before it."""
        return (await self._quiet(session, file)).length

    async def tokens(self, session: int, file: int, start: int, end: int) -> Tokens:
        """Ids of `[start, end)`. Raises Invalid."""
        found = await self._quiet(session, file)
        if not 0 <= start <= end <= found.length:
            raise Invalid(f"the range {start} to {end} is outside the file", f"the file has {found.length} tokens")
        return found.tokens[start:end].tolist()

    async def truncate(self, session: int, file: int, length: int) -> None:
        """Keep the first `length` tokens. Raises Invalid, Busy."""
        self._kvfs.truncate(await self._quiet(session, file), length)

    async def save(self, session: int, file: int, path: str, overwrite: bool) -> None:
        """Name a snapshot. Raises Exists, Invalid, Busy, LimitExceeded."""
        found = await self._quiet(session, file)
        self._tree.save(found, path, self._session(session).owner, overwrite)

    async def stat(self, session: int, file: int) -> Stat:
        return self._kvfs.stat(await self._quiet(session, file))

    async def stat_path(self, session: int, path: str) -> Stat:
        """Raises NotFound, Invalid."""
        return self._tree.stat_path(self._session(session).tenant, path)

    async def list(self, session: int, path: str) -> Entries:
        """What lies directly below a directory, sorted. Raises NotFound, Invalid."""
        return self._tree.list(self._session(session).tenant, path)

    async def rename(self, session: int, old: str, new: str) -> None:
        """Raises NotFound, Exists, Invalid."""
        self._tree.rename(self._session(session).tenant, old, new)

    async def unlink(self, session: int, path: str) -> None:
        """Raises NotFound, Invalid."""
        self._tree.unlink(self._session(session).tenant, path)

    # ---- operations ----------------------------------------------------------------------------------------------
    async def pred(
        self,
        session: int,
        file: int,
        op: int,
        tokens: Sequence[int],
        outputs: Sequence[int],
        readings: Readings,
    ) -> None:
        """Append `tokens` and run the model over them; `outputs`, ascending, index into them. Without tokens ask again
        about the last entry, `outputs` being `(0,)`. `op`: a new id; the answer comes through `connect`.

        Raises Invalid, Busy, LimitExceeded.
        """
        owner = self._session(session)
        handle = self._handle(owner, file)
        kv, loop = handle.file, handle.loop
        if loop.dying:
            await self._quiet(session, file)
            self._handle(owner, file)  # it may have been closed meanwhile
        self._check_start(owner, op, kv, tokens, loop.info)
        check_readings(readings, len(outputs), loop.info)
        wanted = wanted_entries(outputs, len(tokens), kv.length)
        self._kvfs.begin(kv, tokens)
        self._start(Prediction(op, owner, handle, self._config.clock(), wanted, readings))

    async def generate(self, session: int, file: int, op: int, tokens: Sequence[int], options: GenerateOptions) -> None:
        """Append `tokens` and go on from there. `op`: a new id; `next` has the chunks. Raises as `pred`."""
        kv = await self._quiet(session, file)
        owner = self._session(session)
        handle = self._handle(owner, file)
        loop, info = handle.loop, handle.loop.info
        self._check_start(owner, op, kv, tokens, info)
        check_options(options, info)
        self._kvfs.begin(kv, tokens)
        decoder = loop.engine.tokenizer.decoder()
        self._start(Generation(op, owner, handle, self._config.clock(), options, decoder, info.context_limit))

    async def next(self, session: int, op: int) -> Chunk | None:
        """Everything undelivered as one chunk once a chunk is due, else None. The chunk with `finish` is the last.

        Raises the generation's error, once; Invalid after the end.
        """
        owner = self._session(session)
        generation = owner.operations.get(op)
        if not isinstance(generation, Generation):
            raise Invalid("this generation has ended, or never was", "start another one with generate")
        if generation.error is not None:
            del owner.operations[op]
            raise generation.error
        if not generation.notified:
            return None
        chunk = generation.take()
        generation.handle.loop.taken(generation)
        return chunk

    async def cancel(self, session: int, op: int) -> None:
        """End an operation as dropping its handle does: a prediction leaves no trace, a generation what `next` gave.
        Idempotent."""
        operation = self._session(session).operations.get(op)
        if operation is not None:
            self._cancel(operation)

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
        if handle.loop.dying:
            await handle.loop.quiet(handle.file)
        return handle.file

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
        if handle.operation is not None:
            self._cancel(handle.operation)
        handle.loop.dispatch.gone(handle)
        self._kvfs.close(handle.file)

    def _cancel(self, operation: Operation) -> None:
        operation.session.operations.pop(operation.id, None)
        failed = isinstance(operation, Generation) and operation.error is not None
        if not failed and not operation.cancelled:
            operation.handle.loop.cancel(operation)

    def _start(self, operation: Operation) -> None:
        operation.session.operations[operation.id] = operation
        operation.handle.operation = operation
        operation.handle.loop.submit(operation)

    def _check_start(self, session: Session, op: int, file: File, tokens: Sequence[int], info: ModelInfo) -> None:
        total = file.length + len(tokens)
        if not total:
            raise Invalid("the file is empty and no tokens were given", "give at least one token")
        if total > info.context_limit:
            raise Invalid(
                f"{total} tokens do not fit into the context of {info.context_limit}",
                "truncate the file, or give fewer",
            )
        if tokens:
            check_ids(tokens, info)
        if len(session.operations) >= self._config.max_operations:
            raise LimitExceeded(
                f"the process has {len(session.operations)} operations in flight, the limit", "wait for some of them"
            )
        if op in session.operations:
            raise Invalid(f"operation {op} is in flight already", "choose a new id")
