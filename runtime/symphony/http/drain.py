"""The end of a server in order: what it has accepted goes on for a while, what is new is refused.

    SERVING ──close──> DRAINING ──nothing is left, or time is up──> (the application shuts down)

While it drains, whoever reads, ends or talks to a process that runs may go on; what would begin something is answered
with 503 and Retry-After, and every connection is closed behind its answer, so that clients look for another server.
`/readyz` says no, `/healthz` yes. Guarded by: everything is the event loop's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler

from symphony.errors import Unavailable
from symphony.http.context import DRAIN

if TYPE_CHECKING:
    from symphony.process.process import Process

RETRY_SECONDS = 5.0
"""After which clients may try again: by then another server should be there."""
FOR_LIFE = frozenset({"/v1/ws"})
"""Requests that last as long as their connection: nobody waits for them."""
STILL_SERVED = frozenset({"/v1/processes/{pid}/messages"})
"""What is posted for the sake of work that was accepted."""


class Draining(Unavailable):
    """Nothing new is begun."""

    retry_after = RETRY_SECONDS


class Drain:
    """Of one application."""

    def __init__(self) -> None:
        self.closed = False
        self.in_flight = 0
        """Requests that are being served."""
        self._idle = asyncio.Event()
        self._idle.set()

    def close(self) -> None:
        """Refuse what is new from now on."""
        self.closed = True

    def began(self) -> None:
        self.in_flight += 1
        self._idle.clear()

    def ended(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def drained(self, processes: Callable[[], Iterable[Process]], seconds: float) -> int:
        """Wait until no request is in flight and no process lives, so many seconds at most. Returns how many processes
        and requests are left."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._idle.wait()
                    live = _live(processes())
                    if not live and not self.in_flight:
                        return 0
                    await asyncio.gather(*(process.wait() for process in live), return_exceptions=True)
                    await asyncio.sleep(0)  # who waited for the process has its answer to send
        except TimeoutError:
            return len(_live(processes())) + self.in_flight


def _live(processes: Iterable[Process]) -> list[Process]:
    return [process for process in processes if not process.state.ended]


@web.middleware
async def drain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts requests and, once the drain is closed, refuses new work. Must stand behind `errors`."""
    state = request.app[DRAIN]
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    if path in FOR_LIFE:
        if state.closed:
            raise _refused()
        return await handler(request)
    if state.closed and (path == "/readyz" or (request.method == "POST" and path not in STILL_SERVED)):
        raise _refused()
    state.began()
    try:
        return await handler(request)
    finally:
        state.ended()


def _refused() -> Draining:
    return Draining("the server is stopping: it begins nothing new", "try again in a few seconds, or another server")
