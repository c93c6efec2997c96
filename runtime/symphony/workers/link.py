"""Messages between two processes over a Unix socket: msgpack arrays, each behind four bytes that say how long it is.

What is sent in one turn of the event loop leaves together. Knows nothing of what the messages mean.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from symphony.errors import LimitExceeded
from symphony.param import MAX_WORKER_MESSAGE_BYTES

_HEAD = struct.Struct("<I")


def _plain(value: Any) -> Any:
    """Numpy's scalars as numbers."""
    return value.item()


class Link(asyncio.Protocol):
    """One end. All methods belong to the event loop."""

    def __init__(self, take: Callable[[list[Any]], None], lost: Callable[[], None]) -> None:
        """`take` gets each message that came; `lost` is called once when nothing more can come."""
        self._take = take
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
        self._decoder: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(list[Any])
        self._out = bytearray()
        self._in = bytearray()
        self._loop = asyncio.get_running_loop()

    async def open(self, end: socket.socket) -> None:
        """Talk over this connected socket, which is the link's from now on."""
        end.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=end)

    def send(self, message: Sequence[Any]) -> None:
        """Never blocks. Raises LimitExceeded, TypeError and the like for what cannot be sent; then nothing is. A link
        that is lost takes it, too."""
        body = self._encoder.encode(message)
        if len(body) > MAX_WORKER_MESSAGE_BYTES:
            what = "the values of a syscall, or the result,"
            raise LimitExceeded(f"{what} have {len(body)} bytes, at most {MAX_WORKER_MESSAGE_BYTES}")
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += _HEAD.pack(len(body))
        self._out += body

    def close(self) -> None:
        """What was sent still leaves."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    # ---- what asyncio calls
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._flush()

    def data_received(self, data: bytes) -> None:
        buffer, at = self._in, 0
        buffer += data
        while len(buffer) - at >= _HEAD.size:
            size = _HEAD.unpack_from(buffer, at)[0]
            if size > MAX_WORKER_MESSAGE_BYTES:
                raise ValueError(f"a message of {size} bytes: the other end is not what it should be")
            end = at + _HEAD.size + size
            if end > len(buffer):
                break
            with memoryview(buffer) as view:
                message = self._decoder.decode(view[at + _HEAD.size : end])
            at = end
            self._take(message)
        del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost()

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            out, self._out = self._out, bytearray()
            self._transport.write(out)
