"""Requests of programs to places outside: what an operator allows, checked again at every step.

    request --> its place is granted? --> resolve the name, once --> every address is public? --> exchange
                      ^                                                                             |
                      └──────────────────── a redirect, at most so many ────────────────────────────┘

An address that is not public is only reached where the grant itself is that address. A place is judged by its name and
port, never by what a name means: what a name means is judged by its addresses, all of them, and the connection goes to
one of those that were judged. Knows no processes; `Browser` is what one of them, and its children, share.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urljoin
from weakref import WeakValueDictionary

from symphony.errors import Invalid, LimitExceeded, PermissionDenied, TimedOut, Unavailable
from symphony.outside.addresses import Address, literal, problem
from symphony.outside.places import Place, Target, target_of
from symphony.outside.resolver import Resolver
from symphony.param import (
    MAX_FETCH_BODY_BYTES,
    MAX_FETCH_BYTES,
    MAX_FETCH_CONNECTIONS,
    MAX_FETCH_HEADER_BYTES,
    MAX_FETCH_HEADERS,
    MAX_FETCH_REDIRECTS,
    MAX_FETCHES,
    MAX_OUTSIDE_CONNECTIONS,
    MAX_OUTSIDE_PER_TENANT,
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_REDIRECTS = (301, 302, 303, 307, 308)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_CONNECTION = "accept-encoding connection content-length expect host keep-alive te trailer transfer-encoding upgrade"
_OURS = frozenset(_CONNECTION.split())
"""Headers about the connection..."""
_OUR_PREFIXES = ("proxy-", "sec-")
_SECRETS = frozenset(("authorization", "cookie"))
"""...and those that stay with the host that they were meant for."""

Headers = Sequence[tuple[str, str]]


class Request(NamedTuple):
    method: str
    target: Target
    headers: Headers
    body: bytes | None
    seconds: float
    """From the start to the end of the answer."""


class Answer(NamedTuple):
    url: str
    status: int
    headers: Headers
    body: bytes


class Reply(Protocol):
    """`web.Reply`, which is not imported before somebody fetches."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...
    def header(self, name: str) -> str: ...


Resolve = Callable[[str, int, str], Awaitable[Sequence[Address]]]
"""From a host, a port and a tenant to all addresses of the host. Raises Unavailable."""


class Internet:
    """The way out, of all programs of a host: how names are resolved, and how many connections there are at once."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or Resolver()
        self._seats = asyncio.Semaphore(MAX_OUTSIDE_CONNECTIONS)
        self._of_tenants: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def seats(self, tenant: str) -> asyncio.Semaphore:
        """A tenant's share of the connections; whoever uses it keeps it."""
        seats = self._of_tenants.get(tenant)
        if seats is None:
            self._of_tenants[tenant] = seats = asyncio.Semaphore(MAX_OUTSIDE_PER_TENANT)
        return seats

    async def exchange(self, request: Request, target: Target, addresses: Sequence[Address]) -> Reply:
        from symphony.outside import web

        async with self._seats:
            return await web.exchange(
                request.method,
                target,
                request.headers,
                request.body,
                addresses=addresses,
                limit=MAX_FETCH_BYTES,
                seconds=request.seconds,
            )

    async def addresses(self, target: Target, tenant: str) -> Sequence[Address]:
        if (address := literal(target.host)) is not None:
            return [address]
        return await self._resolve(target.host, target.port, tenant)


