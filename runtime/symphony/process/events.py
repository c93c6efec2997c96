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
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from symphony.errors import LimitExceeded
from symphony.param import MAX_LOG_BYTES, MAX_OUTPUT_BACKLOG, MAX_OUTPUT_BYTES, OUTPUT_EVENT_BYTES


class Event(NamedTuple):
    kind: str
    data: dict[str, Any]


class _Reader:
    __slots__ = ("output_read", "wake")

    def __init__(self) -> None:
        self.output_read = 0
        """Characters of output that this reader has taken."""
        self.wake: asyncio.Future[None] | None = None


class EventLog:
    """Events in order, until one of kind `result` or `error` closes the log."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False
        self.output_size = 0
        self.kept = 0
        """Roughly the bytes that the output takes."""
        self._log_size = 0
        self._dropped = 0
        self._readers: list[_Reader] = []
        self._writers: list[asyncio.Future[None]] = []

    def add(self, kind: str, data: dict[str, Any]) -> None:
        if self.closed:
            return
        self.events.append(Event(kind, data))
        for reader in self._readers:
            if reader.wake is not None and not reader.wake.done():
                reader.wake.set_result(None)

    def end(self, kind: str, data: dict[str, Any]) -> None:
        if self._dropped:
            self.events.append(Event("log", {"level": "warn", "text": f"{self._dropped} log lines were dropped"}))
        self.add(kind, data)
        self.closed = True
        self._let_writers_go()

    def log(self, level: str, text: str) -> None:
        """One log line; dropped and counted beyond the limit."""
        self._log_size += len(text) + 16
        if self._log_size > MAX_LOG_BYTES:
            self._dropped += 1
            return
        self.add("log", {"level": level, "text": text})

    async def output(self, text: str) -> bool:
        """Output for the client; suspends while an attached reader is far behind. Returns whether it did."""
        if not text:
            return False
        self.kept += len(text) + OUTPUT_EVENT_BYTES
        if self.kept > MAX_OUTPUT_BYTES:
            raise LimitExceeded(
                f"the program emitted more than {MAX_OUTPUT_BYTES} characters", "emit less, in larger pieces"
            )
        self.output_size += len(text)
        self.add("output", {"text": text})
        suspended = False
        while self._lag() > MAX_OUTPUT_BACKLOG and not self.closed:
            suspended = True
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

    async def read(self) -> AsyncIterator[Event]:
        """Every event from the first one on; ends after the closing one."""
        reader = _Reader()
        self._readers.append(reader)
        position = 0
        try:
            while True:
                while position < len(self.events):
                    event = self.events[position]
                    position += 1
                    if event.kind == "output":
                        reader.output_read += len(event.data["text"])
                        self._let_writers_go()
                    yield event
                if self.closed:
                    return
                reader.wake = asyncio.get_running_loop().create_future()
                await reader.wake
        finally:
            self._readers.remove(reader)
            self._let_writers_go()

    def _lag(self) -> int:
        return max((self.output_size - reader.output_read for reader in self._readers), default=0)

    def _let_writers_go(self) -> None:
        if self._writers and (self.closed or self._lag() <= MAX_OUTPUT_BACKLOG):
            writers, self._writers = self._writers, []
            for writer in writers:
                if not writer.done():
                    writer.set_result(None)
