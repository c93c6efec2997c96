"""One place in a crew: a process that runs guests, at the other end of a socket; another one when it is lost.

    STARTING ──READY──> SERVING ──> its socket ended, or it was killed because it is hung ──> gone

A process may hang instead of dying: it is asked now and then whether it is there. Guests do not keep it from answering:
it looks at its socket between two of their slices, which are bounded by fuel.
Guarded by: everything is the event loop's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Child
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from symphony.errors import Unavailable
from symphony.param import (
    WORKER_EXIT_SECONDS,
    WORKER_PING_SECONDS,
    WORKER_SILENCE_SECONDS,
    WORKER_START_SECONDS,
)
from symphony.workers.link import Link
from symphony.workers.protocol import CALL, DROP, END, PING, PONG, READY, TURN, USED

if TYPE_CHECKING:
    from symphony.workers.crew import Crew
    from symphony.workers.remote import Remote

_log = logging.getLogger(__name__)


class Worker:
    """A process at a time. A `Place`."""

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
        self.unanswered = 0
        """Pings, since the last answer."""
        self._next_ping: asyncio.TimerHandle | None = None
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
        self._link = link = Link(self._heard, lambda: self._ended(link))
        await link.open(ours)
        link.send(hello)
        self.up = True
        self.unanswered = 0
        self.ping()

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
        self._down()
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

    # ---- whether it is there
    def ping(self) -> None:
        """Ask, again and again. Times are counted in questions: where it is this process that stood still, there are
        none, and what was answered meanwhile is read before the next."""
        allowed = WORKER_SILENCE_SECONDS if self.serving else WORKER_START_SECONDS
        if self.unanswered * WORKER_PING_SECONDS >= allowed:
            return self._hung()
        self.unanswered += 1
        self.send((PING,))
        if self._next_ping is not None:
            self._next_ping.cancel()
        self._next_ping = asyncio.get_running_loop().call_later(WORKER_PING_SECONDS, self.ping)

    def _hung(self) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.kill()
        self._lost("does not answer")

    def _ended(self, link: Link) -> None:
        if link is self._link:
            self._lost("was lost")

    def _lost(self, how: str) -> None:
        if self.up:
            self._down()
            self._settle()
            self.crew.lose(self, asyncio.get_running_loop().time() - self._began, how)

    def _down(self) -> None:
        self.up = self.serving = False
        if self._next_ping is not None:
            self._next_ping.cancel()
            self._next_ping = None

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    # ---- what it says
    def _heard(self, message: list[Any]) -> None:
        kind = message[0]
        if kind == READY:
            return self._ready()
        if kind == PONG:
            self.unanswered = 0
            return None
        guest = self.guests.get(message[1])
        if guest is None:
            return None  # it was killed, and the worker did not know yet
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

    def _ready(self) -> None:
        self.serving = True
        self.unanswered = 0
        self._settle()
        self.crew.lobby.leave_for(self)
