"""The workers of a host: processes that run guests, each at the end of a socket; a new one for each that is lost.

    STARTING ──READY──> SERVING ──lost──> gone, and another one STARTING in its place
        └───────── lost ────────────────> the same, after a pause that doubles

A guest goes to the worker that has the fewest. One that is still starting takes guests only where no other one serves
(they begin when it does): it may be lost again, and having none it would draw all that come.
When a worker is lost, its guests' processes end with Unavailable, and everything that they held is released as at any
end; guests of other workers do not notice. `process.table` sees a crew as it sees a sandbox. Workers end when their
socket does, so none outlives its host, however that ends.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Child
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from symphony.errors import InternalError, SymphonyError, Unavailable
from symphony.param import DRAIN_NS, MAX_WORKER_PAUSE_SECONDS, WORKER_EXIT_SECONDS
from symphony.workers.link import Link
from symphony.workers.pieces import table_of
from symphony.workers.protocol import CALL, DROP, END, HELLO, READY, TURN, USED
from symphony.workers.remote import Remote

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
        """A new guest, in the worker that has the fewest. Raises Unavailable where there is no worker."""
        there = [w for w in self.workers if w.serving] or [w for w in self.workers if w.up]
        if not there:
            error = Unavailable("all workers were lost and are being replaced", "try again in a moment")
            error.retry_after = 1.0
            raise error
        self._next += 1
        chosen = min(there, key=lambda worker: (len(worker.guests), (worker.number - self._next) % len(self.workers)))
        return chosen.take_in(Remote(chosen, program, caller, limits, on_wake))

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

    def lose(self, worker: Worker, lived: float) -> None:
        """By a worker whose socket ended."""
        guests = list(worker.guests.values())
        if not self._serving:
            return
        self.lost += 1
        _log.error("worker %d was lost, with %d guests", worker.number, len(guests))
        for guest in guests:
            error = Unavailable(f"worker {worker.number}, which ran the program, was lost", _LOST_HINT)
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


class Worker:
    """One place in the crew: a process at a time."""

    def __init__(self, crew: Crew, number: int) -> None:
        self.crew = crew
        self.number = number
        self.guests: dict[int, Remote] = {}
        """By process id (of ours, not of the operating system)."""
        self.up = False
        """Starting, or serving..."""
        self.serving = False
        """...which is this."""
        self._link: Link | None = None
        self._child: Child | None = None
        self._began = 0.0
        self.failures = 0
        """How often in a row it was lost soon after its start."""
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once its first process is up, or lost."""

    @property
    def pid(self) -> int:
        return self._child.pid if self.up and self._child is not None else 0

    async def start(self, hello: Sequence[Any]) -> None:
        """Raises Unavailable."""
        try:
            ours = await self._begin()
        except (OSError, RuntimeError) as error:  # of files, memory, processes or threads there are no more
            raise Unavailable(f"a worker cannot be started: {getattr(error, 'strerror', None) or error}") from error
        self._began = asyncio.get_running_loop().time()
        self._link = link = Link(self._heard, self._lost)
        await link.open(ours)
        link.send(hello)
        self.up = True

    async def _begin(self) -> socket.socket:
        """Start a process; our end of its socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            command = (sys.executable, "-m", "symphony.workers.main", str(theirs.fileno()), str(self.number))
            try:
                # A session of its own: a Ctrl-C is for the host, which ends its workers when it is through.
                self._child = await asyncio.create_subprocess_exec(
                    *command, stdin=DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
                )
            except BaseException:
                ours.close()
                raise
        return ours

    def send(self, message: Sequence[Any]) -> None:
        if self.up and self._link is not None:
            self._link.send(message)

    def take_in(self, guest: Remote) -> Remote:
        self.guests[guest.caller.pid] = guest
        return guest

    def forget(self, pid: int) -> None:
        self.guests.pop(pid, None)

    async def close(self) -> int | None:
        """Idempotent. Returns the status that its process ended with; None: there was none."""
        self.up = self.serving = False
        link, child = self._link, self._child
        self._link = None
        if link is not None:
            link.close()
        if child is None:
            return None
        try:
            async with asyncio.timeout(WORKER_EXIT_SECONDS):
                status = await child.wait()
        except TimeoutError:
            _log.error("worker %d did not end by itself within %g s", self.number, WORKER_EXIT_SECONDS)
            child.kill()
            status = await child.wait()
        self._child = None
        return status

    def _lost(self) -> None:
        if self.up:
            self.up = self.serving = False
            self._settle()
            self.crew.lose(self, asyncio.get_running_loop().time() - self._began)

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    def _heard(self, message: list[Any]) -> None:
        kind = message[0]
        if kind == READY:
            self.serving = True
            return self._settle()
        guest = self.guests.get(message[1])
        if guest is None:
            return  # it was killed, and the worker did not know yet
        try:
            if kind == CALL:
                guest.call(message[2], message[3], message[4])
            elif kind == DROP:
                guest.drop(message[2])
            elif kind == USED:
                guest.used(message[2])
            elif kind == TURN:
                guest.took_turn(message[2], message[3])
            elif kind == END:
                guest.used(message[4])
                guest.ended(message[2], message[3])
        except Exception as error:
            self.crew.fail(guest, error)
