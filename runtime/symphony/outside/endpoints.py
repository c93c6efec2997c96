"""Tools that are URLs of the operator's choice.

The operator named the host, so its address may be a private one; where it redirects is somebody else's choice, and not
followed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from symphony.errors import Invalid, LimitExceeded, Unavailable
from symphony.outside import web
from symphony.outside.config import EndpointConfig, check_endpoint, revealed
from symphony.outside.places import Target, target_of
from symphony.outside.resolver import Lookup
from symphony.outside.tool import Seats, encoded, shortened
from symphony.param import MAX_TOOL_RESULT_BYTES

_QUERY = ("GET", "HEAD", "DELETE", "OPTIONS")
"""Methods whose requests have no body."""
_EXCERPT = 500
"""Characters of an answer that an error quotes."""


class EndpointTool:
    """One URL."""

    def __init__(self, name: str, config: EndpointConfig) -> None:
        """Raises Invalid: which field is wrong."""
        check_endpoint(name, config)
        self.name = name
        self.summary = config.summary
        self.schema = config.schema
        self._target = target_of(config.url)
        self._lookup = Lookup()
        self._method = config.method
        self._headers = list(revealed(f"endpoints.{name}.headers", config.headers).items())
        self._seconds = config.seconds
        self._seats = Seats(f"tool {name!r}")

    async def call(self, arguments: Mapping[str, Any], tenant: str = "") -> str:
        target, headers, body = self._target, self._headers, None
        if self._method in _QUERY:
            target = self._with_query(arguments)
        else:
            body = json.dumps(arguments).encode()
            headers = [*headers, ("Content-Type", "application/json")]
        limits: dict[str, Any] = {"limit": MAX_TOOL_RESULT_BYTES, "seconds": self._seconds}
        try:
            with self._seats.taken(tenant):
                reply = await web.exchange(self._method, target, headers, body, addresses=self._lookup, **limits)
        except (Unavailable, LimitExceeded) as e:
            raise Unavailable(f"tool {self.name!r} failed: {e.message}") from e
        return encoded(self.name, self._value(reply))

    def _with_query(self, arguments: Mapping[str, Any]) -> Target:
        """The target that has the arguments: texts as they are, all else as JSON."""
        target = self._target
        pairs = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in arguments.items()]
        if not pairs:
            return target
        joint = "&" if "?" in target.path else "?"
        try:
            return target._replace(path=f"{target.path}{joint}{urlencode(pairs)}")
        except UnicodeEncodeError:
            raise Invalid(
                f"tool {self.name!r}: an argument has half of a surrogate pair, which no URL can carry",
                "send whole characters",
            ) from None

    def _value(self, reply: web.Reply) -> Any:
        text = reply.body.decode("utf-8", "replace")
        if reply.status >= 300:
            self._refuse(reply, text)
        if not text.strip():
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            if "json" in reply.header("content-type"):
                raise Unavailable(f"tool {self.name!r} answered what is not JSON") from None
            return text

    def _refuse(self, reply: web.Reply, text: str) -> None:
        said = shortened(f"tool {self.name!r} answered {reply.status}: {text[:_EXCERPT]}")
        if reply.status < 400:
            where = reply.header("location")[:_EXCERPT]
            raise Unavailable(f"tool {self.name!r} redirects to {where!r}, which is not followed", "name the last URL")
        if reply.status in (400, 422):
            raise Invalid(said, f"its arguments: {json.dumps(self.schema)}")
        raise Unavailable(said)
