"""Calls over one WebSocket, many at a time, in msgpack frames (`symphony.frames`).

One task reads the socket and hands frames to the calls that they belong to. A stream's frames wait in its queue until
they are taken, at most WINDOW of them: the server sends no more until it hears that one was. Knows nothing of what the
calls mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from itertools import count
from typing import Any

import aiohttp
import msgspec

from symphony import frames
from symphony.client.http import HttpTransport
from symphony.client.transport import Happened, failure, unreachable
from symphony.errors import PermissionDenied, Unavailable

LARGEST = 3 << 20
"""Bytes of a body that goes over the WebSocket: a server closes those whose frames are too large."""
WINDOW = 8
"""Frames of events of one call that may be on their way or wait to be taken."""


class WebSocketTransport:
    """One open connection."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, url: str) -> None:
        self._session = session
        self._socket = socket
        self._url = url
        self._bulk = HttpTransport(session, url)
        """For bodies that are too large for frames."""
        self._ids = count()
        self._calls: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._lost: Unavailable | None = None
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, url: str) -> WebSocketTransport:
        try:
            socket = await session.ws_connect(url + "/v1/ws", max_msg_size=0, compress=0)
        except aiohttp.WSServerHandshakeError as refusal:
            kind = PermissionDenied if refusal.status in (401, 403) else Unavailable
            raise kind(
                f"{url} does not open a WebSocket: status {refusal.status}", "check the key and the URL"
            ) from None
        except aiohttp.ClientError as cause:
            raise unreachable(url, cause) from None
        return cls(session, socket, url)

    async def close(self) -> None:
        await self._socket.close()
        await self._reader
        await self._session.close()

    async def call(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        if isinstance(body, bytes) and len(body) > LARGEST:
            return await self._bulk.call(method, path, query, body)
        ident, queue = await self._begin(method, path, query, body)
        try:
            while "status" not in (frame := await queue.get()):
                pass
        except asyncio.CancelledError:
            await self._leave(ident)
            raise
        finally:
            del self._calls[ident]
        return self._value(frame)

    async def events(self, method: str, path: str, query: Mapping[str, str], body: Any) -> AsyncGenerator[Happened]:
        if isinstance(body, bytes) and len(body) > LARGEST:
            async for event in self._bulk.events(method, path, query, body):
                yield event
            return
        ident, queue = await self._begin(method, path, query, body, events=True, window=WINDOW)
        ended = False
        try:
            while "status" not in (frame := await queue.get()):
                for at, kind, data in frame["events"]:
                    yield at, kind, frames.unpacked(data)
                with contextlib.suppress(Unavailable):  # frames that came before the end of the connection still count
                    await self._send({"do": "more", "id": ident, "frames": 1})
            ended = True
        finally:
            del self._calls[ident]
            if not ended:
                await self._leave(ident)
        self._value(frame)

    async def _begin(
        self, method: str, path: str, query: Mapping[str, str], body: Any, **how: Any
    ) -> tuple[int, asyncio.Queue[dict[str, Any]]]:
        if self._lost is not None:
            raise self._lost
        ident = next(self._ids)
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._calls[ident] = queue
        sent = body if isinstance(body, bytes | str) else frames.packed(msgspec.to_builtins(body))
        try:
            await self._send(
                {"do": "call", "id": ident, "method": method, "path": path, "query": dict(query), "body": sent, **how}
            )
        except BaseException:
            del self._calls[ident]
            raise
        return ident, queue

    async def _send(self, frame: dict[str, Any]) -> None:
        try:
            await self._socket.send_bytes(frames.encode(frame))
        except (ConnectionError, aiohttp.ClientError) as cause:
            raise self._lost or unreachable(self._url, cause) from None

    async def _leave(self, ident: int) -> None:
        if self._lost is None and not self._socket.closed:
            await self._send({"do": "cancel", "id": ident})

    async def _read(self) -> None:
        """Hand out frames until the connection ends; then every call that waits fails."""
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                frame = msgspec.msgpack.decode(message.data)
                if frame["id"] in self._calls:
                    self._calls[frame["id"]].put_nowait(frame)
        self._lost = Unavailable(
            f"the WebSocket to {self._url} was closed (code {self._socket.close_code})", "connect again"
        )
        error = {"error": {"code": self._lost.code, "message": self._lost.message, "hint": self._lost.hint}}
        for queue in self._calls.values():
            queue.put_nowait({"status": self._lost.http_status, "body": error})

    def _value(self, frame: dict[str, Any]) -> Any:
        value = frame["content"].decode(errors="replace") if "content" in frame else frames.unpacked(frame["body"])
        if frame["status"] >= 400:
            raise failure(frame["status"], value, self._url)
        return value
