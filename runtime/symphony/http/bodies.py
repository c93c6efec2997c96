"""What requests take at a time: how many bytes their bodies and answers may have, of one tenant and all together, and
how many requests a tenant may have served.

A body is counted as it arrives, and until its handler is done with it; an answer until its client has taken it. Knows
nothing of what is in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.typedefs import Handler

from symphony import param
from symphony.errors import LimitExceeded, Unavailable
from symphony.http.context import BODIES, BODY_BYTES, IDENTITY

PACE_BYTES = 64 << 10
"""Answers of no more are not counted: a client has to take as much within HTTP_STALL_SECONDS."""


class Bodies:
    """The bytes of all bodies, and the requests, by tenant."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._served: Counter[str] = Counter()

    def begin(self, tenant: str) -> None:
        """One more request. Raises LimitExceeded."""
        if self._served[tenant] >= param.MAX_REQUESTS_PER_TENANT:
            raise LimitExceeded(
                f"{param.MAX_REQUESTS_PER_TENANT} requests of {tenant} are being served", "let some of them end first"
            )
        self._served[tenant] += 1

    def end(self, tenant: str) -> None:
        self._served[tenant] -= 1
        if not self._served[tenant]:
            del self._served[tenant]

    def take(self, tenant: str, count: int) -> None:
        """Raises LimitExceeded or Unavailable where these are too many; nothing is counted then."""
        fix = "try again when other requests have been served"
        if self._held[tenant] + count > param.MAX_BODY_BYTES_PER_TENANT:
            raise LimitExceeded(
                f"the requests of {tenant} that are in flight have more than {param.MAX_BODY_BYTES_PER_TENANT} bytes",
                fix,
            )
        if self._held.total() + count > param.MAX_BODY_BYTES_AT_ONCE:
            raise Unavailable(f"all requests in flight have more than {param.MAX_BODY_BYTES_AT_ONCE} bytes", fix)
        self._held[tenant] += count

    def give_back(self, tenant: str, count: int) -> None:
        self._held[tenant] -= count
        if not self._held[tenant]:
            del self._held[tenant]


@web.middleware
async def bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count a request, and forget its body when its handler ends. Must stand behind `auth`."""
    identity = request.get(IDENTITY)
    if identity is None:  # of the few routes that ask for no key
        return await handler(request)
    request.app[BODIES].begin(identity.tenant)
    try:
        return await handler(request)
    finally:
        forget(request)
        request.app[BODIES].end(identity.tenant)


def count(request: web.Request, more: int) -> None:
    """So many more bytes of the body are in memory. Raises LimitExceeded, Unavailable."""
    request.app[BODIES].take(request[IDENTITY].tenant, more)
    request[BODY_BYTES] = request.get(BODY_BYTES, 0) + more


@contextmanager
def holding(request: web.Request, size: int) -> Generator[None]:
    """So many bytes of an answer are in memory while the block lasts. Raises LimitExceeded, Unavailable."""
    identity = request.get(IDENTITY)
    if identity is None or size <= PACE_BYTES:
        yield
        return
    request.app[BODIES].take(identity.tenant, size)
    try:
        yield
    finally:
        request.app[BODIES].give_back(identity.tenant, size)


def forget(request: web.Request) -> None:
    """The body is not in memory any more. No-op the second time."""
    held = request.get(BODY_BYTES, 0)
    if held:
        request.app[BODIES].give_back(request[IDENTITY].tenant, held)
        request[BODY_BYTES] = 0
