"""`symphony:lip/fetch`: requests to places outside. Source: `wit/fetch.wit`; who may is `outside.fetch`'s business."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from symphony.errors import Invalid, LimitExceeded, PermissionDenied, SymphonyError
from symphony.outside.fetch import Answer, Fetch, Request
from symphony.outside.places import target_of
from symphony.param import FETCH_SECONDS, MAX_FETCH_BODY_BYTES, MAX_FETCH_SECONDS
from symphony.syscall.caller import Caller
from symphony.syscall.pollable import Pollable
from symphony.syscall.tasks import end_of, outcome
from symphony.syscall.values import Err, Handler, Ok

Content = tuple[str, str]
"""`text` or `base64`, and what crosses."""


class Header(NamedTuple):
    name: str
    value: str


class RequestRecord(NamedTuple):
    method: str
    url: str
    headers: Sequence[Header]
    body: Content | None
    timeout_us: int | None


class ResponseRecord(NamedTuple):
    url: str
    status: int
    headers: list[Header]
    body: Content


class Exchange:
    """A guest's handle on a request that goes on."""

    __slots__ = ("fetch", "pollable")

    def __init__(self, fetch: Fetch) -> None:
        self.pollable = end_of(fetch.task)
        self.fetch: Fetch | None = fetch
        """None once its answer was taken."""

    def take(self) -> Ok[ResponseRecord] | Err[SymphonyError] | None:
        fetch = self.fetch
        if fetch is None:
            return Err(Invalid("the answer was taken already"))
        if not fetch.task.done():
            return None
        self.drop()
        found = outcome(fetch.task, "the request")
        return Ok(_record(found.value)) if isinstance(found, Ok) else found

    def drop(self) -> None:
        fetch, self.fetch = self.fetch, None
        if fetch is not None:
            fetch.drop()


def send(caller: Caller, request: RequestRecord) -> Exchange:
    browser, target = caller.reach.browser, target_of(request.url)
    if browser is None:
        hint = f"symphony run --fetch {target.origin}, or a grant in the host's configuration (docs/tools.md)"
        raise PermissionDenied("this program may fetch nothing", hint)
    fetch = browser.begin(
        Request(
            request.method,
            target,
            [(header.name, header.value) for header in request.headers],
            None if request.body is None else _bytes(request.body),
            _seconds(request.timeout_us),
        )
    )
    caller.track(fetch.task)
    return Exchange(fetch)


def subscribe(caller: Caller, exchange: Exchange) -> Pollable:
    return exchange.pollable


def get(caller: Caller, exchange: Exchange) -> Ok[ResponseRecord] | Err[SymphonyError] | None:
    return exchange.take()


def _seconds(microseconds: int | None) -> float:
    if microseconds is None:
        return FETCH_SECONDS
    if not 0 < microseconds <= MAX_FETCH_SECONDS * 1e6:
        raise Invalid(f"a timeout of {microseconds / 1e6:g} s", f"use up to {MAX_FETCH_SECONDS:g} s")
    return microseconds / 1e6


def _bytes(content: Content) -> bytes:
    kind, text = content
    if len(text) > MAX_FETCH_BODY_BYTES * 4 // 3 + 4:
        raise LimitExceeded(f"the body has {len(text)} characters, at most {MAX_FETCH_BODY_BYTES} bytes")
    if kind == "text":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise Invalid(f"the body is not base64: {e}", "use the standard alphabet, with padding") from None


def _record(answer: Answer) -> ResponseRecord:
    headers = [Header(name, value) for name, value in answer.headers]
    return ResponseRecord(answer.url, answer.status, headers, _content(answer.body))


def _content(body: bytes) -> Content:
    try:
        return "text", body.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(body).decode()


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/fetch#send": send,
    "symphony:lip/fetch#[method]exchange.subscribe": subscribe,
    "symphony:lip/fetch#[method]exchange.get": get,
}
