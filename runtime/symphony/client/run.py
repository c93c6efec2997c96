"""A process on a server, as its client sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from symphony.client.transport import Transport
from symphony.errors import Unavailable, from_fields


class Event(NamedTuple):
    """Something that a process told its clients: `start` {pid}, `output` {text}, `log` {level, text}, and last `result`
    {value} or `error` {code, message, hint, traceback}."""

    kind: str
    data: dict[str, Any]
    at: int
    """How many events came so far: whoever was cut off asks for the rest, `events(after=at)`."""


class Run:
    """A process that lives on without its client, until it ends or is killed."""

    def __init__(self, transport: Transport, pid: int) -> None:
        self.pid = pid
        self._transport = transport
        self._path = f"/v1/processes/{pid}"

    async def events(self, after: int = 0) -> AsyncGenerator[Event]:
        """Its events but the first `after`, until it has ended; also once it has. Leaving does not disturb it."""
        stream = self._transport.events("GET", f"{self._path}/events", {"after": str(after)}, None)
        try:
            async for at, kind, data in stream:
                yield Event(kind, data, at)
        finally:
            await stream.aclose()

    async def wait(self) -> Any:
        """Its result. Raises the program's error."""
        async for event in self.events():
            if event.kind in ("result", "error"):
                return outcome(event)
        raise Unavailable(f"the events of process {self.pid} broke off before it ended", "wait again")

    async def show(self) -> dict[str, Any]:
        """What it does now, and its output so far."""
        return await self._transport.call("GET", self._path, {}, None)

    async def send(self, text: str) -> None:
        """Send a text, for the program's `receive`. Raises Busy while it does not keep up."""
        await self._transport.call("POST", f"{self._path}/messages", {}, text)

    async def kill(self) -> None:
        """End it; returns when everything that it held is released. No-op if it has ended."""
        await self._transport.call("DELETE", self._path, {}, None)


def outcome(event: Event) -> Any:
    """What the last event of a process says. Raises the program's error."""
    if event.kind == "error":
        raise from_fields(event.data)
    return event.data["value"]
