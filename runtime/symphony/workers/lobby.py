"""Guests that no worker could take: all were lost. They wait until one serves again, for a while.

What is said to a guest here is that it begin; its worker is told once there is one. Knows nothing of processes of the
operating system. Guarded by: everything is the event loop's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from symphony.errors import SymphonyError, Unavailable
from symphony.param import WORKER_WAIT_SECONDS
from symphony.workers.protocol import BEGIN

if TYPE_CHECKING:
    from symphony.process.process import Process
    from symphony.workers.remote import Remote
    from symphony.workers.worker import Worker


class Lobby:
    """A `Place`."""

    serving = False

    def __init__(self, end: Callable[[Process, SymphonyError], None]) -> None:
        """`end` ends a process with an error."""
        self._end = end
        self._guests: dict[int, Remote] = {}
        self._begin: dict[int, Sequence[Any]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._guests)

    def take_in(self, guest: Remote) -> Remote:
        pid = guest.caller.pid
        self._guests[pid] = guest
        self._timers[pid] = asyncio.get_running_loop().call_later(WORKER_WAIT_SECONDS, self._give_up, guest)
        return guest

    def send(self, message: Sequence[Any]) -> None:
        """That it begin; what ends it is followed by `forget`."""
        if message[0] == BEGIN:
            self._begin[message[1]] = message

    def forget(self, pid: int) -> None:
        if pid in self._guests:
            self._timers.pop(pid).cancel()
            self._begin.pop(pid, None)
            del self._guests[pid]

    def leave_for(self, worker: Worker) -> None:
        """All of them, to a worker that serves."""
        for pid, guest in list(self._guests.items()):
            begin = self._begin[pid]
            self.forget(pid)
            guest.place = worker
            worker.take_in(guest)
            try:
                worker.send(begin)
            except SymphonyError as error:
                self._end(guest.caller, error)

    def _give_up(self, guest: Remote) -> None:
        text = f"all workers were lost, and none was back within {WORKER_WAIT_SECONDS:g} s"
        error = Unavailable(text, "try again in a moment; the host's log says how they ended")
        error.retry_after = 1.0
        self._end(guest.caller, error)
