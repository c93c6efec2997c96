"""How calls reach a server: what both transports promise.

Neither knows what the calls mean. Errors of the server are raised as the exceptions of `symphony.errors`, a server that
cannot be reached as Unavailable.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from symphony.errors import SymphonyError, Unavailable, from_fields

Happened = tuple[int, str, dict[str, Any]]
"""How many events came so far, this one included; its kind; its data."""


class Transport(Protocol):
    async def call(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        """The JSON value of an answer, None without one. `path` has its escapes; `body` is bytes, a text, or a value
        that is sent as JSON."""
        ...

    def events(self, method: str, path: str, query: Mapping[str, str], body: Any) -> AsyncGenerator[Happened]:
        """The events of an answer that is a stream. Closing it leaves: a run that is not detached ends."""
        ...

    async def close(self) -> None: ...


def failure(status: int, value: Any, url: str) -> SymphonyError:
    """The exception that an answer stands for."""
    try:
        return from_fields(value["error"])
    except (KeyError, TypeError):
        return Unavailable(f"{url} answered with status {status} and no Symphony error", "is it a Symphony server?")


def unreachable(url: str, cause: BaseException) -> Unavailable:
    text = str(cause) or type(cause).__name__
    return Unavailable(f"no answer from {url}: {text}", "start a server (symphony serve), or name another URL")
