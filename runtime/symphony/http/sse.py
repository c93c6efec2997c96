"""A process' events as Server-Sent Events, to one client.

    events() --> _Feed (bounded) --> one write per tick of the loop --> socket

Whatever arrived since the last write leaves as one write, and neighbouring pieces of output as one event, so a slow
client costs bigger events, not more of them. A client that does not read at all stops the feed, and through the
process' own back-pressure its LIP. Framing: https://html.spec.whatwg.org/multipage/server-sent-events.html.
Knows no routes, and of a process only its events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from aiohttp import web

from symphony.errors import SymphonyError
from symphony.http.errors import bug, error_fields
from symphony.http.wire import encode

if TYPE_CHECKING:
    from symphony.process.events import Event

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
KEEP_ALIVE = b": keep-alive\n\n"
FEED_EVENTS = 1024
FEED_CHARACTERS = 64 << 10
"""Events, and characters of output, that may wait for one client before its feed stops reading."""


def wanted(request: web.Request) -> bool:
    """Whether the client asked for events rather than one JSON."""
    return MEDIA_TYPE in request.headers.get("Accept", "")


def frame(event: tuple[str, Any]) -> bytes:
    """One event (kind, data); data is a single line, because JSON escapes line breaks. One that cannot be sent
    becomes an error event that says why."""
    kind, data = event
    try:
        text = encode(data)
    except SymphonyError as error:
        kind, text = "error", encode(error_fields(error))
    return b"event: " + kind.encode() + b"\ndata: " + text + b"\n\n"


async def stream(
    request: web.Request,
    events: AsyncIterator[Event],
    *,
    keep_alive: float,
    abandoned: Callable[[], Awaitable[None]] | None = None,
) -> web.StreamResponse:
    """Send `events` until they end; in silence, a comment every `keep_alive` seconds.

    `abandoned` is awaited if the client leaves before the end.
    """
    response = web.StreamResponse(headers=HEADERS)
    feed = _Feed(keep_alive)
    reader = asyncio.create_task(feed.fill(request, events))
    try:
        await response.prepare(request)
        while (batch := await feed.take()) is not None:
            await response.write(b"".join(map(frame, batch)) or KEEP_ALIVE)
        await response.write_eof()
    except (asyncio.CancelledError, ConnectionError) as leaving:
        if abandoned is not None:
            await abandoned()
        if isinstance(leaving, asyncio.CancelledError):
            raise
    finally:
        feed.close()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    return response


class _Feed:
    """What has arrived for one client since its last write, within FEED_EVENTS and FEED_CHARACTERS.

    filling --(events end or fail)--> ended. `fill` runs in its own task, `take` in the client's. One timer a stream
    beats every `keep_alive` seconds (a deadline for every wait would cost as much as the event).
    """

    def __init__(self, keep_alive: float) -> None:
        self._batch: list[tuple[str, Any]] = []
        self._characters = 0
        self._ended = False
        self._due = False
        """A beat has passed since the last `take`."""
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._keep_alive = keep_alive
        self._timer = asyncio.get_running_loop().call_later(keep_alive, self._beat)

    async def fill(self, request: web.Request, events: AsyncIterator[Event]) -> None:
        """Read `events` to their end. A failure becomes the last event; nothing is raised but CancelledError."""
        try:
            async for event in events:
                self._add(event.kind, event.data)
                while len(self._batch) >= FEED_EVENTS or self._characters >= FEED_CHARACTERS:
                    self._room.clear()
                    await self._room.wait()
        except SymphonyError as error:
            self._add("error", error_fields(error))
        except Exception as cause:
            self._add("error", error_fields(bug(request, cause)))
        finally:
            self._ended = True
            self._arrived.set()

    async def take(self) -> list[tuple[str, Any]] | None:
        """All that has arrived, waiting for the first; empty if a beat comes first, None after the last."""
        while not (self._batch or self._ended or self._due):
            self._arrived.clear()
            await self._arrived.wait()
        self._due = False
        if not self._batch:
            return None if self._ended else []
        batch, self._batch, self._characters = self._batch, [], 0
        self._room.set()
        return _join_output(batch)

    def close(self) -> None:
        self._timer.cancel()

    def _beat(self) -> None:
        self._due = True
        self._arrived.set()
        self._timer = asyncio.get_running_loop().call_later(self._keep_alive, self._beat)

    def _add(self, kind: str, data: Any) -> None:
        self._batch.append((kind, data))
        if kind == "output":
            self._characters += len(data["text"])
        self._arrived.set()


def _join_output(batch: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """`batch` with neighbouring pieces of output as one."""
    joined: list[tuple[str, Any]] = []
    for kind, run in groupby(batch, key=itemgetter(0)):
        if kind == "output":
            joined.append((kind, {"text": "".join(data["text"] for _, data in run)}))
        else:
            joined.extend(run)
    return joined
