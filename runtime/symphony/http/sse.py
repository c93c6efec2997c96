"""Events as Server-Sent Events: the framing, and the client's end of such a stream.

Framing: https://html.spec.whatwg.org/multipage/server-sent-events.html. An event's `id` is how many events of the
process came so far, so that a client that lost its connection asks for the rest (`Last-Event-ID`). Knows no routes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from symphony.errors import Invalid, LimitExceeded, SymphonyError, Unavailable
from symphony.http.auth import still_welcome
from symphony.http.bodies import holding
from symphony.http.context import KEEP_ALIVE, PACE, SINK
from symphony.http.errors import error_fields
from symphony.http.feed import Item, pump, refused
from symphony.http.wire import encode, integer, whole

if TYPE_CHECKING:
    from symphony.process.events import Cursor

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
SIGN_OF_LIFE = b": keep-alive\n\n"
MOST_EVENTS = (1 << 53) - 1


def wanted(request: web.Request) -> bool:
    """Whether the client asked for events rather than one JSON."""
    return MEDIA_TYPE in request.headers.get("Accept", "")


def seen(request: web.Request) -> int:
    """How many events the client has had: the query parameter `after`, else the header `Last-Event-ID`, else none."""
    after = integer(request, "after", 0, MOST_EVENTS)
    if after is not None:
        return after
    text = request.headers.get("Last-Event-ID", "0")
    number = whole(text, 0, MOST_EVENTS)
    if number is None:
        raise Invalid(f"Last-Event-ID: {text!r} is not the id of an event", "send the id of the last event that came")
    return number


def frame(item: Item) -> bytes:
    """One event; its data is a single line, because JSON escapes line breaks. One that cannot be sent becomes an error
    event that says why."""
    kind, data, at = item
    try:
        text = encode(data)
    except SymphonyError as error:
        kind, text = "error", encode(error_fields(error))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (at, kind.encode(), text)


async def stream(
    request: web.Request,
    cursor: Cursor,
    *,
    abandoned: Callable[[], Awaitable[None]] | None = None,
    frame: Callable[[Item], bytes] = frame,
) -> web.StreamResponse:
    """Send the events from `cursor` on until they end: as Server-Sent Events, each in `frame`'s bytes, or through the
    sink that the request brings (a WebSocket's). `abandoned` is awaited if the client leaves before the end."""
    sink = request.get(SINK) or _Stream(request, frame)
    if request.method == "HEAD":  # aiohttp would send it a body
        cursor.close()
        return web.Response(headers=HEADERS)
    app = request.app
    return await pump(
        cursor,
        sink,
        pace=app[PACE],
        keep_alive=app[KEEP_ALIVE],
        welcome=partial(still_welcome, request),
        abandoned=abandoned,
    )


class _Stream:
    """The client's end of a response that goes on (`feed.Sink`)."""

    def __init__(self, request: web.Request, frame: Callable[[Item], bytes]) -> None:
        self._request = request
        self._frame = frame
        self._response = web.StreamResponse(headers=HEADERS)
        self._direct = request.version >= HttpVersion11
        """Whether a piece is one chunk of HTTP/1.1 on the socket."""

    async def start(self) -> None:
        if self._direct:
            self._response.enable_chunked_encoding()
        await self._response.prepare(self._request)

    @property
    def ready(self) -> bool:
        transport = self._request.transport
        return (
            self._direct
            and not self._request.protocol.writing_paused
            and transport is not None
            and not transport.is_closing()
        )

    def push(self, batch: list[Item]) -> None:
        """Past aiohttp's writer, which takes as long as the kernel to write a token."""
        piece = b"".join(map(self._frame, batch))
        if piece:  # an empty chunk is the last one
            transport = self._request.transport
            assert transport is not None, "it was there when the sink was ready"
            transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def send(self, batch: list[Item]) -> None:
        piece = b"".join(map(self._frame, batch)) or SIGN_OF_LIFE
        try:
            with holding(self._request, len(piece) if batch and batch[-1].kind == "result" else 0):
                await self._write(piece)
        except (LimitExceeded, Unavailable) as error:  # of `holding`
            await self._write(b"".join(map(self._frame, refused(batch, error))))

    async def _write(self, piece: bytes) -> None:
        await self._response.write(piece)
        await self._request.writer.drain()  # `write` waits for room only behind 64 KiB of its own

    async def end(self) -> web.StreamResponse:
        await self._response.write_eof()
        return self._response

    def cut(self, why: SymphonyError) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()  # type: ignore[attr-defined]  # aiohttp calls any transport asyncio.Transport
