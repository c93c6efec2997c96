"""asyncio's event loop over the one call that can wait, `wasi:io/poll.poll`.

A turn runs what is ready; when nothing is, it polls everything that somebody waits for. Timers share one host timer,
for the earliest deadline. Two things make waiting cheap, because a program that chooses every token waits once a token:

- an operation that finds that nothing else can happen meanwhile (`alone`) suspends the program in one call of the host;
  one that only finds nothing ready polls on the spot (`ready`), without a future and a task switch;
- what is waited for is a pollable that its owner keeps, not a new one a wait.

It knows nothing of models, files or JSON. Threads, sockets and subprocesses do not exist in a LIP.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import sys
import traceback
from asyncio import current_task
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from . import _host

T = TypeVar("T")
SPINS = 64
"""Turns of ready work after which the host is asked whether something else became ready."""


class Handle:
    """A callback that will run; what asyncio expects of `call_soon`, no more."""

    __slots__ = ("_arguments", "_callback", "_context")

    def __init__(self, callback: Callable[..., Any], arguments: tuple[Any, ...], context: Any) -> None:
        self._callback: Callable[..., Any] | None = callback
        self._arguments = arguments
        self._context = context

    def cancel(self) -> None:
        self._callback = None
        self._arguments = ()

    def cancelled(self) -> bool:
        return self._callback is None

    def run(self) -> None:
        if self._callback is not None:
            self._context.run(self._callback, *self._arguments)


class TimerHandle(Handle):
    """A callback that will run at a time, in seconds of the loop's clock."""

    __slots__ = ("_when",)

    def __init__(self, when: float, callback: Callable[..., Any], arguments: tuple[Any, ...], context: Any) -> None:
        super().__init__(callback, arguments, context)
        self._when = when

    def when(self) -> float:
        return self._when


class Deadlock(RuntimeError):
    """Every task waits for something that nothing can bring about."""


class Loop(asyncio.AbstractEventLoop):
    """One LIP's event loop; lives for one run."""

    def __init__(self) -> None:
        self._ready: deque[Handle] = deque()
        self._waits: dict[asyncio.Future[None], Any] = {}
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._count = itertools.count()
        self._alarm: Any = None
        self._alarm_at = 0.0
        self._spins = 0
        self._running = False
        self._flush = sys.stdout.flush

    # --- running ---------------------------------------------------------------------------------------------------

    def run_until_complete(self, future: Coroutine[Any, Any, T]) -> T:  # type: ignore[override]
        """Run the coroutine, then cancel what it left behind and let that finish."""
        self._running = True
        asyncio._set_running_loop(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=lambda generator: self.create_task(generator.aclose()))
        try:
            main = self.create_task(future)
            self._until(main)
            left = asyncio.all_tasks(self)
            if left:
                for task in left:
                    task.cancel()
                self._until(asyncio.gather(*left, return_exceptions=True))
            return main.result()
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(None)
            self._running = False
            self._flush()

    def _until(self, future: asyncio.Future[Any]) -> None:
        while not future.done():
            if not self._ready:
                self._poll(None, True)
            elif self._spins >= SPINS:
                self._poll(None, False)
            self._spins += 1
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                try:
                    handle.run()
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    self.call_exception_handler({"message": "a callback raised", "exception": error})

    # --- waiting ---------------------------------------------------------------------------------------------------

    async def wait(self, pollable: Any) -> None:
        """Return once the pollable is ready. It stays the caller's, and may be waited for again."""
        if not self.ready(pollable):
            await self.suspend(pollable)

    async def suspend(self, pollable: Any) -> None:
        """`wait`, for a caller that has tried `ready`."""
        future = self.create_future()
        self._waits[future] = pollable
        try:
            await future
        finally:
            self._waits.pop(future, None)

    def alone(self) -> bool:
        """Whether nothing else can happen in this program before the current task goes on: no callback is ready, and no
        pollable or timer is waited for. Then the task may as well hold up the whole program in a call of the host.

        Never for a task that is being cancelled: that must reach a real suspension.
        """
        if self._ready or self._waits or (self._timers and self._pending()):
            return False
        task = current_task(self)
        if task is None or task.cancelling():
            return False
        self._flush()
        return True

    def ready(self, pollable: Any) -> bool:
        """Wait for the pollable here and now, if no other task could use the time. False: use `suspend`."""
        if self._ready:
            return False
        task = current_task(self)
        if task is None or task.cancelling():
            return False
        return self._poll(pollable, True) and not self._ready

    def _poll(self, extra: Any, block: bool) -> bool:
        """Ask the host what is ready among everything waited for, and `extra`; true if that is."""
        self._spins = 0
        self._flush()
        futures = list(self._waits)
        pollables = list(self._waits.values())
        if extra is not None:
            pollables.append(extra)
        alarm = self._arm()
        if alarm is not None:
            pollables.append(alarm)
        if not pollables:
            if not block:
                return False
            raise Deadlock(
                "every task of the program waits for another one (a Queue, Event, Lock or Future): nothing wakes them"
            )
        if not block:
            pollables.append(_host.clock.subscribe_duration(0))
        hit = False
        for index in _host.poll.poll(pollables):
            if index < len(futures):
                future = futures[index]
                self._waits.pop(future, None)
                if not future.done():
                    future.set_result(None)
            elif pollables[index] is extra:
                hit = True
        if not block:
            pollables[-1].__exit__(None, None, None)
        if alarm is not None:
            self._fire()
        return hit

    # --- timers ----------------------------------------------------------------------------------------------------

    def _arm(self) -> Any:
        """The host's timer for the earliest deadline, if there is one."""
        at = self._timers[0][0] if self._pending() else None
        if self._alarm is not None and at != self._alarm_at:
            self._alarm.__exit__(None, None, None)
            self._alarm = None
        if at is not None and self._alarm is None:
            self._alarm = _host.clock.subscribe_instant(max(0, int(at * 1e9)))
            self._alarm_at = at
        return self._alarm

    def _pending(self) -> bool:
        """Whether somebody still waits for a timer; the first one is such a timer then."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        return bool(timers)

    def _fire(self) -> None:
        now = self.time() + 1e-6  # the host's clock has nanoseconds, this float a little less
        while self._timers and self._timers[0][0] <= now:
            self._ready.append(heapq.heappop(self._timers)[2])

    def time(self) -> float:
        return _host.clock.now() / 1e9

    # --- what asyncio asks of a loop -------------------------------------------------------------------------------

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = TimerHandle(when, callback, args, contextvars.copy_context() if context is None else context)
        heapq.heappush(self._timers, (when, next(self._count), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, **options)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def get_task_factory(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nobody awaited this failure: it goes to the log, as asyncio does."""
        error = context.get("exception")
        lines = [context.get("message", "unhandled error"), "\n"]
        if error is not None:
            lines += traceback.format_exception(error)
        sys.stderr.write("".join(lines))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    async def shutdown_asyncgens(self) -> None:
        pass

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        pass
