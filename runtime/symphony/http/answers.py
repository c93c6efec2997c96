"""Answers that are no streams, on their way to clients who may not take them: the bytes of large ones are counted
beside those of bodies (`bodies.py`), and who does not read is cut off, as of streams (`sse.py`).
"""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from symphony import param
from symphony.errors import LimitExceeded, Unavailable
from symphony.http.bodies import PACE_BYTES, holding
from symphony.http.context import SINK
from symphony.http.errors import error_response


@web.middleware
async def answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Write an answer here, rather than let aiohttp wait for ever. Must be the outermost middleware."""
    response = await handler(request)
    if not isinstance(response, web.Response) or response.prepared or SINK in request:
        return response
    try:
        with holding(request, _size(response)):
            return await _written(request, response)
    except (LimitExceeded, Unavailable) as error:  # of `holding`: nothing is written yet
        return await _written(request, error_response(error))


def _size(response: web.Response) -> int:
    return len(cast("bytes | None", response.body) or b"")


async def _written(request: web.Request, response: web.Response) -> web.Response:
    pace = _Pace(request.transport, _size(response))
    try:
        await response.prepare(request)
        await response.write_eof()
    finally:
        pace.end()
    return response


class _Pace:
    """Cuts a connection off whose client takes less than it has to."""

    def __init__(self, transport: asyncio.Transport | None, size: int) -> None:
        """`size`: bytes that are now written."""
        self._transport = transport
        self._left = size + (transport.get_write_buffer_size() if transport is not None else 0)
        """Bytes that it had not taken at the last look."""
        self._again()

    def end(self) -> None:
        self._next.cancel()

    def _look(self) -> None:
        if self._transport is None:
            return
        left = self._transport.get_write_buffer_size()
        if self._left - left < PACE_BYTES:
            self._transport.abort()
            return
        self._left = left
        self._again()

    def _again(self) -> None:
        self._next = asyncio.get_running_loop().call_later(param.HTTP_STALL_SECONDS, self._look)
