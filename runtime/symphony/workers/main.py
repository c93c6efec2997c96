"""A worker: `python -m symphony.workers.main FD NUMBER`, at the other end of a host's socket. Runs guests, no more.

It has no model, no files and no network: what a guest asks for goes to the host (`protocol`), and the answer comes back
while other guests have their turns. It ends when the socket does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from symphony.sandbox.config import SandboxConfig
from symphony.sandbox.sandbox import Sandbox
from symphony.workers.guests import Guests, handlers
from symphony.workers.link import Link
from symphony.workers.pieces import Pieces, Table
from symphony.workers.protocol import ANSWER, BEGIN, HELLO, KILL, PING, PONG, READY

EXPENDABLE = 500
"""Of the 1000 by which the kernel, short of memory, finds whom to end: so much more than the host."""


class Office:
    """The worker's end of the socket."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._link = Link(self._heard, self.over.set)
        self._guests: Guests | None = None
        self.sandbox: Sandbox | None = None

    async def open(self, end: socket.socket) -> None:
        await self._link.open(end)

    def _heard(self, message: list[Any]) -> None:
        kind, *values = message
        guests = self._guests
        if kind == HELLO:
            self._begin(*values)
        elif guests is None:
            raise ValueError("the host did not say hello")
        elif kind == ANSWER:
            guests.answer(*values)
        elif kind == BEGIN:
            guests.begin(*values)
        elif kind == KILL:
            guests.kill(*values)
        elif kind == PING:
            self._link.send((PONG,))

    def _begin(self, config: dict[str, Any], weights: dict[str, float], models: list[tuple[str, Table]]) -> None:
        spelling = {name: Pieces(*table) for name, table in models}
        self.sandbox = sandbox = Sandbox(SandboxConfig(**config), handlers(spelling))
        self._guests = Guests(sandbox, weights, self._link.send)
        gc.freeze()
        self._link.send((READY,))


async def work(end: socket.socket) -> None:
    """Until the host's end of the socket is closed."""
    office = Office()
    await office.open(end)
    await office.over.wait()


def _stand_in_for_the_host() -> None:
    """Where guests use up the machine's memory, one worker goes, not the process that has the model."""
    score = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):  # there is none, or it may not be written
        score.write_text(str(min(1000, int(score.read_text()) + EXPENDABLE)))


def main() -> None:
    # Whoever stops a host may signal all its processes: workers go on until it has drained, and closes the socket.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _stand_in_for_the_host()
    descriptor, number = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format=f"worker {number}: %(message)s")
    with socket.socket(fileno=int(descriptor)) as end:
        asyncio.run(work(end))


if __name__ == "__main__":
    main()
