"""What there is to say about one route, once: the server registers it, `openapi.py` describes it.

It knows neither handlers nor the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.typedefs import Handler

from symphony.access.identity import Role
from symphony.http.wire import takes

Schema = Mapping[str, Any]
"""A JSON schema, or `{"$ref": ...}` to one of `schemas.py`."""

JSON = "application/json"
EVENTS = "text/event-stream"
BYTES = "application/octet-stream"
TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter, always optional."""

    name: str
    schema: Schema
    says: str


@dataclass(frozen=True, slots=True)
class Body:
    """What a request brings."""

    schema: Schema
    says: str
    media: str = JSON
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that is no error; `media` maps media types to schemas, empty for an answer without content."""

    says: str
    media: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    status: int = 200


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the route table."""

    method: str
    path: str
    """A pattern of aiohttp: `{name}` is one segment of the path."""
    handler: Handler
    says: str
    """A sentence for people."""
    answers: tuple[Answer, ...]
    query: tuple[Query, ...] = ()
    """All query parameters: a request with others is refused."""
    body: Body | None = None
    needs: tuple[Role, ...] = (Role.OPERATE,)
    """Roles that a client's key must all have; none: any key will do. (`auth.OPEN` has the paths that need no key.)"""
    shown: str = ""
    """The path in the document, if `path` is more than names in braces."""

    @property
    def template(self) -> str:
        return self.shown or self.path

    def definition(self) -> web.RouteDef:
        """What aiohttp registers. GET serves HEAD too."""
        known = [query.name for query in self.query]
        return web.route(self.method, self.path, takes(self.handler, *known), expect_handler=_expectation)


async def _expectation(request: web.Request) -> None:
    """`Expect: 100-continue` is met. Anything else counts for nothing, as RFC 9110 (10.1.1) lets it: aiohttp's own
    refusal would come before a key is asked for, and in no shape of ours."""
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        writer = request.writer
        await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.output_size = 0  # nothing of the answer itself is out


def gives(schema: Schema, says: str = "What was asked for.", status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(says, {JSON: schema}, status)


def nothing(says: str) -> Answer:
    return Answer(says, status=204)
