"""The client's facade: the verbs of `symphony.Runtime`, over HTTP or one WebSocket.

Knows routes and their bodies, not how they travel (transport.py).
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from symphony.client.http import HttpTransport
from symphony.client.run import Event, Run
from symphony.client.transport import Transport
from symphony.client.websocket import WebSocketTransport
from symphony.errors import Invalid, NotFound

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_SECONDS = 10.0
SUFFIXES = (".py", ".wasm")


class Client:
    """A server. An async context manager; every method belongs to its event loop and raises the server's errors
    (`symphony.errors`), or Unavailable if there is no answer.

    `key` is sent as a bearer token (default: SYMPHONY_KEY); with `websocket`, everything goes over one WebSocket.
    """

    def __init__(self, url: str = DEFAULT_URL, *, key: str | None = None, websocket: bool = False) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"{url!r} is not the URL of a server", f"such as {DEFAULT_URL}")
        self._url = url.rstrip("/")
        self._key = key if key is not None else os.environ.get("SYMPHONY_KEY")
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise Invalid("the key is not one: it has characters that no key has", "give it as it was shown")
        self._websocket = websocket
        self._transport: Transport | None = None

    async def __aenter__(self) -> Client:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        session = aiohttp.ClientSession(headers=headers, timeout=timeout)
        if not self._websocket:
            self._transport = HttpTransport(session, self._url)
            return self
        try:
            self._transport = await WebSocketTransport.open(session, self._url)
        except BaseException:
            await session.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    # ---- running programs
    async def run(
        self,
        program: str | Path | bytes,
        /,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a program and return its result, a JSON value. It ends if this is cancelled.

        `program` is a path (.py, .wasm), source text, bytes, or the name or id of an uploaded program; keyword
        arguments (or `args`) are the program's; `timeout` is in seconds. Raises the program's error.
        """
        answer = await self.call(*_launch(program, {**(args or {}), **kwargs}, timeout))
        return answer["result"]

    async def stream(
        self,
        program: str | Path | bytes,
        /,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Event]:
        """Run a program and get its events, the last of which is `result` or `error`. Closing it ends the run."""
        stream = self._open.events(*_launch(program, {**(args or {}), **kwargs}, timeout))
        try:
            async for at, kind, data in stream:
                yield Event(kind, data, at)
        finally:
            await stream.aclose()

    async def spawn(
        self,
        program: str | Path | bytes,
        /,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Run:
        """Start a program that lives on without its client."""
        method, path, query, body = _launch(program, {**(args or {}), **kwargs}, timeout)
        answer = await self.call(method, path, {**query, "detach": "1"}, body)
        return Run(self._open, answer["pid"])

    def process(self, pid: int) -> Run:
        """A process that is there already."""
        return Run(self._open, pid)

    async def processes(self) -> list[dict[str, Any]]:
        return (await self.call("GET", "/v1/processes"))["processes"]

    # ---- programs
    async def upload(self, source: str | Path | bytes, /, name: str | None = None) -> dict[str, Any]:
        """Store a program: a path, source text or bytes. The same content twice is the same program."""
        content = _source(source)
        if content is None:
            raise Invalid(f"{source!r} is neither a path of a .py or .wasm nor source text", "name a file")
        return await self.call("POST", "/v1/programs", {} if name is None else {"name": name}, content)

    async def programs(self) -> list[dict[str, Any]]:
        return (await self.call("GET", "/v1/programs"))["programs"]

    async def program(self, ref: str) -> dict[str, Any]:
        return await self.call("GET", f"/v1/programs/{quote(ref, safe='')}")

    async def remove_program(self, ref: str) -> None:
        await self.call("DELETE", f"/v1/programs/{quote(ref, safe='')}")

    # ---- anything else
    async def models(self) -> list[dict[str, Any]]:
        """The loaded models; the first is the default."""
        return (await self.call("GET", "/v1/models"))["data"]

    async def call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """The JSON value that a route answers with (`/openapi.json` describes them); `path` has its escapes."""
        return await self._open.call(method, path, query or {}, body)

    @property
    def _open(self) -> Transport:
        if self._transport is None:
            raise Invalid("the client is not connected", "use it inside `async with Client(...) as client:`")
        return self._transport


def _launch(
    program: str | Path | bytes, args: Mapping[str, Any], timeout: float | None
) -> tuple[str, str, dict[str, str], Any]:
    """Method, path, query and body of a run."""
    query = {} if timeout is None else {"timeout": str(timeout)}
    content = _source(program)
    if content is None:
        return "POST", f"/v1/programs/{quote(str(program), safe='')}/run", query, args
    if args:
        query["args"] = msgspec.json.encode(args).decode()
    return "POST", "/v1/run", query, content


def _source(program: str | Path | bytes) -> bytes | None:
    """The content of a program that is a path, a source or bytes; None for a name or id."""
    if isinstance(program, bytes):
        return program
    if isinstance(program, str) and "\n" in program:
        return program.encode()
    if isinstance(program, Path) or program.endswith(SUFFIXES):
        try:
            return Path(program).read_bytes()
        except OSError as cause:
            raise NotFound(f"cannot read {program}: {cause.strerror}", "check the path") from None
    return None
