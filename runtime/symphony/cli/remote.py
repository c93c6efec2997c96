"""A Symphony server as the command line sees it: plain requests and event streams over the standard library.

Errors of the server become the same exceptions that the runtime raises here. Blocking; knows no command.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from symphony.errors import Invalid, SymphonyError, Unavailable, from_fields

DEFAULT_URL = "http://127.0.0.1:8080"
KEY_VARIABLE = "SYMPHONY_KEY"
"""The variable of the environment that has the key."""
CONNECT_SECONDS = 10.0
CHUNK_BYTES = 1 << 20


class Remote:
    """One server. Every call opens a connection of its own."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """`key`: if the server asks for one; default: SYMPHONY_KEY."""
        parts = urlsplit(url if "//" in url else "//" + url, scheme="http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"{url!r} is not the URL of a server", f"such as {DEFAULT_URL}")
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._base = parts.path.rstrip("/")
        key = key or os.environ.get(KEY_VARIABLE)
        if key and not key.isascii():
            raise Invalid("the key is not one: it has characters that no key has", "give it as it was shown")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._address = (parts.hostname, _port(parts.netloc, url))

    def call(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: bytes = b"") -> Any:
        """The JSON of an answer, None if it has none. Raises the server's error, or Unavailable."""
        with self._request(method, path, query or {}, body, "application/json") as answer:
            content = answer.read()
            return json.loads(content) if content else None

    def download(self, path: str, query: Mapping[str, Any], file: BinaryIO) -> int:
        """Write the content of an answer to `file`; its bytes. Raises as `call`, Unavailable if it comes short."""
        with self._request("GET", path, query, b"", "*/*") as answer:
            size = 0
            while chunk := answer.read(CHUNK_BYTES):
                size += file.write(chunk)
            if str(size) != answer.headers.get("Content-Length"):
                raise Unavailable("the server broke off in the middle", "try again; its log says why")
            return size

    def upload(self, path: str, query: Mapping[str, Any], file: BinaryIO) -> Any:
        """PUT what is in `file`. As `call`."""
        with self._request("PUT", path, query, file, "application/json") as answer:
            return json.loads(answer.read())

    def events(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: bytes = b""
    ) -> Generator[tuple[str, dict[str, Any]]]:
        """The events of a run. Closing the generator closes the connection; a run that is not detached is then over."""
        with self._request(method, path, query or {}, body, "text/event-stream") as answer:
            kind = ""
            while line := answer.readline():
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "event":
                    kind = value
                elif field == "data":
                    yield kind, json.loads(value)

    @contextmanager
    def _request(
        self, method: str, path: str, query: Mapping[str, Any], body: bytes | BinaryIO, accept: str
    ) -> Generator[http.client.HTTPResponse]:
        host, port = self._address
        connection = self._connection(host, port, timeout=CONNECT_SECONDS)
        target = self._base + path + (f"?{urlencode(query)}" if query else "")
        try:
            connection.connect()
            connection.sock.settimeout(None)  # a run may be silent for long
            try:
                connection.request(method, target, body=body or None, headers={"Accept": accept, **self._headers})
            except (BrokenPipeError, ConnectionResetError):
                if isinstance(body, bytes):
                    raise  # else the server may have refused it before it had all of it, and says why
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _error(answer.status, answer.read())
            yield answer
        except (OSError, http.client.HTTPException) as cause:
            text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            fix = f"start a server (symphony serve), or name another: --url {DEFAULT_URL}"
            raise Unavailable(f"no answer from {self._url}: {text}", fix) from None
        finally:
            connection.close()


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")


def _port(netloc: str, url: str) -> int | None:
    try:
        return urlsplit("//" + netloc).port
    except ValueError:
        raise Invalid(f"{url!r} has a port that is no port", f"such as {DEFAULT_URL}") from None


def _error(status: int, content: bytes) -> SymphonyError:
    """The exception that an error answer stands for."""
    try:
        return from_fields(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return Unavailable(
            f"the server answered with status {status} and no Symphony error", "is it a Symphony server?"
        )
