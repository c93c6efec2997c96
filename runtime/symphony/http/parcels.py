"""KV files that go over HTTP whole: piece by piece both ways, so that none has to fit into memory.

What a client does not take, or does not send, within HTTP_STALL_SECONDS a piece ends the request. Of what is in the
files this knows nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web

from symphony import param
from symphony.errors import Invalid
from symphony.http.bodies import count, forget
from symphony.http.context import SINK
from symphony.http.wire import TooSlow

if TYPE_CHECKING:
    from symphony.core.operator import Operator

CHUNK_BYTES = 256 << 10
"""Written at a time."""
_log = logging.getLogger(__name__)


class Incoming:
    """The body of a request. What was read last is counted as in memory until the next."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._ahead = bytearray()
        """What came behind what was asked for."""

    async def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end. Raises TooSlow, LimitExceeded, Unavailable, Invalid."""
        forget(self._request)
        data = self._ahead
        try:
            async with asyncio.timeout(param.HTTP_STALL_SECONDS):
                while len(data) < size and (chunk := await self._request.content.readany()):
                    count(self._request, len(chunk))
                    data += chunk
        except web.RequestPayloadError as cause:
            self._request.content.feed_eof()  # else aiohttp reads on behind the answer
            self._request.protocol.close()
            raise Invalid(f"the KV file cannot be read: {cause}", "send it as Content-Encoding says") from None
        except TimeoutError:
            raise TooSlow(
                f"{size} bytes of the KV file did not arrive within {param.HTTP_STALL_SECONDS:g} s", "send it faster"
            ) from None
        self._ahead = data[size:]
        return bytes(data[:size])


async def send(request: web.Request, operator: Operator, path: str) -> web.StreamResponse:
    """The answer, to its end. Raises what `Operator.send` does before anything is sent."""
    if SINK in request:
        raise Invalid("a KV file cannot be exported over a WebSocket", "ask for it over HTTP: GET the same path")
    async with operator.send(path) as parcel:
        name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in path.rsplit("/", 1)[-1])
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Disposition": f'attachment; filename="{name}.safetensors"',
            }
        )
        response.content_length = parcel.size
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            async for part in parcel.parts:
                for at in range(0, len(part), CHUNK_BYTES):
                    async with asyncio.timeout(param.HTTP_STALL_SECONDS):
                        await response.write(part[at : at + CHUNK_BYTES])
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            _cut(request)  # the client went, or takes nothing
        except Exception:
            _log.exception("an export of %r broke off", path)
            _cut(request)  # it sees that bytes are missing
        return response


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
