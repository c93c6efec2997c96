"""What a process tells its clients: a log of events, readable from the beginning by any number of readers.

    start   {pid}
    output  {text}
    log     {level, text}
    result  {value}
    error   {code, message, hint, traceback}

The writer is the process; a reader that lags holds it up (`EventLog.output`), one that left does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from symphony.errors import LimitExceeded
from symphony.param import (
    MAX_LOG_BYTES,
    MAX_OUTPUT_BACKLOG,
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_BYTES_PER_TENANT,
    OUTPUT_EVENT_BYTES,
)
from symphony.process.shelf import Shelf


class Event(NamedTuple):
    kind: str
    data: dict[str, Any]


class Cursor:
    """One reader's place in a log. What it has not taken counts as its lag; `close` it when it leaves."""

    __slots__ = ("_log", "_offer", "_push", "_rest_until", "_wake", "at", "output_read")

    def __init__(self, log: EventLog, after: int) -> None:
        self.at = min(after, len(log.events))
        """Events before this place."""
        self.output_read = sum(len(e.data["text"]) for e in log.events[: self.at] if e.kind == "output")
        """Characters of output before this place."""
        self._log = log
        self._wake: asyncio.Future[None] | None = None
        self._push: Callable[[], bool] | None = None
        self._offer: asyncio.Handle | None = None
        self._rest_until = 0.0

    def take(self, characters: int, most: int) -> list[Event]:
        """The next events, at most `most`, and those of `characters` of output or little more; maybe none."""
        events, first, read = self._log.events, self.at, self.output_read
        while self.at < len(events) and self.at - first < most and self.output_read - read < characters:
            event = events[self.at]
            self.at += 1
            if event.kind == "output":
                self.output_read += len(event.data["text"])
        if self.output_read > read:
            self._log.let_writers_go()
        return events[first : self.at]

    @property
    def behind(self) -> int:
        """How many events there are to take."""
        return len(self._log.events) - self.at

    @property
    def closing(self) -> bool:
        """Whether nothing will come any more, so that what is left has the end."""
        return self._log.closed

    @property
    def ended(self) -> bool:
        """Whether nothing is left, and nothing will come."""
        return self._log.closed and not self.behind

    async def wait(self, push: Callable[[], bool] | None = None) -> None:
        """Until there is something to take, or the end, or a `nudge`. `push` is called in a turn of the loop after
        something came, once a `rest` is over: where it returns True, it took all of that, and the wait goes on; what it
        raises, this does. (To wake a task costs as much as a small event does.)"""
        if not self.behind and not self._log.closed:
            self._wake = asyncio.get_running_loop().create_future()
            self._push = push
            try:
                await self._wake
            finally:
                self._push = None

    def nudge(self) -> None:
        """Let `wait` return."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def rest(self, until: float) -> None:
        """Offer what comes no sooner than this, by the loop's clock, unless a writer waits."""
        self._rest_until = until

    def more(self) -> None:
        """Something came."""
        if self._push is None:
            self.nudge()
        elif self._offer is None:
            loop = asyncio.get_running_loop()
            resting = loop.time() < self._rest_until
            self._offer = loop.call_at(self._rest_until, self._offered) if resting else loop.call_soon(self._offered)

    def hurry(self) -> None:
        """A writer waits, or none will come any more."""
        self._rest_until = 0.0
        if self._offer is not None:
            self._offer.cancel()
            self._offer = asyncio.get_running_loop().call_soon(self._offered)

    def _offered(self) -> None:
        self._offer = None
        try:
            if self._push is not None and (not self._push() or self._log.closed):
                self.nudge()
        except Exception as error:  # whoever waits is told, not the event loop
            if self._wake is not None and not self._wake.done():
                self._wake.set_exception(error)

    def close(self) -> None:
        if self._offer is not None:
            self._offer.cancel()
        self._log.forget(self)


