"""The workers of a host: processes that run guests, each at the end of a socket; a new one for each that is lost.

    STARTING ──READY──> SERVING ──lost──> gone, and another one STARTING in its place
        └───────── lost ────────────────> the same, after a pause that doubles

A guest goes to the worker that has the fewest, of those that serve; where there is none, it waits in the lobby.
When a worker is lost, its guests' processes end with Unavailable, and everything that they held is released as at any
end; guests of other workers do not notice. `process.table` sees a crew as it sees a sandbox. Workers end when their
socket does, so none outlives its host, however that ends.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from symphony.errors import InternalError, SymphonyError, Unavailable
from symphony.param import DRAIN_NS, MAX_WORKER_PAUSE_SECONDS
from symphony.workers.lobby import Lobby
from symphony.workers.pieces import table_of
from symphony.workers.protocol import HELLO
from symphony.workers.remote import Remote
from symphony.workers.worker import Worker

if TYPE_CHECKING:
    from symphony.engine.tokenizer import Tokenizer
    from symphony.process.process import Process
    from symphony.sandbox.config import InstanceLimits, SandboxConfig
    from symphony.sandbox.sandbox import LoadedProgram

_log = logging.getLogger(__name__)

_LOST_HINT = "run it again; the host's log says how the worker ended"
STEADY_SECONDS = 10.0
"""A worker that lived so long is replaced at once."""


def pause_after(failures: int) -> float:
    """Seconds until a worker is replaced that was lost so often, each time soon after its start."""
    return min(0.05 * 2**failures, MAX_WORKER_PAUSE_SECONDS) if failures else 0.0


def how_it_ended(status: int) -> str:
    """`status`: as `subprocess` has it."""
    return signal.Signals(-status).name if -status in signal.valid_signals() else f"status {status}"


class Crew:
    """All methods belong to the event loop."""

    def __init__(
        self,
        count: int,
        config: SandboxConfig,
        weights: Mapping[str, float],
        models: Mapping[str, Tokenizer],
        end: Callable[[Process, SymphonyError], None],
    ) -> None:
        """`config`: of each worker's sandbox; `weights`: of tenants; `models`: the default one first; `end` ends a
        process with an error."""
        self.lost = 0
        """Workers that were lost so far."""
        self._settings = (HELLO, asdict(config), dict(weights))
        self._models = models
        self._hello: Sequence[Any] = ()
        self._end = end
        self.lobby = Lobby(end)
        self.workers = [Worker(self, number) for number in range(1, count + 1)]
        self._next = 0
        self._ready: deque[Remote] = deque()
        """Guests whose syscalls may begin, or go on..."""
        self._going = False
        """...and whether the event loop will see to them."""
        self._serving = False
        """Whether lost ones are replaced."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start all of them; returns when they are up. Raises Unavailable if one of them does not get there."""
        tables = await asyncio.to_thread(lambda: [(name, table_of(t)) for name, t in self._models.items()])
        self._hello = (*self._settings, tables)
        for worker in self.workers:
            await worker.start(self._hello)
        await asyncio.gather(*(worker.settled for worker in self.workers))
        if ended := [worker.number for worker in self.workers if not worker.up]:
            hint = "what it wrote says why; the host runs without workers, too"
            raise Unavailable(f"worker {ended[0]} ended while it was starting", hint)
        self._serving = True

    def instantiate(
        self, program: LoadedProgram, caller: Process, limits: InstanceLimits, on_wake: Callable[[Any], None]
    ) -> Remote:
        """A new guest, in the worker that has the fewest; in the lobby where none serves."""
        there = [worker for worker in self.workers if worker.serving]
        if not there:
            return self.lobby.take_in(Remote(self.lobby, program, caller, limits, on_wake, self.ready))
        self._next += 1
        chosen = min(there, key=lambda worker: (len(worker.guests), (worker.number - self._next) % len(self.workers)))
        return chosen.take_in(Remote(chosen, program, caller, limits, on_wake, self.ready))

    def ready(self, guest: Remote) -> None:
        """Its syscall begins, or goes on, in the next turn of the event loop, with all others that can."""
        self._ready.append(guest)
        if not self._going:
            self._going = True
            asyncio.get_running_loop().call_soon(self._go_on)

    async def close(self) -> None:
        """End the workers; no process is alive. Those that do not end by themselves are killed."""
        self._serving = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # what they leave is for those below
        await asyncio.gather(*(worker.close() for worker in self.workers), return_exceptions=True)

    def lose(self, worker: Worker, lived: float, how: str) -> None:
        """By a worker whose socket ended, or that hangs."""
        guests = list(worker.guests.values())
        if not self._serving:
            return
        self.lost += 1
        _log.error("worker %d %s, with %d guests", worker.number, how, len(guests))
        for guest in guests:
            error = Unavailable(f"worker {worker.number}, which ran the program, {how}", _LOST_HINT)
            self._end(guest.caller, error)
        task = asyncio.get_running_loop().create_task(self._replace(worker, lived))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replace(self, worker: Worker, lived: float) -> None:
        if (status := await worker.close()) is not None:
            _log.error("worker %d ended with %s", worker.number, how_it_ended(status))
        worker.failures = 0 if lived >= STEADY_SECONDS else worker.failures + 1
        while True:
            await asyncio.sleep(pause_after(worker.failures))
            try:
                return await worker.start(self._hello)
            except Unavailable as error:
                worker.failures += 1
                _log.error("worker %d cannot be replaced yet: %s", worker.number, error.message)

    def fail(self, guest: Remote, error: Exception) -> None:
        """A bug of the host, in what a guest asked for."""
        _log.error("a syscall of process %d failed", guest.caller.pid, exc_info=error)
        self._end(guest.caller, InternalError(f"the host failed in a syscall of process {guest.caller.pid}: {error!r}"))

    def _go_on(self) -> None:
        """For a while: neither sockets nor the core starve behind guests, as it is with those in this process. Each has
        one syscall at a time, so that they take turns."""
        ready, until = self._ready, time.thread_time_ns() + DRAIN_NS
        while ready:
            guest = ready.popleft()
            try:
                guest.go_on()
            except Exception as error:
                self.fail(guest, error)
            if time.thread_time_ns() > until and ready:
                asyncio.get_running_loop().call_soon(self._go_on)
                return
        self._going = False
