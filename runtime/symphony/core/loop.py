"""The step loop of one engine: collect -> schedule -> forward -> sample -> resume (sampling happens in the engine).

Pages change hands only between steps, in `_admit`, and in order of age: an operation that lacks pages takes them from
the prefix cache, then from idle files, then from parked operations, then from younger ones (they compute again what
they lose). So the oldest always gets on, every wait ends, and nobody holds pages while waiting that others cannot take.
What can never fit fails at once. Semantics 3, 4, 19.

Knows nothing of sessions' files or names; callers tell it about operations.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from symphony.core.messages import Reading
from symphony.core.operation import Generation, Operation, Prediction
from symphony.engine.engine import Engine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import InternalError, NoSpace, SymphonyError
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Copy, Kvfs
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
    ) -> None:
        self.engine = engine
        self.info = engine.info
        self.arena = arena
        self.dispatch = dispatch
        self.deliver: Deliver = _nobody
        self.clock = clock
        self.timer_resolution = timer_resolution
        self.active: dict[Operation, None] = {}
        """Operations that have work for the model, oldest first."""
        self.parked: dict[Operation, None] = {}
        """Generations that wait for their guest."""
        self.dying: dict[File, Operation] = {}
        """Cancelled operations whose step has not retired."""
        self.copies: list[Copy] = []
        """Page copies of the next or the running step."""
        self.steps = 0
        self._kvfs = kvfs
        self._batches = batches
        self._copying: list[Operation] = []
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
        while not self._closed:
            try:
                await self._collect()
                plan = self._schedule()
                if plan:
                    results = await self._forward(plan)
                    self._resume(plan, results)
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
        ready = self._admit()
        if not ready:
            if self.active:
                why = "the host found no pages for an operation that nothing stands before"
                self.fail(next(iter(self.active)), InternalError(why, "report this"))
            return []
        plan = self._batches.plan(ready, self.clock())
        for operation, _ in plan:
            operation.running = True
        for operation in self._copying:
            operation.running = True
        return plan

    async def _forward(self, plan: Plan) -> Sequence[RowResult] | Exception:
        batch = Batch([operation.row(count) for operation, count in plan], self.copies)
        start = self.clock()
        try:
            results = await self.engine.step(batch)
        except Exception as e:
            _log.exception("step %d of %s failed", self.steps, self.arena.model)
            return e
        if sum([count for _, count in plan]) == len(plan):
            self.dispatch.stepped(len(plan), self.clock() - start)
        return results

    def _resume(self, plan: Plan, results: Sequence[RowResult] | Exception) -> None:
        now = self._since = self.clock()
        self.steps += 1
        self._kvfs.retire(self.arena, self.copies)
        for index, (operation, count) in enumerate(plan):
            operation.running = False
            operation.since = now
            try:
                if isinstance(results, Exception):
                    self._kvfs.drop(operation.file)  # all that the step touched is undefined
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
        self._retire_copies(isinstance(results, Exception))
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

    def _advance(self, operation: Operation, now: float) -> None:
        """After progress: deliver what is there; leave the active ones if there is nothing more to do."""
        if isinstance(operation, Prediction):
            if operation.complete():
                file = operation.file
                self._kvfs.settle(file, len(file.tokens))
                self._forget(operation)
                self.dispatch.answered(operation.handle, now)
                self.deliver(operation.id, list(operation.answers))
        elif isinstance(operation, Generation):
            if operation.finish is not None or operation.paused:
                del self.active[operation]
                self.parked[operation] = None
            self._notify(operation)

    def _give_up(self, error: Exception) -> None:
        _log.error("the step loop of %s failed", self.arena.model, exc_info=error)
        self._kvfs.retire(self.arena, self.copies)
        self.copies = []
        self._copying.clear()
        for operation in list(self.active):
            operation.running = False
            self._kvfs.drop(operation.file)
            self.fail(operation, InternalError(f"the host failed: {error!r}", "its log has the details"))

    # ---- pages ---------------------------------------------------------------------------------------------------
    def _admit(self) -> list[Operation]:
        """The operations that have pages for their next row. Those that are complete without one end here."""
        ready: list[Operation] = []
        growing = 0
        for operation in list(self.active):
            if operation.reserved < len(operation.file.tokens) and not self._reserve(operation, growing):
                break  # all younger ones have lost their pages to it
            if operation in self.active:
                ready.append(operation)
                growing += operation.free_running
        return ready

    def _reserve(self, operation: Operation, growing: int) -> bool:
        """Get the pages of the next row, all or nothing. False: not now. The operation may end in it.

        A newcomer leaves a page for each older generation, which will want it soon.
        """
        file, size, fresh = operation.file, self.arena.page_size, not operation.reserved
        if fresh:
            if len(file.tokens) // size > file.computed // size:
                operation.session.usage.reused_tokens += self._kvfs.reuse(file, operation.reuse_limit())
                operation.refresh()
            if operation.complete():
                self._advance(operation, self.clock())
                return True
        if file.computed == len(file.tokens):
            operation.reserved = file.computed  # a re-query: reads only, its last page may be shared
            return True
        try:
            while (copies := self._kvfs.reserve(file, operation.reach(), growing if fresh else 0)) is None:
                if not self._preempt(operation):
                    return False
        except NoSpace as e:
            self.fail(operation, e)
            return True
        if copies:
            self.copies += copies
            self._copying.append(operation)
        operation.reserved = len(file.pages) * size
        return True

    def _preempt(self, favoured: Operation) -> bool:
        """Take the pages of one operation that must stand back; False if there is none."""
        for operation in self.parked:
            if operation.file.pages:
                return self._suspend(operation)
        for operation in reversed(self.active):
            if operation is favoured:
                return False
            if operation.file.pages:
                return self._suspend(operation)
        return False

    def _suspend(self, operation: Operation) -> bool:
        self._kvfs.drop(operation.file)
        operation.reserved = 0
        operation.refresh()
        return True

    def _retire_copies(self, lost: bool) -> None:
        """Operations whose pages were copied; some had no row in the step."""
        for operation in self._copying:
            if operation.running:
                operation.running = False
                if lost:
                    self._suspend(operation)
                if operation.cancelled:
                    self._end(operation)
        self._copying.clear()
        self.copies = []

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
            self._forget(generation)
        elif generation in self.parked:
            del self.parked[generation]
            generation.since = self.clock()
            self.submit(generation)

    def cancel(self, operation: Operation) -> None:
        """End it without an answer; put off while a step may touch its pages."""
        if operation.running:
            operation.cancelled = True
            self.dying[operation.file] = operation
        else:
            self._end(operation)

    def fail(self, operation: Operation, error: SymphonyError) -> None:
        """End it with an error."""
        self._end(operation)
        if operation.cancelled:
            return
        if isinstance(operation, Generation):
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

    def close(self) -> None:
        self._closed = True
        self._wake()

    def _end(self, operation: Operation) -> None:
        self._kvfs.settle(operation.file, operation.kept)
        self._forget(operation)
        if operation.cancelled:
            del self.dying[operation.file]
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
