"""The pages that a test has for `lip.fetch`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import _records as abi
from ._basics import Clock, Err, Ok, Operation, refusal


@dataclass
class Fetched:
    """A request of the program."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


Page = str | bytes | tuple[int, str | bytes]
"""What is answered: a content, with a status or with 200."""


class Web:
    """Pages by URL; a page may be a function of the request. There is nothing else."""

    def __init__(self, pages: Mapping[str, Page | Callable[[Fetched], Page]], clock: Clock) -> None:
        self._pages = pages
        self._clock = clock
        self.requests: list[Fetched] = []

    def send(self, request: Any) -> Any:
        page = self._pages.get(request.url)
        if page is None:
            known = ", ".join(sorted(self._pages)) or "none"
            raise refusal("permission-denied", f"this test has no page {request.url}", f"Host(pages=...) has: {known}")
        headers = {line.name: line.value for line in request.headers}
        fetched = Fetched(request.method, request.url, headers, _bytes(request.body))
        self.requests.append(fetched)
        running = _Exchange(self._clock)
        try:
            running.answer = _response(request.url, page(fetched) if callable(page) else page)
        except Exception as error:
            running.answer = refusal("unavailable", f"the page failed: {type(error).__name__}: {error}")
        return running


class _Exchange(Operation):
    answer: Any = None

    def get(self) -> Any:
        if not self.done:
            return None
        return self.answer if isinstance(self.answer, Err) else Ok(self.answer)


def _response(url: str, page: Page) -> Any:
    status, content = page if isinstance(page, tuple) else (200, page)
    data = content.encode() if isinstance(content, str) else content
    try:
        body: Any = abi.fetch.Content_Text(data.decode())
    except UnicodeDecodeError:
        body = abi.fetch.Content_Base64(base64.b64encode(data).decode())
    return abi.fetch.Response(url, status, [], body)


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body.value.encode() if isinstance(body, abi.fetch.Content_Text) else base64.b64decode(body.value)
