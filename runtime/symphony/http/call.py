"""A call of a WebSocket as a request, and the answer to it as a frame.

What the call brings is unpacked when a handler asks for it: by then its client was let in. Knows no connection.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlencode

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from symphony import frames, param
from symphony.errors import Invalid, LimitExceeded, SymphonyError
from symphony.frames import Call
from symphony.http.errors import error_fields
from symphony.http.route import EVENTS, JSON
from symphony.http.wire import TooLarge, encode

IN_ANSWER = ("Location", "Retry-After", "Allow")
"""Headers that an answer's frame has."""
MAX_PATH_CHARS = 8190
"""As aiohttp has it for a request over HTTP."""
MAX_QUERY_ITEMS = 64
QUICK_BYTES = 8 << 10
"""Bytes of a body up to which it is unpacked at once; larger ones on a thread."""
_UNBOUNDED = 1 << 40
"""Bytes from which on a body would pause the connection: all of it is here already."""
_PATH = re.compile(r"/[!-~]*")


def request_of(call: Call, handshake: web.Request, headers: Mapping[str, str]) -> web.Request:
    """The request that the call stands for, which has these headers of the handshake. Raises Invalid, TooLarge."""
    if len(call.path) > MAX_PATH_CHARS:
        raise TooLarge("path", MAX_PATH_CHARS)
    if len(call.query) > MAX_QUERY_ITEMS:
        raise Invalid(f"query: {len(call.query)} parameters", f"send {MAX_QUERY_ITEMS} at most")
    if sum(len(name) + len(text) for name, text in call.query.items()) > param.MAX_ARGS_BYTES:
        raise TooLarge("query", param.MAX_ARGS_BYTES)
    if not _PATH.fullmatch(call.path) or "?" in call.path or "#" in call.path:
        raise Invalid(
            f"path: {call.path[:100]!r} is not the path of a URL", "such as /v1/run; parameters go into query"
        )
    if not (call.method.isascii() and call.method.isalpha() and call.method.isupper()):
        raise Invalid(f"method: {call.method[:100]!r} is none", "use GET, POST or DELETE")
    sent = CIMultiDict(headers, Accept=EVENTS if call.events else JSON)
    url = URL.build(path=call.path, query_string=urlencode(call.query), encoded=True)
    message = RawRequestMessage(
        call.method, str(url), HttpVersion11, CIMultiDictProxy(sent), (), False, None, False, False, url
    )
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    content = _Content(call.body, handshake, loop)
    request = web.Request(message, content, handshake.protocol, _NoWriter(), task, loop)
    request._match_info = handshake.match_info  # until the application has resolved its own
    return request


class _Content(aiohttp.StreamReader):
    """The body of a call, as HTTP would bring it."""

    def __init__(self, body: msgspec.Raw, handshake: web.Request, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(handshake.protocol, _UNBOUNDED, loop=loop)
        self._packed: msgspec.Raw | None = body

    async def readany(self) -> bytes:
        """Raises Invalid, LimitExceeded."""
        packed, self._packed = self._packed, None
        if packed is not None:
            self.feed_data(await _unpacked(packed))
            self.feed_eof()
        return await super().readany()


async def _unpacked(body: msgspec.Raw) -> bytes:
    size = memoryview(body).nbytes
    if not frames.is_value(body) or size <= QUICK_BYTES:
        return _as_http(body)
    if size > param.MAX_ARGS_BYTES:
        raise TooLarge("a body that is a value", param.MAX_ARGS_BYTES)
    return await asyncio.to_thread(_as_http, body)


def _as_http(packed: msgspec.Raw) -> bytes:
    body = frames.body_of(packed, param.MAX_FRAME_ITEMS)
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    return encode(body)


class _NoWriter(AbstractStreamWriter):
    """Where a handler would write a response by itself: only `sse.stream` knows how to do that here."""

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        raise Invalid("this is not served over a WebSocket", "ask for it over HTTP")

    async def write_eof(self, chunk: bytes = b"") -> None:
        raise Invalid("this is not served over a WebSocket", "ask for it over HTTP")

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        raise Invalid("this is not served over a WebSocket", "ask for it over HTTP")

    async def drain(self) -> None:
        return

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        return

    def enable_chunking(self) -> None:
        return


def value(json: bytes) -> Any:
    """A JSON text as it goes into a frame."""
    try:
        return frames.packed(msgspec.json.decode(json))
    except RecursionError:
        raise LimitExceeded("the value is nested too deeply to be sent", "return a flatter one") from None


def failed(ident: int, error: SymphonyError) -> dict[str, Any]:
    return {"id": ident, "status": error.http_status, "body": {"error": error_fields(error)}}


def answered(ident: int, response: web.StreamResponse) -> dict[str, Any]:
    """The frame of a handler's answer."""
    if not isinstance(response, web.Response):
        raise Invalid("this is not served over a WebSocket", "ask for it over HTTP")
    frame: dict[str, Any] = {"id": ident, "status": response.status}
    headers = {name: response.headers[name] for name in IN_ANSWER if name in response.headers}
    if headers:
        frame["headers"] = headers
    body = cast("bytes | None", response.body)
    if not body:
        frame["body"] = None
    elif response.content_type == JSON:
        frame["body"] = value(body)
    else:
        frame["content"], frame["type"] = bytes(body), response.content_type
    return frame
