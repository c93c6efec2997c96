"""A server that answers what a test says, byte by byte, and counts who came; it speaks no HTTP by itself."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

Handler = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""From the request's head and body, as text, to bytes that are written."""


def run(work: Awaitable[T]) -> T:
    """For a minute at most."""

    async def bounded() -> T:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(bounded())


class Server:
    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[str] = []
        self.open = self.most = self.written = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = re.search("content-length: *([0-9]+)", head.lower())
                body = await reader.readexactly(int(length[1])) if length else b""
                self.requests.append(head + body.decode("latin-1"))
                await self._answer(reader, writer)
        finally:
            self.open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the client leaves."""
        answering = asyncio.ensure_future(self.handler(self.requests[-1], writer))
        leaving = asyncio.ensure_future(reader.read())
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    server = Server(handler)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 23) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server


def answer(body: bytes = b"", status: int = 200, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if "Transfer_Encoding" not in headers and "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def says(data: bytes) -> Handler:
    async def handler(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return handler


def says_json(value: object, status: int = 200) -> Handler:
    return says(answer(json.dumps(value).encode(), status, Content_Type="application/json"))


async def endless(_: str, writer: asyncio.StreamWriter) -> None:
    """Ten gigabytes, if somebody reads them."""
    writer.write(answer(Content_Length=str(10 << 30)))
    piece = b"x" * 65536
    for _ in range((10 << 30) // len(piece)):
        writer.write(piece)
        await writer.drain()


@functools.cache
def packed_nothing() -> bytes:
    """64 MiB in 64 KiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()


async def bomb(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(packed_nothing(), Content_Encoding="gzip"))
    await writer.drain()


async def hollow(_: str, writer: asyncio.StreamWriter) -> None:
    """Packed bytes without end of which nothing comes out: empty blocks."""
    writer.write(answer(Content_Encoding="deflate", Content_Length=str(10 << 30)))
    empty = b"\x00\x00\x00\xff\xff" * 10_000
    for _ in range(1 << 20):
        writer.write(empty)
        await writer.drain()


async def drip(_: str, writer: asyncio.StreamWriter) -> None:
    """A byte now and then."""
    writer.write(answer(Content_Length="1000"))
    for _ in range(1000):
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silent(_: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def reset(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(Content_Length="1000") + b"half")
    await writer.drain()
    writer.transport.abort()


HOSTILE: dict[str, tuple[Handler, str]] = {
    "ten gigabytes": (endless, "limit-exceeded unavailable"),
    "a gzip bomb": (bomb, "limit-exceeded unavailable"),
    "packed nothing": (hollow, "limit-exceeded unavailable"),
    "a thousand gzips": (says(answer(gzip.compress(b"") * 1000, Content_Encoding="gzip")), "unavailable"),
    "a byte now and then": (drip, "timed-out"),
    "silence": (silent, "timed-out"),
    "a reset": (reset, "unavailable"),
    "half a gzip": (says(answer(gzip.compress(b"x" * 1000)[:-9], Content_Encoding="gzip")), "unavailable"),
    "a broken gzip": (says(answer(b"no gzip at all", Content_Encoding="gzip")), "unavailable"),
    "another coding": (says(answer(b"abc", Content_Encoding="br")), "unavailable"),
    "two codings": (says(answer(b"abc", Content_Encoding="gzip, gzip")), "unavailable"),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.9\r\n" * 10), "unavailable"),
    "a head without end": (says(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000), "unavailable"),
    "a long line": (says(b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 1_000_000), "unavailable"),
    "nothing": (says(b""), "unavailable"),
    "two lengths": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"), "unavailable"),
    "a chunk that lies": (
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc"),
        "unavailable timed-out limit-exceeded",
    ),
}
"""Servers that want to hurt, and how a request to them ends."""
