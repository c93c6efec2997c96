"""The operations of one engine: who has work for it, who waits for somebody else, and how each begins and ends.

Between steps everything here is as operation.py draws it; what happens in steps is in loop.py. Whoever sleeps because
there is nothing to do is woken from here. Knows nothing of engines, batches or pages.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from symphony.core.drafts import DraftModel
from symphony.core.generation import Generation
from symphony.core.messages import Reading
from symphony.core.meter import Meter
from symphony.core.operation import Operation, Prediction, Transfer
from symphony.core.session import Handle
from symphony.errors import Cancelled, SymphonyError
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs
from symphony.param import IN_LOOP_TOKENS
from symphony.sched.dispatch import Dispatch

_log = logging.getLogger(__name__)

Deliver = Callable[[int, "list[Reading] | SymphonyError | None"], None]


class Operations:
    """The part of `StepLoop` that needs no engine."""

    def __init__(self, arena: Arena, kvfs: Kvfs, dispatch: Dispatch, clock: Callable[[], float]) -> None:
        self.arena = arena
        self.dispatch = dispatch
        self.clock = clock
        self.deliver: Deliver = _nobody
        self.active: dict[Operation, None] = {}
        """Operations that have work for the model, oldest first."""
        self.parked: dict[Operation, None] = {}
        """Generations that wait for their guest or their drafts; drafts that nobody asks for."""
        self.dying: dict[File, Operation] = {}
        """Cancelled operations whose steps are not over."""
        self.steps = 0
        self.meter = Meter()
        self._kvfs = kvfs
        self._urgent = False
        """A row that must not wait is there."""
        self._since = 0.0
        """When the first of the present rows could have started."""
        self._wake_at = 1
        """So many active operations end the sleep."""
        self._sleeper: asyncio.Future[None] | None = None

    # ---- the beginning -----------------------------------------------------------------------------------------------
    def submit(self, operation: Operation) -> None:
        """A new operation, or one that goes on."""
        if not self.active:
            self._since = operation.since
        self.active[operation] = None
        self.dispatch.returned(operation.handle, operation.since)
        if operation.free_running or operation.work > IN_LOOP_TOKENS:
            self._urgent = True
        if self._sleeper is not None and (self._urgent or len(self.active) >= self._wake_at):
            self._wake()

    def taken(self, generation: Generation) -> None:
        """The guest took a chunk: end the generation if that was the last, else let it go on if it was paused."""
        if generation.finish is not None and generation.running:
            self.cancel(generation)  # a row ran ahead of the end
        elif generation.finish is not None:
            self._kvfs.settle(generation.file, len(generation.file.tokens))
            generation.file.touched = self.clock()
            self._forget(generation)
        elif generation in self.parked and not generation.awaiting and self._proposes(generation):
            self.unpark(generation)

    def begin(self, generation: Generation) -> None:
        """A new one."""
        self.submit(generation)
        if not self._proposes(generation) and generation in self.active:
            self._park(generation)

    def _proposes(self, generation: Generation) -> bool:
        try:
            return generation.propose()
        except SymphonyError as e:
            self.fail(generation, e)
            return False

    # ---- progress ----------------------------------------------------------------------------------------------------
    def advance(self, operation: Operation) -> None:
        """It made progress without a step."""
        self._advance(operation, self.clock())

    def _advance(self, operation: Operation, now: float) -> None:
        """After progress: deliver what is there; leave the active ones if there is nothing more to do."""
        if isinstance(operation, Prediction):
            if operation.complete():
                self._kvfs.settle(operation.file, len(operation.file.tokens))
                self._leave(operation, now)
                self._deliver(operation.handle, operation.id, operation.answers, now)
        elif isinstance(operation, Generation):
            if operation.finish is not None and operation.drafter is not None:
                operation.drafter.stop()
            if operation.finish is not None or operation.paused or not operation.propose():
                self._park(operation)
            self._notify(operation)
        elif isinstance(operation, DraftModel) and operation.complete():
            self._park(operation)
            operation.deliver()

    def _park(self, operation: Operation) -> None:
        del self.active[operation]
        self.parked[operation] = None

    def unpark(self, operation: Operation) -> None:
        """It goes on, unless it ended meanwhile."""
        if operation in self.parked:
            del self.parked[operation]
            operation.since = self.clock()
            self.submit(operation)

    def _leave(self, operation: Prediction, now: float) -> None:
        """It is complete, and its file is settled."""
        operation.file.touched = now
        self.active.pop(operation, None)
        operation.session.operations.pop(operation.id, None)
        operation.handle.operation = None

    def _tell(self, operation: Prediction, op: int, count: int, readings: Sequence[Reading], now: float) -> None:
        """One row of `count` tokens has completed it, when its number was `op`: count them, and give the answer."""
        session, meter = operation.session, self.meter
        usage = session.usage
        usage.prompt_tokens += count
        meter.prompt += count
        if operation.readings.sample is not None:
            usage.generated_tokens += len(readings)
            meter.generated += len(readings)
        if session.last_step != self.steps:
            session.last_step = self.steps
            usage.forwards += 1
        if operation.handle.guess is None:
            self._deliver(operation.handle, op, readings, now)
        else:
            self.deliver(op, list(readings))

    def _deliver(self, handle: Handle, op: int, readings: Sequence[Reading], now: float) -> None:
        """To a guest whose next token is not guessed."""
        top = readings[-1].top_ids if readings else ()
        handle.expected = top[0] if top else -1
        self.dispatch.answered(handle, now)
        self.deliver(op, list(readings))

    # ---- the end -----------------------------------------------------------------------------------------------------
    def cancel(self, operation: Operation) -> None:
        """End it without an answer, keeping what was delivered; put off while a step may touch its pages."""
        operation.horizon = 0
        if operation.running:
            operation.cancelled = True
            self.dying |= dict.fromkeys(operation.files, operation)
        else:
            self._end(operation)
        if isinstance(operation, Transfer) and not operation.done.done():
            operation.done.set_result(Cancelled("the transfer was cancelled"))
        elif isinstance(operation, DraftModel):
            operation.end()

    def fail(self, operation: Operation, error: SymphonyError) -> None:
        """End it with an error; put off while a step may touch its pages."""
        operation.horizon = 0
        if operation.running:
            operation.doom = operation.doom or error
            return
        self._end(operation)
        if operation.cancelled:
            return
        if isinstance(operation, Transfer):
            operation.done.set_result(error)
        elif isinstance(operation, Generation):
            operation.error = error
            operation.session.operations[operation.id] = operation  # until `next` has told
            self.deliver(operation.id, None)
        elif isinstance(operation, DraftModel):
            _log.info("a draft of %s ended: %s", self.arena.model, error)
            operation.end()
        else:
            self.deliver(operation.id, error)

    async def quiet(self, file: File) -> None:
        """Wait until no cancelled operation holds the file any more; as a rule that is so at once."""
        while (operation := self.dying.get(file)) is not None:
            waiter = asyncio.get_running_loop().create_future()
            operation.waiters += (waiter,)
            await waiter

    def freed(self) -> None:
        """Somebody gave K/V up: whoever waits for pages may have them."""
        if self.active:
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
            if operation.drafter is not None:
                operation.drafter.stop()

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

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)


def _nobody(op: int, answer: list[Reading] | SymphonyError | None) -> None:
    """No worker is connected."""
