"""The step loop of one engine: collect -> schedule -> launch -> resume (sampling happens in the engine).

    launched        n ─────────┬─ n+1 ────────┬─ n+2 ──── ...      rows whose next token only the model chooses
    on the device   ▐█ step n █▌▐█ step n+1 █▌▐█ step n+2 ...
    resumed                     └ n ───────────┘ n+1 ...

With an engine that is `pipelined`, step n+1 is launched while step n runs if it has rows that follow rows of step n.
Where an operation turns out to have ended in step n (a stop, a failure, a cancellation), its row in step n+1 runs for
nothing: what came of it is discarded, and the file settles when that step is over.

Which operations have pages for their next row is the `Room`'s decision (room.py); which of those make the step, that
of `sched`; how operations begin and end is in operations.py. Knows nothing of sessions' files or names.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from symphony.core.drafts import DraftModel
from symphony.core.generation import Generation
from symphony.core.guess import Guess
from symphony.core.guessing import Guessing
from symphony.core.operation import Operation, Prediction, Transfer
from symphony.core.room import Room
from symphony.core.step import Plan, Step
from symphony.core.victims import RoomLimits
from symphony.engine.engine import Engine
from symphony.engine.messages import Batch, EntryCopy, Reading, RowResult
from symphony.errors import InternalError, SymphonyError
from symphony.kvfs.arena import Arena
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.transfer import land
from symphony.pace import Pace
from symphony.param import IN_LOOP_TOKENS
from symphony.sched.batch import BatchScheduler
from symphony.sched.dispatch import Dispatch

_log = logging.getLogger(__name__)

Untold = tuple[Prediction, int, int, Sequence[Reading]]
"""A prediction that is complete, of which nobody has heard: its number, the tokens of its row, and what came of it."""
TIMER_RESOLUTION = 1e-3
"""Seconds; the event loop rounds shorter waits up to this."""


class StepLoop(Guessing):
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
        pipelined: bool = False,
        pace: Pace | None = None,
        guesses: bool = False,
    ) -> None:
        """`guesses`: whether it runs ahead of guests (`guess`); where tenants have a limit of tokens it does not."""
        paced = pace is not None and bool(pace.limits)
        super().__init__(arena, kvfs, dispatch, clock, engine.info.context_limit, guesses and pipelined and not paced)
        self.engine = engine
        self.info = engine.info
        self.audit: Callable[[], None] | None = None
        """Called whenever no operation is left; raises if the books do not agree. For debugging."""
        self.timer_resolution = timer_resolution
        self.flight: deque[Step] = deque()
        """Steps that are not over, oldest first."""
        self.room = Room(engine, kvfs, arena, self, clock, limits or RoomLimits())
        self._batches = batches
        self._depth = 2 if pipelined else 1
        self._over = 0.0
        """When the last step was over."""
        self._closed = False
        self._pace = pace if paced else None
        """Of tenants' tokens; None: nobody has a limit."""
        self._held: float | None = None
        """Seconds until somebody may go on who had more than its pace gives; of the last `_schedule`."""

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
        while self.flight or not self._closed:
            try:
                if not self.flight:
                    await self._collect()
                    self._launch(self._schedule())
                if self._goes_on():
                    self._launch(self._schedule())
                if self.flight:
                    results = await self.flight[0].over()
                    untold = self._resume(self.flight.popleft(), results)
                    if untold:
                        self._run_ahead(untold)
                    if self.audit is not None and not self.active:
                        self.audit()
                elif self.active:
                    self._wake_at = 1
                    await self._sleep(self._patience())
            except Exception as e:
                await self._give_up(e)
            await asyncio.sleep(0)  # guests go on, also where the engine did not suspend

    def _run_ahead(self, untold: Sequence[Untold]) -> None:
        """Launch the guesses, so that the device has something to do while guests are told, and think."""
        now = self.clock()
        try:
            if not self.flight or self._goes_on():
                self._launch(self._schedule())
        finally:
            for operation, op, count, readings in untold:
                self._tell(operation, op, count, readings, now)

    async def _collect(self) -> None:
        """Wait until a step should start, or until closed."""
        while not self._closed and not self._fresh:
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

    def _goes_on(self) -> bool:
        """Whether a step can be launched behind the one in flight."""
        flight = self.flight
        return len(flight) == 1 < self._depth and flight[0].continues and not flight[0].poisons and not self._closed

    def _schedule(self) -> Plan:
        ready = self.room.admit()
        if self._pace is not None:
            ready = self._paced(self._pace, ready)
        if self._fresh:
            ready += self._guessed_rows(ready)
        return self._batches.plan(ready, self.clock()) if ready else []

    def _guessed_rows(self, ready: Sequence[Operation]) -> list[Guess]:
        """Guesses go along where there is room for all, and nobody waits for pages."""
        limits = self._batches.limits
        room = min(limits.rows - len(ready), limits.tokens - sum([operation.work for operation in ready]))
        return self._take_fresh(0 if self.room.starved else room)

    def _paced(self, pace: Pace, ready: Sequence[Operation]) -> list[Operation]:
        """Those whose tenants have paid for what they had."""
        now = self.clock()
        waits = {tenant: pace.wait(tenant, now) for tenant in {operation.tenant for operation in ready}}
        self._held = min(filter(None, waits.values()), default=None)
        return [operation for operation in ready if not waits[operation.tenant]]

    def _patience(self) -> float | None:
        """Nothing could start: seconds until it makes sense to try again; None: when something happens."""
        if self._held is None:
            return self.room.patience()
        held, due = max(self._held, self.timer_resolution), self.room.patience(held=True)
        return held if due is None else min(held, due)

    def _launch(self, plan: Plan) -> None:
        """Start a step if there is anything to do in it."""
        copies, pieces, copying = self.room.launch()
        if not plan and not copying:
            return
        batch = Batch([o.following() if o.running else o.row(count) for o, count in plan], copies)
        if pieces:
            batch.entries = [EntryCopy(*piece) for piece in pieces]
        if self.arena.freed:
            batch.poison = self._poison()
            self.room.poisoning = True
        made = len(self.arena.copying) - sum([step.copies for step in self.flight])
        for index, (operation, _) in enumerate(plan):
            operation.running += 1
            operation.place = index if batch.rows[index].outputs else -1
        alone = [operation for operation in copying if not operation.running]
        for operation in alone:
            operation.running, operation.place = 1, -1
        start = self.clock()
        if self._pace is not None:
            for operation, count in plan:
                self._pace.take(operation.tenant, count, start)
        results = self.engine.launch(batch) if self._depth > 1 else self.engine.step(batch)
        self.flight.append(Step(plan, alone, made, bool(batch.poison), start, results))

    def _prefilled(self, token_seconds: float) -> None:
        self.arena.costs.computed(token_seconds)

    def _poison(self) -> list[int]:
        """Pages that were freed since the last step. Whoever has one by now writes it after that, in this step."""
        poison, self.arena.freed = list(dict.fromkeys(self.arena.freed or ())), []
        return poison

    def _resume(self, step: Step, results: Sequence[RowResult] | Exception) -> list[Untold]:
        """The oldest step is over: everybody gets what is his; but those behind whom a guess is made are to be told."""
        now, guesses = self.clock(), self._guessing
        untold: list[Untold] = []
        self.steps += 1
        step.land()
        self.room.poisoning = any(other.poisons for other in self.flight)
        self._kvfs.retire(self.arena, not isinstance(results, Exception), step.copies)
        if isinstance(results, Exception):
            self._lose(step, results)
        else:
            self._measure(step, now)
            for (operation, count), result in zip(step.plan, results, strict=True):
                operation.since = now
                if operation.drawn < operation.horizon and self._passes(operation, count, result):
                    continue
                try:
                    if isinstance(operation, Guess) and (operation.stale or not operation.asked):
                        self._heed(operation, result)
                        continue
                    if type(operation) is Prediction or type(operation) is Guess:
                        op = operation.id
                        if guesses and self._foretell(operation, count, result):
                            untold.append((operation, op, count, result.readings))
                            continue
                        if self._answers(operation, count, result, now):
                            continue
                    self._absorb(operation, count, result, now)
                except SymphonyError as e:
                    self.fail(operation, e)
                except Exception as e:
                    _log.exception("operation %d failed", operation.id)
                    self.fail(operation, InternalError(f"the host failed on this operation: {e!r}"))
            self._copied(step.copying)
        self._since = now
        self._urgent = any(o.free_running or o.work > IN_LOOP_TOKENS for o in self.active)
        return untold

    def _measure(self, step: Step, now: float) -> None:
        """What steps take; one that was launched early began when the one before it was over."""
        rows, tokens = len(step.plan), step.tokens
        seconds = now - max(step.start, self._over)
        self._over = now
        self.meter.add(rows, tokens, now)
        if rows and tokens == rows:
            self.dispatch.stepped(tokens, seconds)
        elif tokens >= self.arena.page_size:
            self._prefilled(seconds / tokens)

    def _lose(self, step: Step, why: Exception) -> None:
        """All that the step touched is undefined, and so is what was launched behind it. Where entries were copied in
        it, the transfers that they were for are to blame, and end; the rows are run again without them."""
        spared = step.spared or any(isinstance(operation, Transfer) for operation in step.copying)
        if step.lost is None:
            _log.error("step %d of %s failed", self.steps - 1, self.arena.model, exc_info=why)
        for other in self.flight:
            other.lost, other.spared = why, spared
        error = InternalError(f"the step failed: {why}", "the host's log has the details")
        for operation, _ in step.plan:
            if not operation.running:
                self.room.suspend(operation)
            if isinstance(operation, Guess) and self._outlives(operation):
                continue
            if operation.cancelled or operation.doom or not (spared or operation.complete()):
                self.fail(operation, operation.doom or error)
        for operation in step.copying:
            self.room.suspend(operation)
            if operation.cancelled or isinstance(operation, Transfer):
                self.fail(operation, error)

    def _passes(self, operation: Operation, count: int, result: RowResult) -> bool:
        """What `_absorb` does of most tokens of most generations, sooner. False: it is not that."""
        file, session = operation.file, operation.session
        computed = file.computed + 1
        if count != 1 or result.error is not None or computed != len(file.tokens) or computed <= operation.prompt_end:
            return False
        token = result.readings[0].sampled
        if token is None or not isinstance(operation, Generation) or not operation.takes(token):
            return False
        self._kvfs.commit(file, computed)
        if session.last_step != self.steps:
            session.last_step = self.steps
            session.usage.forwards += 1
        return True

    def _answers(self, operation: Prediction, count: int, result: RowResult, now: float) -> bool:
        """What `_absorb` does of a prediction that one row completes, which most are, sooner. False: it is not that."""
        file, readings = operation.file, result.readings
        total = len(file.tokens)
        if (
            file.computed + count != total
            or result.error is not None
            or len(readings) != len(operation.wanted)
            or operation.answers
            or operation.cancelled
            or operation.doom is not None
        ):
            return False
        self._kvfs.complete(file)
        self._leave(operation, now)
        self._tell(operation, operation.id, count, readings, now)
        return True

    def _absorb(self, operation: Operation, count: int, result: RowResult, now: float) -> None:
        """A row came back. Raises what its operation ends with if it failed."""
        if operation.doom is not None:
            raise operation.doom
        late = operation.complete()  # the row ran ahead of the end: what came of it is nothing
        if result.error is not None and not late:
            raise InternalError(f"this row failed: {result.error}", "the host's log may have the details")
        file, session = operation.file, operation.session
        start = file.computed
        if start < len(file.tokens) and not late:
            self._kvfs.commit(file, min(start + count, len(file.tokens)))  # drafts are not the file's yet
            if start < operation.prompt_end:
                given = min(count, operation.prompt_end - start)
                session.usage.prompt_tokens += given
                self.meter.prompt += given
        if session.last_step != self.steps and not late and not isinstance(operation, DraftModel):
            session.last_step = self.steps
            session.usage.forwards += 1
        if operation.cancelled:
            if not operation.running:
                self._end(operation)
        elif not late:
            accepted = operation.absorb(result.readings)
            if accepted:
                session.usage.accepted_tokens += accepted
                self._kvfs.commit(file, file.computed + accepted)
                operation.refresh()
            self._advance(operation, now)

    def _copied(self, operations: Sequence[Operation]) -> None:
        """What had no row in the step, but something copied."""
        for operation in operations:
            if operation.cancelled:
                self._end(operation)
            elif isinstance(operation, Transfer):
                land(self._kvfs, operation.target)
                operation.copying = True
                self._end(operation)
                operation.done.set_result(None)

    async def _give_up(self, error: Exception) -> None:
        _log.error("the step loop of %s failed", self.arena.model, exc_info=error)
        for step in self.flight:
            await step.over()
        self.flight.clear()
        self._kvfs.retire(self.arena, made=False)
        self.room.launch()
        self.room.poisoning = False
        for guess in list(self.guesses):
            running, guess.running = guess.running, 0
            if running:
                self.room.suspend(guess)
            self._end(guess)
        for operation in [*self.active, *self.parked]:
            touched, operation.running = operation in self.active or operation.running > 0, 0
            if touched:
                self.room.suspend(operation)
            if operation in self.active or operation.cancelled:
                self.fail(operation, InternalError(f"the host failed: {error!r}", "its log has the details"))

    def close(self) -> None:
        self._closed = True
        self._wake()

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
