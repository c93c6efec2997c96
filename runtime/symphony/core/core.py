"""The core: KV files, batch scheduling and engines as one thing, spoken to by ids and awaited calls (semantics 16).

    Core       checks what callers say; owns sessions and ids            this file; files.py, predicting.py
    StepLoop   one engine's steps, and the pages of its operations       loop.py
    Operation  one prediction or generation                              operation.py
    Kvfs, sched, Engine                                                  below

Callers are workers: they hold ids, never objects, and hear of their operations through `connect`. Every call checks
that an id belongs to the session it came with. The core knows nothing of processes, Wasm or HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import islice
from math import inf

from symphony.core.checks import check_context, check_options
from symphony.core.config import CoreConfig
from symphony.core.constraints import Constraints
from symphony.core.drafts import Drafter, DraftModel, PromptLookup, common_length
from symphony.core.durable import Durable
from symphony.core.generation import Generation, Guide
from symphony.core.guide import ConstraintGuide
from symphony.core.inspect import count_pages
from symphony.core.kept import KeptRows
from symphony.core.loop import StepLoop
from symphony.core.messages import Chunk, GenerateOptions, Usage
from symphony.core.operation import Operation, Transfer
from symphony.core.operations import Deliver
from symphony.core.porting import Porter
from symphony.core.predicting import Predicting
from symphony.core.repaging import Repaging
from symphony.core.session import Handle, Session
from symphony.core.staging import Staging
from symphony.engine.engine import Engine
from symphony.engine.messages import ModelInfo
from symphony.errors import Invalid
from symphony.kvfs.arena import Arena, Costs
from symphony.kvfs.file import File
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.modes import READ, WRITE, Principal, require
from symphony.kvfs.names_integrity import check_names
from symphony.kvfs.transfer import Run, append_runs, extract_runs
from symphony.pace import Pace
from symphony.param import ASSUMED_MOVE_BYTES, MAX_SURVEY_PAGES, RESUMED_FILES, STEP_TOKENS_GPU
from symphony.sched.batch import BatchLimits, BatchScheduler
from symphony.store.store import Store


class Core(Predicting):
    """All methods belong to the event-loop thread. The coroutines finish without suspending, except where a file's
    cancelled operation is still on the device."""

    def __init__(self, engines: Sequence[Engine], config: CoreConfig | None = None, store: Store | None = None) -> None:
        """The first engine is the default model. Engines and the store stay the caller's to close; what is in the store
        is there again."""
        if not engines:
            raise ValueError("a core needs at least one engine")
        super().__init__(config or CoreConfig(), engines[0].info.name)
        pace = Pace(self._config.tenant_tokens, self._config.tenants_tokens)
        for engine in engines:
            info = engine.info
            if info.name in self._loops:
                raise ValueError(f"two engines are named {info.name}")
            arena = self._mount(info)
            pipelined = self._config.pipelined
            batches = BatchScheduler[Operation](self._config.batch or _limits(info), self._config.tenant_weights)
            self._loops[info.name] = StepLoop(
                engine,
                self._kvfs,
                arena,
                batches,
                self._config.dispatch(),
                self._config.clock,
                self._config.timer_resolution,
                self._config.room,
                engine.pipelined if pipelined is None else pipelined,
                pace,
                self._config.guesses,
            )
        self._durable = Durable(self._kvfs, self._tree, self._loops, store, self._config.disk)
        staging = Staging(self._kvfs, self._durable.depot)
        self._porter = Porter(self._kvfs, self._tree, self._loops, self._durable, staging)
        self._repaging = Repaging(self._kvfs, self._tree, self._loops, self._durable, staging)
        for loop in self._loops.values():
            loop.room.attach(self._durable.depot)
        if self._config.debug:
            for loop in self._loops.values():
                loop.audit = self.check_integrity
        self.constraints = Constraints(self._session, self.engine, self._ids, self._config.max_constraints)
        """What callers say about constraints goes there."""
        self.kept = KeptRows(self._session, self._ids, self._config.max_kept_rows)
        """Likewise about distributions that were kept."""
        self._stopped: asyncio.Event | None = None

    # ---- life ----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """The step loops, until `close`."""
        self._stopped = asyncio.Event()
        sweeper = asyncio.create_task(self._sweep())
        try:
            await asyncio.gather(*(loop.run() for loop in self._loops.values()))
        finally:
            sweeper.cancel()
            self._stopped.set()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeper

    async def close(self) -> None:
        """Close every session and end the loops; waits for the steps that are running."""
        for session in list(self._sessions):
            await self.close_session(session)
        self.constraints.close()
        await self._repaging.finish()
        await self._durable.finish()
        for loop in self._loops.values():
            loop.close()
        if self._stopped is not None:
            await self._stopped.wait()

    def connect(self, deliver: Deliver) -> None:
        """The worker's inbox, `deliver(op, payload)`. For a prediction its readings or an error, once; for a
        generation None: `next` has something. For a lock None: it is held. Called from the loop; must not call back."""
        self._deliver = deliver
        for loop in self._loops.values():
            loop.deliver = deliver

    def check_integrity(self) -> None:
        """Raises InternalError that says which books of the KVFS do not agree."""
        moves = [move for loop in self._loops.values() for move in loop.room.moves()]
        check_integrity(self._kvfs, moves, self._durable.holders())
        check_names(self._tree)

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
    def clock(self) -> float:
        """Seconds now, on the clock of deadlines."""
        return self._config.clock()

    def open_session(
        self,
        tenant: str,
        owner: str = "",
        *,
        share: bool = False,
        priority: int = 0,
        deadline: float | None = None,
    ) -> int:
        """A process begins; its files will belong to `owner` (none: the tenant). `share`: it may change names below
        `/shared`; `priority`: a nice value, -20 to 19; `deadline`: when it wants to be through, on the core's clock."""
        session = next(self._ids)
        who = Principal(tenant, owner or tenant, share)
        self._sessions[session] = Session(who, priority, inf if deadline is None else deadline)
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
        for lock in gone.locks.values():
            self._release(lock)
        gone.locks.clear()
        gone.constraints.clear()
        self.kept.forget(gone, list(gone.kept))

    def usage(self, session: int, most: int = MAX_SURVEY_PAGES) -> Usage:
        """What the session has used so far; `pages` now, by looking at so many entries of page tables at `most`
        (`inspect.count_pages`)."""
        found = self._session(session)
        usage = found.usage
        files = list(dict.fromkeys(handle.file for handle in found.files.values()))
        usage.pages = count_pages([(file, file.slots) for file in files if file.slots], most)
        usage.pages += count_pages([(file, file.pages) for file in files if not file.slots], most)
        return Usage(
            usage.forwards,
            usage.prompt_tokens,
            usage.reused_tokens,
            usage.generated_tokens,
            usage.accepted_tokens,
            usage.pages,
        )

    # ---- keys and values -----------------------------------------------------------------------------------------
    async def extract(self, session: int, file: int, ranges: Sequence[tuple[int, int]], rebase: bool) -> int:
        """A new file of these ranges, with the K/V that they have; suspends until it is there (semantics 6).

        Raises Invalid, Busy, LimitExceeded, NoSpace, Cancelled.
        """
        source, owner = await self._may(session, file, READ)
        self._kvfs.check_idle(source)
        self._check_open(owner)
        runs = extract_runs(source, ranges, rebase)
        handle = self._handle(owner, file)
        check_context(sum([run.end - run.start for run in runs]), handle.loop.info)
        number = self._admit(owner, self._kvfs.create(owner.who.tenant, owner.who.owner, source.arena.model))
        try:
            await self._transfer(owner, handle, source, owner.files[number].file, runs)
        except BaseException:
            if (made := owner.files.pop(number, None)) is not None:
                self._close(made)
            raise
        return number

    async def append_from(self, session: int, file: int, other: int, start: int, end: int) -> None:
        """Append entries `[start, end)` of another file of the same model, with the K/V that they have; suspends until
        they are there (semantics 6). Raises as `extract`."""
        target, _ = await self._may(session, file, READ | WRITE)
        source, owner = await self._may(session, other, READ)
        handle = self._handle(owner, file)
        if source.arena is not target.arena:
            raise Invalid(
                f"the files are of different models, {source.arena.model} and {target.arena.model}",
                "append from a file of the same model",
            )
        self._kvfs.check_idle(source)
        self._kvfs.check_idle(target)
        runs = append_runs(source, target, start, end)
        check_context(target.length + target.ahead + end - start, handle.loop.info)
        await self._transfer(owner, handle, source, target, runs)

    async def pin(self, session: int, file: int) -> None:
        """Keep the file's K/V on the device until `unpin`, or until the handle closes. Idempotent.

        Raises LimitExceeded.
        """
        found = await self._quiet(session, file)
        handle = self._handle(self._session(session), file)
        if not handle.pinned:
            self._kvfs.pin(found)
            handle.pinned = True
            handle.loop.room.prefetch(found)

    async def unpin(self, session: int, file: int) -> None:
        """Idempotent."""
        self._unpin(self._handle(self._session(session), file))

    async def advise(self, session: int, file: int, what: str) -> None:
        """ "will-need": bring the K/V back if that disturbs nobody. "dont-need": others may have its pages now."""
        found = await self._quiet(session, file)
        loop = self._handle(self._session(session), file).loop
        if what == "will-need":
            loop.room.prefetch(found)
        elif what == "dont-need":
            loop.room.release(found)
            loop.freed()
        else:
            raise Invalid(f"there is no advice {what!r}", "use will-need or dont-need")

    def resume(self, session: int) -> None:
        """The process has what it waited for, something else than the model: its files come back before it asks, the
        last `RESUMED_FILES` that it opened."""
        found = self._sessions.get(session)
        if found is not None and (self._kvfs.stowed or self._kvfs.loose):
            for handle in islice(reversed(found.files.values()), RESUMED_FILES):
                handle.loop.room.prefetch(handle.file)

    # ---- generations ---------------------------------------------------------------------------------------------
    async def generate(
        self,
        session: int,
        file: int,
        op: int,
        tokens: Sequence[int],
        options: GenerateOptions,
        draft_file: int | None = None,
    ) -> None:
        """Append `tokens` and go on from there. `op`: a new id; `next` has the chunks. Raises as `pred`.

        `draft_file`: with `options.draft`, a file of the model that writes the drafts; it is busy meanwhile, and keeps
        what it has in common with the other in the end. Raises Invalid if that model has another vocabulary.
        """
        kv = await self._quiet(session, file)
        owner = self._session(session)
        handle = self._handle(owner, file)
        loop, info = handle.loop, handle.loop.info
        self._check_start(owner, op, kv, tokens, info)
        check_options(options, info)
        guide = self._guide(session, options, info)
        drafting = None if draft_file is None else await self._drafting(session, handle, draft_file)
        self._kvfs.begin(kv, tokens)
        drafter = self._drafter(owner, kv, options, drafting)
        decoder = loop.engine.tokenizer.decoder()
        now = self._config.clock()
        generation = Generation(op, owner, handle, now, options, decoder, info.context_limit, drafter, guide)
        owner.operations[op] = handle.operation = generation
        loop.begin(generation)

    def _guide(self, session: int, options: GenerateOptions, info: ModelInfo) -> Guide | None:
        """A copy of the constraint, which goes along."""
        if options.constraint is None:
            return None
        matcher = self.constraints.fork_for(session, options.constraint, info)
        return ConstraintGuide(matcher, frozenset(options.stop_tokens))

    async def _drafting(self, session: int, target: Handle, file: int) -> Handle:
        """The handle of a file that can write drafts for another."""
        kv, owner = await self._quiet(session, file), self._session(session)
        found = self._handle(owner, file)
        loop = found.loop
        require(kv, owner.who, READ | WRITE)
        if kv is target.file:
            raise Invalid("a file cannot be its own draft", "open or create another one")
        if not loop.engine.tokenizer.agrees(target.loop.engine.tokenizer):
            raise Invalid(
                f"the models {loop.info.name} and {target.loop.info.name} have different vocabularies",
                "take a draft model of the same family",
            )
        self._kvfs.check_idle(kv)
        self._check_operations(owner, 2)
        return found

    def _drafter(self, owner: Session, kv: File, options: GenerateOptions, drafting: Handle | None) -> Drafter | None:
        draft = options.draft
        if draft is None:
            return None
        if drafting is None:
            return PromptLookup(draft.ngram, draft.tokens)
        file, clock, sampling = drafting.file, self._config.clock, options.sampling
        self._kvfs.truncate(file, common_length(file.tokens, kv.tokens))
        self._kvfs.begin(file, ())
        model = DraftModel(-next(self._ids), owner, drafting, clock(), sampling, draft.tokens, kv, self._kvfs)
        owner.operations[model.id] = drafting.operation = model
        drafting.loop.parked[model] = None
        return model

    async def next(self, session: int, op: int) -> Chunk | None:
        """Everything undelivered as one chunk once a chunk is due, else None. The chunk with `finish` is the last.

        Raises the generation's error, once; Invalid after the end.
        """
        owner = self._session(session)
        generation = owner.operations.get(op)
        if not isinstance(generation, Generation) or generation.cancelled:
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
    def _mount(self, info: ModelInfo) -> Arena:
        """Before anything is measured, moving a page is taken to go at a modest speed."""
        costs = Costs(info.bytes_per_page / ASSUMED_MOVE_BYTES)
        arena = self._kvfs.mount(info.name, info.digest, info.page_size, info.pages, info.host_pages, costs)
        arena.tenant_pages = max(int(arena.pool.capacity * self._config.tenant_page_share), 1)
        arena.tenant_slots = int(arena.host.capacity * self._config.tenant_slot_share)
        pages, slots = self._config.tenant_page_shares, self._config.tenant_slot_shares
        arena.own_pages = {name: max(int(arena.pool.capacity * share), 1) for name, share in pages.items()}
        arena.own_slots = {name: int(arena.host.capacity * share) for name, share in slots.items()}
        arena.kept_pages = max(int(arena.pool.capacity * self._config.kept_share), 1)
        arena.kept_slots = int(arena.host.capacity * self._config.kept_share)
        if self._config.debug:
            arena.freed = []
        return arena

    async def _transfer(self, owner: Session, handle: Handle, source: File, target: File, runs: Sequence[Run]) -> None:
        if not runs:
            return
        self._check_operations(owner)
        self._kvfs.begin(source, ())
        if target is not source:
            self._kvfs.begin(target, ())
        transfer = Transfer(-next(self._ids), owner, handle, self._config.clock(), source, target, runs)
        self._start(transfer)
        error = await transfer.done
        if error is not None:
            raise error


def _limits(info: ModelInfo) -> BatchLimits:
    return BatchLimits(tokens=STEP_TOKENS_GPU) if info.device.startswith("cuda") else BatchLimits()
