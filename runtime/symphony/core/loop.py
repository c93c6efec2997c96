"""The step loop of one engine: collect -> schedule -> forward -> sample -> resume (sampling happens in the engine).

Which operations have pages for their next row is the `Room`'s decision (room.py); which of those make the step, that
of `sched`. Knows nothing of sessions' files or names; callers tell it about operations.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from symphony.core.messages import Reading
from symphony.core.meter import Meter
from symphony.core.operation import Generation, Operation, Prediction, Transfer
from symphony.core.room import Room, RoomLimits
from symphony.engine.engine import Engine
from symphony.engine.messages import Batch, EntryCopy, RowResult
from symphony.errors import Cancelled, InternalError, SymphonyError
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.transfer import land
from symphony.param import IN_LOOP_TOKENS
from symphony.sched.batch import BatchScheduler
from symphony.sched.dispatch import Dispatch

_log = logging.getLogger(__name__)

Deliver = Callable[[int, "list[Reading] | SymphonyError | None"], None]
Plan = list[tuple[Operation, int]]

TIMER_RESOLUTION = 1e-3
"""Seconds; the event loop rounds shorter waits up to this."""


class StepLoop:
    """All methods belong to the event-loop thread; only `run` suspends."""

    def __init__(
        self,
        engine: Engine,
        kvfs: Kvfs,
        arena: Arena,
        batches: BatchScheduler[Operation],
        dispatch: Dispatch,
        clock: Callable[[], float] = time.monotonic,
        timer_resolution: float = TIMER_RESOLUTION,
        limits: RoomLimits | None = None,
    ) -> None:
        self.engine = engine
        self.info = engine.info
        self.arena = arena
        self.dispatch = dispatch
        self.deliver: Deliver = _nobody
        self.audit: Callable[[], None] | None = None
        """Called whenever no operation is left; raises if the books do not agree. For debugging."""
        self.clock = clock
        self.timer_resolution = timer_resolution
        self.active: dict[Operation, None] = {}
        """Operations that have work for the model, oldest first."""
        self.parked: dict[Operation, None] = {}
        """Generations that wait for their guest."""
        self.dying: dict[File, Operation] = {}
        """Cancelled operations whose step has not retired."""
        self.room = Room(engine, kvfs, arena, self, clock, limits or RoomLimits())
        self.steps = 0
        self.meter = Meter()
        self._kvfs = kvfs
        self._batches = batches
        self._urgent = False
        """A row that must not wait is there."""
        self._since = 0.0
        """When the first of the present rows could have started."""
        self._wake_at = 1
        """So many active operations end the sleep."""
        self._sleeper: asyncio.Future[None] | None = None
        self._closed = False

    # ---- the loop ------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Until `close`. A bug of the host in a step ends the operations of the moment, not the loop."""
        moves = asyncio.create_task(self.room.run(self._wake))
        try:
            await self._run()
        finally:
            self.room.close()
            await moves

    async def _run(self) -> None:
        while not self._closed:
            try:
                await self._collect()
                plan = self._schedule()
                if plan or self.room.copying:
                    results = await self._forward(plan)
                    self._resume(plan, results)
                    if self.audit is not None and not self.active:
                        self.audit()
                elif self.active:
                    self._wake_at = 1
                    await self._sleep(self.room.patience())
            except Exception as e:
                self._give_up(e)
            await asyncio.sleep(0)  # guests go on, also where the engine did not suspend

    async def _collect(self) -> None:
        """Wait until a step should start, or until closed."""
        while not self._closed:
            if not self.active:
                self._urgent = False
                self._wake_at = 1
                await self._sleep(None)
                continue
            if self._urgent:
                return
            seconds, more = self.dispatch.wait(len(self.active), self._since, self.clock())
            if not more:
                return
            self._wake_at = len(self.active) + more
            await self._sleep(seconds)

    def _schedule(self) -> Plan:
        ready = self.room.admit()
        plan = self._batches.plan(ready, self.clock()) if ready else []
        for operation, _ in plan:
            operation.running = True
        for operation in self.room.copying:
            operation.running = True
        return plan

    async def _forward(self, plan: Plan) -> Sequence[RowResult] | Exception:
        room = self.room
        batch = Batch([operation.row(count) for operation, count in plan], room.copies)
        if room.pieces:
            batch.entries = [EntryCopy(*piece) for piece in room.pieces]
        if self.arena.freed:
            batch.poison = self._poison()
            self.room.poisoning = True
        start = self.clock()
        try:
            results = await self.engine.step(batch)
        except Exception as e:
            _log.exception("step %d of %s failed", self.steps, self.arena.model)
            return e
        now, tokens = self.clock(), sum([count for _, count in plan])
        seconds = now - start
        self.meter.add(len(plan), tokens, now)
        if plan and tokens == len(plan):
            self.dispatch.stepped(tokens, seconds)
        elif tokens >= self.arena.page_size:
            self._prefilled(seconds / tokens)
        return results

    def _prefilled(self, token_seconds: float) -> None:
        costs = self.arena.costs
        before = costs.token_seconds
        costs.token_seconds = token_seconds if before is None else 0.8 * before + 0.2 * token_seconds

    def _poison(self) -> list[int]:
        """Pages that were freed since the last step. Whoever has one by now writes it after that, in this step."""
        poison, self.arena.freed = list(dict.fromkeys(self.arena.freed or ())), []
        return poison

    def _resume(self, plan: Plan, results: Sequence[RowResult] | Exception) -> None:
        now = self._since = self.clock()
        self.steps += 1
        self._kvfs.retire(self.arena, not isinstance(results, Exception))
        for index, (operation, count) in enumerate(plan):
            operation.running = False
            operation.since = now
            try:
                if isinstance(results, Exception):
                    self.room.suspend(operation)  # all that the step touched is undefined
                    raise InternalError(f"the step failed: {results}", "the host's log has the details")
                result = results[index]
                if result.error is not None:
                    raise InternalError(f"this row failed: {result.error}", "the host's log may have the details")
                self._absorb(operation, count, result, now)
            except SymphonyError as e:
                self.fail(operation, e)
            except Exception as e:
                _log.exception("operation %d failed", operation.id)
                self.fail(operation, InternalError(f"the host failed on this operation: {e!r}"))
        self._retire_copies(results if isinstance(results, Exception) else None)
        self._urgent = any(o.free_running or o.work > IN_LOOP_TOKENS for o in self.active)

    def _absorb(self, operation: Operation, count: int, result: RowResult, now: float) -> None:
        file, session = operation.file, operation.session
        start = file.computed
        if start < len(file.tokens):
            self._kvfs.commit(file, start + count)
            if start < operation.prompt_end:
                session.usage.prompt_tokens += min(count, operation.prompt_end - start)
        if session.last_step != self.steps:
            session.last_step = self.steps
            session.usage.forwards += 1
        if operation.cancelled:
            self._end(operation)
            return
        operation.absorb(result.readings)
        self._advance(operation, now)

    def advance(self, operation: Operation) -> None:
        """It made progress without a step."""
        self._advance(operation, self.clock())

    def _advance(self, operation: Operation, now: float) -> None:
        """After progress: deliver what is there; leave the active ones if there is nothing more to do."""
        if isinstance(operation, Prediction):
            if operation.complete():
                file = operation.file
                self._kvfs.settle(file, len(file.tokens))
                self._forget(operation)
                file.touched = now
                self.dispatch.answered(operation.handle, now)
                self.deliver(operation.id, list(operation.answers))
        elif isinstance(operation, Generation):
            if operation.finish is not None or operation.paused:
                del self.active[operation]
                self.parked[operation] = None
            self._notify(operation)

    def _retire_copies(self, lost: Exception | None) -> None:
        """Operations for which something was copied; some had no row in the step."""
        for operation in self.room.retire():
            if not operation.running:
                continue
            operation.running = False
            if lost is not None:
                self.room.suspend(operation)
            if operation.cancelled:
                self._end(operation)
            elif isinstance(operation, Transfer):
                self._transferred(operation, lost)

    def _transferred(self, transfer: Transfer, lost: Exception | None) -> None:
        if lost is not None:
            self.fail(transfer, InternalError(f"the step failed: {lost}", "the host's log has the details"))
            return
        land(self._kvfs, transfer.target)
        transfer.copying = True
        self._end(transfer)
        transfer.done.set_result(None)

    def _give_up(self, error: Exception) -> None:
        _log.error("the step loop of %s failed", self.arena.model, exc_info=error)
        self._kvfs.retire(self.arena, made=False)
        self.room.retire()
        for operation in list(self.active):
            operation.running = False
            self.room.suspend(operation)
            self.fail(operation, InternalError(f"the host failed: {error!r}", "its log has the details"))

    # ---- operations ----------------------------------------------------------------------------------------------
    def submit(self, operation: Operation) -> None:
        """A new operation, or one that goes on."""
        if not self.active:
            self._since = operation.since
        self.active[operation] = None
        self.dispatch.returned(operation.handle, operation.since)
        if operation.free_running or operation.work > IN_LOOP_TOKENS:
            self._urgent = True
        if self._urgent or len(self.active) >= self._wake_at:
            self._wake()

    def taken(self, generation: Generation) -> None:
        """The guest took a chunk: end the generation if that was the last, else let it go on if it was paused."""
        if generation.finish is not None:
            self._kvfs.settle(generation.file, len(generation.file.tokens))
            generation.file.touched = self.clock()
            self._forget(generation)
        elif generation in self.parked:
            del self.parked[generation]
            generation.since = self.clock()
            self.submit(generation)

    def cancel(self, operation: Operation) -> None:
        """End it without an answer; put off while a step may touch its pages."""
        if operation.running:
            operation.cancelled = True
            self.dying |= dict.fromkeys(operation.files, operation)
        else:
            self._end(operation)
        if isinstance(operation, Transfer) and not operation.done.done():
            operation.done.set_result(Cancelled("the transfer was cancelled"))

    def fail(self, operation: Operation, error: SymphonyError) -> None:
        """End it with an error."""
        self._end(operation)
        if operation.cancelled:
            return
        if isinstance(operation, Transfer):
            operation.done.set_result(error)
        elif isinstance(operation, Generation):
            operation.error = error
            operation.session.operations[operation.id] = operation  # until `next` has told
            self.deliver(operation.id, None)
        else:
            self.deliver(operation.id, error)

    async def quiet(self, file: File) -> None:
        """Wait until no cancelled operation holds the file any more; as a rule that is so at once."""
        while (operation := self.dying.get(file)) is not None:
            waiter = asyncio.get_running_loop().create_future()
            operation.waiters.append(waiter)
            await waiter

    def freed(self) -> None:
        """Somebody gave K/V up: whoever waits for pages may have them."""
        if self.active:
            self._wake()

    def close(self) -> None:
        self._closed = True
        self._wake()

    def _end(self, operation: Operation) -> None:
        operation.release(self._kvfs)
        self._forget(operation)
        for file in operation.files:
            file.touched = self._since
        if operation.cancelled:
            for file in operation.files:
                del self.dying[file]
            for waiter in operation.waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _forget(self, operation: Operation) -> None:
        if self.active.pop(operation, self) is self:
            self.parked.pop(operation, None)
        operation.session.operations.pop(operation.id, None)
        operation.handle.operation = None
        if isinstance(operation, Generation):
            operation.stop_timer()

    # ---- telling guests ------------------------------------------------------------------------------------------
    def _notify(self, generation: Generation) -> None:
        """Wake the guest if a chunk is there; else see that it is woken when the tokens are old enough."""
        if generation.notified:
            return
        if generation.chunk_ready:
            self._wake_guest(generation)
        elif generation.options.chunk_ms and generation.tokens and generation.timer is None:
            loop = asyncio.get_running_loop()
            generation.timer = loop.call_later(generation.options.chunk_ms / 1e3, self._wake_guest, generation)

    def _wake_guest(self, generation: Generation) -> None:
        generation.stop_timer()
        generation.notified = True
        self.deliver(generation.id, None)

    # ---- sleeping ------------------------------------------------------------------------------------------------
    async def _sleep(self, seconds: float | None) -> None:
        """Until woken, or for so long."""
        if seconds is not None and seconds < self.timer_resolution:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = loop.call_later(seconds, self._wake) if seconds is not None else None
        try:
            await self._sleeper
        finally:
            self._sleeper = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)


def _nobody(op: int, answer: list[Reading] | SymphonyError | None) -> None:
    """No worker is connected."""
