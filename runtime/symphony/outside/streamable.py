"""A wire to an MCP server over HTTP ("streamable HTTP"): each message a POST, its answer JSON or a stream of events.

No connection outlives a request: there is no channel on which a server speaks unasked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from symphony.errors import LimitExceeded, SymphonyError, Unavailable
from symphony.outside import web
from symphony.outside.jsonrpc import Peer
from symphony.outside.places import target_of
from symphony.outside.resolver import Lookup
from symphony.param import MAX_TOOL_RESULT_BYTES, MCP_MESSAGES

_ACCEPT = ("Accept", "application/json, text/event-stream")
_SESSION = "Mcp-Session-Id"
_CLOSE_SECONDS = 2.0


class HttpWire:
    """`mcp.Wire` over HTTP."""

    def __init__(self, name: str, url: str, headers: web.Headers, seconds: float, lookup: Lookup) -> None:
        """`seconds`: of a message, whoever asks and however long that one waits."""
        self._name = name
        self._target = target_of(url)
        self._lookup = lookup
        self._headers = list(headers)
        self._seconds = seconds
        self._peer = Peer(name)
        self._session = ""
        self._version = ""
        self.closed = False

    @classmethod
    async def open(cls, name: str, url: str, headers: web.Headers, seconds: float, lookup: Lookup) -> HttpWire:
        return cls(name, url, headers, seconds, lookup)

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        number, text, answer = self._peer.request(method, params)
        try:
            async with self._post(text) as stream:
                self._check(stream)
                for key, value in stream.headers:
                    if key == _SESSION.lower() and method == "initialize":
                        self._session = value[:1000]
                back = await self._until(stream, answer)
            for each in back:
                await self._deliver(each)
            if not answer.done():
                raise Unavailable(f"the MCP server {self._name!r} did not answer {method}")
            return answer.result()
        finally:
            self._peer.forget(number)

    async def tell(self, method: str, params: Mapping[str, Any]) -> None:
        await self._deliver(self._peer.notification(method, params))

    def agreed(self, version: str) -> None:
        self._version = version

    async def close(self) -> None:
        self.closed = True
        if self._session:
            with contextlib.suppress(SymphonyError):
                await web.exchange(
                    "DELETE", self._target, self._lines(), addresses=self._lookup, limit=1 << 16, seconds=_CLOSE_SECONDS
                )

    async def _until(self, stream: web.Stream, answer: asyncio.Future[Any]) -> list[str]:
        """Take messages until the answer is among them; returns what the others ask to be sent."""
        back: list[str] = []
        count = 0
        async with contextlib.aclosing(self._messages(stream)) as messages:
            async for message in messages:
                count += 1
                if count > MCP_MESSAGES:
                    raise LimitExceeded(f"the MCP server {self._name!r} sent {MCP_MESSAGES} messages, and no answer")
                if (reply := self._peer.take(message)) is not None:
                    back.append(reply)
                if answer.done():
                    break
        return back

    async def _messages(self, stream: web.Stream) -> AsyncGenerator[bytes]:
        kind = next((value for key, value in stream.headers if key == "content-type"), "")
        if kind.startswith("text/event-stream"):
            async with contextlib.aclosing(stream.pieces()) as pieces:
                async for data in events(pieces):
                    yield data
        else:
            yield b"".join([piece async for piece in stream.pieces()])

    async def _deliver(self, text: str) -> None:
        async with self._post(text) as stream:
            self._check(stream)

    def _post(self, text: str) -> Any:
        return web.stream(
            "POST",
            self._target,
            [*self._lines(), _ACCEPT, ("Content-Type", "application/json")],
            text.encode(),
            addresses=self._lookup,
            limit=MAX_TOOL_RESULT_BYTES,
            seconds=self._seconds,
        )

    def _lines(self) -> list[tuple[str, str]]:
        lines = list(self._headers)
        if self._session:
            lines.append((_SESSION, self._session))
        if self._version:
            lines.append(("MCP-Protocol-Version", self._version))
        return lines

    def _check(self, stream: web.Stream) -> None:
        if stream.status == 404 and self._session:
            self.closed = True
            raise Unavailable(f"the MCP server {self._name!r} has forgotten this session", "call it again")
        if not 200 <= stream.status < 300:
            raise Unavailable(f"the MCP server {self._name!r} answered {stream.status}")


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each server-sent event. `pieces` are bounded, so what is kept here is."""
    begun: list[bytes] = []
    """Pieces of a line that has not ended: joined once, however small they are."""
    data: list[bytes] = []
    async for piece in pieces:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            line = b"".join([*begun, end]).removesuffix(b"\r")
            begun = []
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data = []
        begun.append(rest)