class Browser:
    """What one process and its children may fetch: from these places, so much at once."""

    def __init__(self, internet: Internet, places: Sequence[Place], tenant: str = "") -> None:
        self.places = tuple(places)
        self._tenant = tenant
        self._internet = internet
        self._seats = internet.seats(tenant)
        self._turns = asyncio.Semaphore(MAX_FETCH_CONNECTIONS)
        self._begun = 0

    def begin(self, request: Request) -> Fetch:
        """Start it. Raises PermissionDenied (the place), Invalid, LimitExceeded, before anything goes out."""
        self._check_place(request.target)
        check_headers(request.headers)
        if request.method not in METHODS:
            raise Invalid(f"the method {request.method[:50]!r}", f"use one of {', '.join(METHODS)}")
        if request.body is not None and len(request.body) > MAX_FETCH_BODY_BYTES:
            raise LimitExceeded(f"the body has {len(request.body)} bytes, at most {MAX_FETCH_BODY_BYTES}")
        if self._begun >= MAX_FETCHES:
            raise LimitExceeded(f"{MAX_FETCHES} requests are in flight", "wait for one of them")
        self._begun += 1
        return Fetch(self, request)

    def ended(self) -> None:
        """One of them."""
        self._begun -= 1

    async def turn(self) -> None:
        await self._turns.acquire()

    def next_turn(self) -> None:
        self._turns.release()

    async def follow(self, request: Request) -> Answer:
        """The answer at the end of all redirects."""
        origin = request.target.origin
        for _ in range(MAX_FETCH_REDIRECTS + 1):
            target = request.target
            place = self._check_place(target)
            addresses = await self._internet.addresses(target, self._tenant)
            _check_addresses(target, addresses, place)
            async with self._seats:
                reply = await self._internet.exchange(request, target, addresses)
            location = reply.header("location")
            if reply.status not in _REDIRECTS or not location:
                return Answer(target.url, reply.status, reply.headers, reply.body)
            request = _redirected(request, reply.status, location)
        raise Unavailable(f"{origin} redirects more than {MAX_FETCH_REDIRECTS} times", "ask for the last URL")

    def _check_place(self, target: Target) -> Place:
        covering = [place for place in self.places if place.covers(target)]
        if covering:
            return max(covering, key=lambda place: place.is_address)
        listed = ", ".join(map(str, self.places)) or "there are none"
        raise PermissionDenied(f"this program may not fetch from {target.origin}", f"places that it may: {listed}")


class Fetch:
    """A request that goes on, as a task of the event loop."""

    def __init__(self, browser: Browser, request: Request) -> None:
        self._browser: Browser | None = browser
        self._holds = False
        self.task = asyncio.ensure_future(self._run(browser, request))

    async def _run(self, browser: Browser, request: Request) -> Answer:
        try:
            async with asyncio.timeout(request.seconds):
                await browser.turn()
                self._holds = True
                return await browser.follow(request)
        except TimeoutError:
            raise TimedOut(f"{request.target.origin} took longer than {request.seconds:g} s") from None

    def drop(self) -> None:
        """It is over, or nobody wants it any more: whoever waits has the next turn."""
        self.task.cancel()
        browser, self._browser = self._browser, None
        if browser is not None:
            if self._holds:
                browser.next_turn()
            browser.ended()


def check_headers(headers: Headers) -> None:
    """Raises Invalid, PermissionDenied or LimitExceeded for what a program must not send."""
    if len(headers) > MAX_FETCH_HEADERS:
        raise LimitExceeded(f"{len(headers)} headers, at most {MAX_FETCH_HEADERS}")
    size = 0
    for name, value in headers:
        size += len(name) + len(value.encode("utf-8", "replace"))
        if size > MAX_FETCH_HEADER_BYTES:
            raise LimitExceeded(f"the headers have more than {MAX_FETCH_HEADER_BYTES} bytes")
        if not _NAME.fullmatch(name):
            raise Invalid(f"the header's name {name[:50]!r}", "use letters, digits and dashes")
        if _BAD_VALUE.search(value):
            raise Invalid(f"the value of the header {name!r} has control characters", "leave them out")
        lower = name.lower()
        if lower in _OURS or lower.startswith(_OUR_PREFIXES):
            raise Invalid(f"the header {name!r} is about the connection", "leave it out: the host writes it")


def _check_addresses(target: Target, addresses: Sequence[Address], place: Place) -> None:
    if not addresses:
        raise Unavailable(f"the host {target.host!r} has no address", "check the name")
    if place.is_address:
        return
    for address in addresses:
        if why := problem(address):
            raise PermissionDenied(
                f"{target.host} is at {address}, which is not public ({why})",
                "an operator can grant the address itself, such as http://127.0.0.1:9000",
            )


def _redirected(request: Request, status: int, location: str) -> Request:
    """What is asked next. Another host does not learn what was meant for this one."""
    try:
        target = target_of(urljoin(request.target.url, location))
    except ValueError as e:
        raise Unavailable(f"{request.target.origin} redirects to what is no URL: {e}") from None
    except Invalid as e:
        raise Unavailable(f"{request.target.origin} redirects: {e.message}") from None
    method, headers, body = request.method, request.headers, request.body
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", None
        headers = [(name, value) for name, value in headers if not name.lower().startswith("content-")]
    if target.origin != request.target.origin:
        headers = [(name, value) for name, value in headers if name.lower() not in _SECRETS]
    return request._replace(method=method, target=target, headers=headers, body=body)
