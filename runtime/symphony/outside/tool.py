"""What a tool is: a name, a sentence, a JSON schema of its arguments, and something to await.

Whatever is behind it, its result is JSON of bounded size, and it fails with one of our own errors within bounded time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from symphony.errors import Unavailable
from symphony.param import MAX_TOOL_CROWD, MAX_TOOL_ERROR_CHARS, MAX_TOOL_RESULT_BYTES


class Tool(Protocol):
    """Something that programs may call."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def schema(self) -> Mapping[str, Any]: ...

    async def call(self, arguments: Mapping[str, Any], tenant: str = "") -> str:
        """The result as JSON, for a program of a tenant. Raises Invalid (the arguments), Unavailable (it failed),
        TimedOut, LimitExceeded."""
        ...


class Seats:
    """How many calls of one endpoint, server or function run at once; more are refused. No tenant takes more than half
    of them, so that a crowd of one's leaves room for the others'."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, tenant: str) -> Generator[None]:
        """A seat for as long as the block takes."""
        self.take(tenant)
        try:
            yield
        finally:
            self.give_back(tenant)

    def take(self, tenant: str) -> None:
        """Raises Unavailable: there is none."""
        for taken, most in ((self._taken[tenant], MAX_TOOL_CROWD // 2), (self._taken.total(), MAX_TOOL_CROWD)):
            if taken >= most:
                raise Unavailable(f"{taken} calls of {self._what} are running", "try again later")
        self._taken[tenant] += 1

    def give_back(self, tenant: str) -> None:
        self._taken[tenant] -= 1
        self._taken += Counter()  # forgets those without any


def encoded(name: str, value: Any) -> str:
    """A result as JSON; Unavailable if it is none, or too large."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as e:
        raise Unavailable(f"tool {name!r} returned something that is not JSON: {e}") from None
    if len(text) > MAX_TOOL_RESULT_BYTES:
        raise Unavailable(f"tool {name!r} returned {len(text)} bytes, at most {MAX_TOOL_RESULT_BYTES}")
    return text


def shortened(text: str) -> str:
    """What a tool says of its failure, as far as programs get to see it."""
    return text[:MAX_TOOL_ERROR_CHARS].encode("utf-8", "replace").decode()