class EventLog:
    """Events in order, until one of kind `result` or `error` closes the log."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        """`shelf`: where its bytes count while its process lives; default: one of its own."""
        self.events: list[Event] = []
        self._shelf = shelf or Shelf()
        self._on_shelf = 0
        self.closed = False
        self.output_size = 0
        self.kept = 0
        """Roughly the bytes that the output takes."""
        self._log_size = 0
        self._dropped = 0
        self._readers: list[Cursor] = []
        self._writers: list[asyncio.Future[None]] = []

    def add(self, kind: str, data: dict[str, Any]) -> None:
        if self.closed:
            return
        self.events.append(Event(kind, data))
        for reader in self._readers:
            reader.more()

    def end(self, kind: str, data: dict[str, Any]) -> None:
        if self._dropped:
            self.events.append(Event("log", {"level": "warn", "text": f"{self._dropped} log lines were dropped"}))
        self.add(kind, data)
        self.closed = True
        for reader in self._readers:
            reader.hurry()
        self._shelf.give_back(self._on_shelf)
        self._on_shelf = 0
        self.let_writers_go()

    def log(self, level: str, text: str) -> None:
        """One log line; dropped and counted beyond the limit."""
        self._log_size += len(text) + 16
        if self._log_size > MAX_LOG_BYTES or not self._shelve(_cost(text)):
            self._dropped += 1
            return
        self.add("log", {"level": level, "text": text})

    async def output(self, text: str) -> bool:
        """Output for the client; suspends while an attached reader is far behind. Returns whether it did."""
        if not text:
            return False
        cost = _cost(text)
        self.kept += cost
        if self.kept > MAX_OUTPUT_BYTES:
            raise LimitExceeded(
                f"the program emitted more than {MAX_OUTPUT_BYTES} bytes", "emit less, in larger pieces"
            )
        if not self._shelve(cost):
            raise LimitExceeded(
                f"the running programs of this tenant have emitted more than {MAX_OUTPUT_BYTES_PER_TENANT} bytes",
                "emit less, or let some of them end first",
            )
        self.output_size += len(text)
        self.add("output", {"text": text})
        suspended = False
        while self._lag() > MAX_OUTPUT_BACKLOG and not self.closed:
            suspended = True
            for reader in self._readers:
                reader.hurry()
            writer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._writers.append(writer)
            await writer
        return suspended

    @property
    def stalled(self) -> bool:
        """Whether the process waits for a reader."""
        return bool(self._writers)

    def text(self) -> str:
        """All output so far."""
        return "".join(e.data["text"] for e in self.events if e.kind == "output")

    def cursor(self, after: int = 0) -> Cursor:
        """The place behind the first `after` events, for a reader who has had those."""
        reader = Cursor(self, after)
        self._readers.append(reader)
        return reader

    def forget(self, reader: Cursor) -> None:
        """Its reader has left: nobody waits for it. No-op the second time."""
        if reader in self._readers:
            self._readers.remove(reader)
            self.let_writers_go()

    async def read(self) -> AsyncIterator[Event]:
        """Every event from the first one on; ends after the closing one."""
        reader = self.cursor()
        try:
            while not reader.ended:
                await reader.wait()
                for event in reader.take(1, 1):
                    yield event
        finally:
            reader.close()

    def _shelve(self, size: int) -> bool:
        """Whether there is room for so many more bytes."""
        if self.closed or not self._shelf.take(size):
            return self.closed
        self._on_shelf += size
        return True

    def _lag(self) -> int:
        least = self.output_size
        for reader in self._readers:
            least = min(least, reader.output_read)
        return self.output_size - least

    def let_writers_go(self) -> None:
        """Those who wait for readers, if these have caught up."""
        if self._writers and (self.closed or self._lag() <= MAX_OUTPUT_BACKLOG):
            writers, self._writers = self._writers, []
            for writer in writers:
                if not writer.done():
                    writer.set_result(None)


def _cost(text: str) -> int:
    """Roughly the bytes that an event of this text takes."""
    return len(text.encode("utf-8", "replace")) + OUTPUT_EVENT_BYTES
