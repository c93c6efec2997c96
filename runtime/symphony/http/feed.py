"""A process' events on their way to one client, whatever carries them there.

    the process' log --> Cursor.take --> one `Sink.push` or `send` per tick of the loop --> the client

Whatever arrived since the last piece leaves as the next one, and neighbouring pieces of output as one event, so a slow
client costs bigger events, not more of them. So do many streams at a time (`Pace`): to send a piece costs ten times
what a token in it does. A client that does not read at all stops its cursor, and through the process' own back-pressure
its LIP; one that takes too long for a single piece counts as gone. Knows no routes, no framing, and of a process only
its events.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from aiohttp import web

from symphony import param
from symphony.access.gate import KeyNeeded
from symphony.errors import TimedOut
from symphony.http.errors import error_fields

if TYPE_CHECKING:
    from symphony.errors import SymphonyError
    from symphony.process.events import Cursor, Event

PIECE_EVENTS = 1024
PIECE_CHARACTERS = 64 << 10
"""Events, and about so many characters of output, that one piece may have."""


class Item(NamedTuple):
    """One event for a client. Who has seen it asks for the rest by `at`: how many events of the process came so far."""

    kind: str
    data: Any
    at: int


class Sink(Protocol):
    """One client's end of a stream. `start`, `send` and `end` return when the client has room for more, and raises
    ConnectionError once it is gone."""

    async def start(self) -> None: ...

    @property
    def ready(self) -> bool:
        """Whether the client has room, so that `push` may be called: in the cases in which `send` would not suspend, or
        in fewer."""
        ...

    def push(self, batch: list[Item]) -> None:
        """`send`, at once."""
        ...

    async def send(self, batch: list[Item]) -> None:
        """The next events; none of them: a sign of life."""
        ...

    async def end(self) -> web.StreamResponse:
        """What the handler of the request returns."""
        ...

    def cut(self, why: SymphonyError) -> None:
        """The client does not read, or is not welcome any more: let go of it at once."""
        ...


class Pace:
    """All streams of a server: together they send HTTP_PIECES_PER_SECOND or little more, each in its turn. A stream
    that is alone rests for a millisecond behind a piece; 64 that go on all the time send every 60 to 80 ms."""

    GRID = 0.02
    """Seconds: rests that are longer end together, for one turn of the loop instead of many."""

    def __init__(self) -> None:
        self._due = 0.0
        """When the next piece would leave if they left evenly."""

    def rest(self, now: float) -> float:
        """A stream has sent a piece: until when it rests. No more than HTTP_PIECE_SECONDS."""
        due = max(self._due, now) + 1 / param.HTTP_PIECES_PER_SECOND
        self._due = due = min(due, now + param.HTTP_PIECE_SECONDS)
        return math.ceil(due / self.GRID) * self.GRID if due > now + self.GRID else due


async def pump(
    cursor: Cursor,
    sink: Sink,
    *,
    pace: Pace,
    keep_alive: float,
    welcome: Callable[[], bool] = lambda: True,
    abandoned: Callable[[], Awaitable[None]] | None = None,
) -> web.StreamResponse:
    """Send the events from `cursor` on until they end, and close it; in silence, a sign of life every `keep_alive`
    seconds, and as often a look whether the client is still `welcome`. `abandoned` is awaited if the client leaves
    before the end."""
    pulse = _Pulse(cursor, sink, keep_alive, welcome)
    clock = asyncio.get_running_loop().time

    def push() -> bool:
        if pulse.due or cursor.closing or not sink.ready:  # a result may be large: `send` counts it
            return False
        sink.push(_joined(cursor.take(PIECE_CHARACTERS, PIECE_EVENTS), cursor.at))
        cursor.rest(pace.rest(clock()))
        return cursor.behind == 0

    try:
        await sink.start()
        while not cursor.ended:
            batch = cursor.take(PIECE_CHARACTERS, PIECE_EVENTS)
            if batch or pulse.due:
                pulse.sends()
                await sink.send(_joined(batch, cursor.at))
                pulse.sent()
                if batch and batch[-1].kind != "start":  # the first token comes at once
                    cursor.rest(pace.rest(clock()))
            else:
                await cursor.wait(push)
        pulse.sends()
        return await sink.end()
    except BaseException:  # it left (CancelledError, ConnectionError), or cannot be served
        if abandoned is not None:
            await abandoned()
        raise
    finally:
        pulse.stop()
        cursor.close()


class _Pulse:
    """One timer a stream that beats every `keep_alive` seconds (a deadline for every wait would cost as much as the
    event). While nothing is being sent, a beat is `due`; where a piece is still on its way after HTTP_STALL_SECONDS,
    or the client is not welcome any more, it is cut off."""

    def __init__(self, cursor: Cursor, sink: Sink, keep_alive: float, welcome: Callable[[], bool]) -> None:
        self.due = False
        self._cursor = cursor
        self._sink = sink
        self._keep_alive = keep_alive
        self._welcome = welcome
        self._beats = -1
        """Beats since the client was given a piece; -1: it has taken all."""
        self._timer = asyncio.get_running_loop().call_later(keep_alive, self._beat)

    def sends(self) -> None:
        self._beats = 0

    def sent(self) -> None:
        self._beats = -1
        self.due = False

    def stop(self) -> None:
        self._timer.cancel()

    def _beat(self) -> None:
        if not self._welcome():
            return self._sink.cut(KeyNeeded("the key that asked was removed", "ask again with another"))
        if self._beats < 0:
            self.due = True
            self._cursor.nudge()
        else:
            self._beats += 1
            if self._beats * self._keep_alive > param.HTTP_STALL_SECONDS:
                seconds = param.HTTP_STALL_SECONDS
                return self._sink.cut(TimedOut(f"the client took nothing for {seconds:g} s", "read on, or leave"))
        self._timer = asyncio.get_running_loop().call_later(self._keep_alive, self._beat)


def refused(batch: list[Item], error: SymphonyError) -> list[Item]:
    """The same, with an error in place of the result that it ends with."""
    return [*batch[:-1], Item("error", error_fields(error), batch[-1].at)]


def _joined(batch: list[Event], at: int) -> list[Item]:
    """`batch`, which ends at the place `at`, with neighbouring pieces of output as one."""
    first = at - len(batch) + 1
    if len(batch) == 1:
        return [Item(*batch[0], at)]
    if batch and all(event.kind == "output" for event in batch):  # as a rule
        return [Item("output", {"text": "".join([event.data["text"] for event in batch])}, at)]
    joined: list[Item] = []
    for kind, run in groupby(enumerate(batch, first), key=lambda numbered: numbered[1].kind):
        if kind == "output":
            pieces = list(run)
            text = "".join(event.data["text"] for _, event in pieces)
            joined.append(Item(kind, {"text": text}, pieces[-1][0]))
        else:
            joined.extend(Item(kind, event.data, number) for number, event in run)
    return joined
