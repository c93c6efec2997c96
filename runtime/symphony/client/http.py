"""Calls over HTTP, streams as Server-Sent Events. Knows nothing of what the calls mean."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from symphony.client.transport import Happened, failure, unreachable
from symphony.errors import Invalid

_LONGEST_URL = 8000
_LONGEST_LINE = 1 << 26
"""Bytes of one line of a stream: a result has at most 16 MiB, times what JSON makes of it."""


class HttpTransport:
    """A pool of connections to one server."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def close(self) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        try:
            async with self._session.request(method, self._target(path, query), data=_content(body)) as answer:
                value = await _value(answer)
                if answer.status >= 400:
                    raise failure(answer.status, value, self._url)
                return value
        except aiohttp.ClientError as cause:
            raise unreachable(self._url, cause) from None

    async def events(self, method: str, path: str, query: Mapping[str, str], body: Any) -> AsyncGenerator[Happened]:
        accept = {"Accept": "text/event-stream"}
        target = self._target(path, query)
        try:
            async with self._session.request(method, target, data=_content(body), headers=accept) as answer:
                if answer.status >= 400:
                    raise failure(answer.status, await _value(answer), self._url)
                async for event in _parsed(answer.content):
                    yield event
        except aiohttp.ClientError as cause:
            raise unreachable(self._url, cause) from None

    def _target(self, path: str, query: Mapping[str, str]) -> URL:
        target = URL(self._url + path, encoded=True).with_query(query)
        if len(str(target)) > _LONGEST_URL:
            raise Invalid(
                f"the arguments make a URL of {len(str(target))} characters, servers read {_LONGEST_URL}",
                "upload the program and run it by name: its arguments travel in the body then; or use the WebSocket",
            )
        return target


async def _parsed(content: aiohttp.StreamReader) -> AsyncGenerator[Happened]:
    """The events of a stream as this project's servers frame them: `id`, `event` and one line of `data`."""
    at, kind = 0, ""
    while line := await content.readline(max_line_length=_LONGEST_LINE):
        field, _, value = line.rstrip(b"\n").partition(b": ")
        match field:
            case b"id":
                at = int(value)
            case b"event":
                kind = value.decode()
            case b"data":
                yield at, kind, msgspec.json.decode(value)
            case _:
                pass  # comments, and the line between two events


async def _value(answer: aiohttp.ClientResponse) -> Any:
    content = await answer.read()
    if not content:
        return None
    try:
        return msgspec.json.decode(content)
    except msgspec.MsgspecError:
        return content.decode(errors="replace")


def _content(body: Any) -> io.BytesIO | None:
    """A body as aiohttp sends it piece by piece: at once, a large one would hold up everything else."""
    if body is None:
        return None
    if isinstance(body, bytes):
        return io.BytesIO(body)
    return io.BytesIO(body.encode() if isinstance(body, str) else msgspec.json.encode(body))
