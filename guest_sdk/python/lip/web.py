"""Requests to places outside, as far as the operator lets this program go."""

from __future__ import annotations

import binascii
import json as _json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import _host
from .errors import Invalid, call
from .tools import answer_of


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered, whatever its status is."""

    url: str
    """Where it is from, after redirects."""
    status: int
    headers: dict[str, str]
    """Names in lower case; several of one name are joined by commas."""
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is one of success, 200 to 299."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The content as text: UTF-8, with question marks for what is not."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The content as a JSON value. Raises `Invalid` if it is none."""
        try:
            return _json.loads(self.content)
        except ValueError as error:
            raise Invalid(f"the answer of {self.url} is not JSON: {error}", "look at its status and its text") from None


async def fetch(
    url: str,
    /,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: str | bytes | None = None,
    json: Any = None,
    seconds: float | None = None,
) -> Response:
    """Ask for a URL and wait for the answer: at most `seconds` (default 30, at most 120), redirects included.

    `json` is a value to send, instead of a body. The method is GET, or POST where there is something to send.

    Raises `PermissionDenied` (the operator granted no such place; an address that is not public), `Unavailable` (no
    answer), `LimitExceeded` (above 4 MiB), `TimedOut`, `Invalid`. A status such as 404 raises nothing: see `ok`.
    """
    lines = [_host.fetch.Header(_host.text(name), _host.text(value)) for name, value in (headers or {}).items()]
    if json is not None:
        body = _sent(json)
        if "content-type" not in {name.lower() for name in headers or {}}:
            lines.append(_host.fetch.Header("content-type", "application/json"))
    microseconds = None if seconds is None else max(0, int(seconds * 1e6))
    request = _host.fetch.Request(
        method or ("GET" if body is None else "POST"), _host.text(url), lines, _crossing(body), microseconds
    )
    return _response(await answer_of(call(_host.fetch.send, request)))


def _sent(value: Any) -> str:
    try:
        return _json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid(f"what is to be sent is not a JSON value: {error}") from None


def _crossing(body: str | bytes | None) -> Any:
    """Text crosses as it is; bytes too, where they are text."""
    if body is None:
        return None
    if isinstance(body, bytes):
        try:
            return _host.fetch.Content_Text(body.decode())
        except UnicodeDecodeError:
            return _host.fetch.Content_Base64(binascii.b2a_base64(body, newline=False).decode())
    return _host.fetch.Content_Text(_host.text(body))


def _response(raw: Any) -> Response:
    headers: dict[str, str] = {}
    for line in raw.headers:
        headers[line.name] = f"{headers[line.name]}, {line.value}" if line.name in headers else line.value
    value = raw.body.value
    is_text = isinstance(raw.body, _host.fetch.Content_Text)
    return Response(raw.url, raw.status, headers, value.encode() if is_text else binascii.a2b_base64(value))
