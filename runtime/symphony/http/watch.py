"""What passes through the server: every request has an id, is counted and timed, and has a line in the log.

The id comes from the client (`X-Request-Id`, if it looks like one) or from here; answers carry it, and so does the log
of the process that the request starts. Knows no routes but their names.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections import Counter

from aiohttp import web
from aiohttp.typedefs import Handler

from symphony.http.context import DRAIN, IDENTITY, LAST, WATCH
from symphony.observe.exposition import Histogram
from symphony.observe.logs import REQUEST

log = logging.getLogger("symphony.http")

HEADER = "X-Request-Id"
LEFT = 499
"""What counts as the status of a request whose client left, as nginx has it."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Watch:
    """The counts of one application."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str, int]] = Counter()
        """By method, route and status."""
        self.seconds: dict[str, Histogram] = {}
        """From a request's head to the end of its answer, by route."""

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request is over."""
        self.answers[method if method in _METHODS else "other", route, status] += 1
        self.seconds.setdefault(route, Histogram()).add(seconds)


@web.middleware
async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Must stand before all that answer."""
    began, status = time.perf_counter(), LEFT
    given = request.headers.get(HEADER, "")
    REQUEST.set(given if _ID.fullmatch(given) else secrets.token_hex(8))
    try:
        response = await handler(request)
        status = response.status
        if (request.app[DRAIN].closed or LAST in request) and not response.prepared:
            response.force_close()
        return response
    finally:
        _note(request, status, time.perf_counter() - began)


async def name_answer(request: web.Request, response: web.StreamResponse) -> None:
    """Before an answer's head is sent."""
    if REQUEST.get():
        response.headers[HEADER] = REQUEST.get()


def _note(request: web.Request, status: int, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "none"
    request.app[WATCH].count(request.method, route, status, seconds)
    identity = request.get(IDENTITY)
    if log.isEnabledFor(logging.INFO):
        fields = {
            "tenant": identity.tenant if identity is not None else "",
            "method": request.method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 3),
        }
        log.info("%s %s: %d", request.method, request.path, status, extra=fields)
