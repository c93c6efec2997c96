"""Texts that wait to be received, and those who wait for texts.

    post ──▶ text ──▶ to the first in the line, or onto the pile ──▶ taken
                 ▲                    │
                 └── given back ◀── the place was dropped untaken

A mailbox is bounded by number and size, whether its texts lie on the pile or with somebody who has not taken them yet.
A full one refuses (Busy; `room` fires when that is over), or, where it is lossy, forgets the oldest and says so to who
receives next. It costs nothing while nothing happens: no timer, no task. Knows nothing of processes, channels or Wasm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from symphony.errors import Busy, Invalid, LimitExceeded, SymphonyError
from symphony.param import MAX_MAILBOX_CHARS, MAX_MAILBOX_TEXTS, MAX_MESSAGE_CHARS
from symphony.syscall.pollable import Pollable


class Arrival(Pollable):
    """Fires when a text is there: of its own class, so that one can tell what a process waits for."""

    __slots__ = ()


class Message:
    """A place in the line of a mailbox, then the text that came. The guest's handle.

    `arrived` is called when a text comes to who waited, `over` once, when it was taken or dropped.
    """

    __slots__ = ("_arrived", "_box", "_over", "_text", "pollable")

    def __init__(self, box: Mailbox, arrived: Callable[[], None], over: Callable[[], None]) -> None:
        self.pollable = Arrival()
        self._box = box
        self._text: str | None = None
        self._arrived = arrived
        self._over: Callable[[], None] | None = over

    def fill(self, text: str, waited: bool) -> None:
        self._text = text
        self.pollable.fire()
        if waited:
            self._arrived()

    def take(self) -> str | None:
        """What came, once; None: nothing yet. Raises LimitExceeded (texts were lost before it), Invalid (twice)."""
        if not self.pollable.fired:
            return None
        if self._text is None:
            raise Invalid("the message was taken already", "receive again")
        text, self._text = self._text, None
        self._end()
        if missed := self._box.missed():
            self._box.give_back(text)
            raise LimitExceeded(
                f"{missed} texts of the broadcast were dropped: nobody received them in time", "receive more often"
            )
        self._box.forget(text)
        return text

    def drop(self) -> None:
        text, self._text = self._text, None
        if text is not None:
            self._box.give_back(text)
        else:
            self._box.line.pop(self, None)
        self._end()

    def _end(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over()


class Mailbox:
    """First come, first served, on both sides."""

    __slots__ = ("_lossy", "_missed", "_size", "_texts", "_untaken", "closed", "line", "room")

    def __init__(self, *, lossy: bool = False) -> None:
        self._lossy = lossy
        self._texts: deque[str] = deque()
        self._untaken = 0
        """Texts here, or with somebody who has not taken them..."""
        self._size = 0
        """...and their characters."""
        self._missed = 0
        self.line: dict[Message, None] = {}
        self.room = Pollable(fired=True)
        self.closed: SymphonyError | None = None
        """Why nothing can be posted any more."""

    def post(self, text: str) -> None:
        """Raises LimitExceeded (too long), Busy (full), or why it was closed."""
        check_length(text)
        if self.closed is not None:
            raise self.closed
        if self._full():
            self._lose()
            if self._full():
                return self._refuse()
        self._untaken += 1
        self._size += len(text)
        if self._full():
            self.room.clear()
        if self.line:
            self._hand(text)
        else:
            self._texts.append(text)

    def receive(self, arrived: Callable[[], None], over: Callable[[], None]) -> Message:
        """A place in the line; at once with a text where there is one."""
        place = Message(self, arrived, over)
        if self._texts:
            place.fill(self._texts.popleft(), waited=False)
        else:
            self.line[place] = None
        return place

    def give_back(self, text: str) -> None:
        """What somebody was given and did not take goes to who is next."""
        if self.line:
            self._hand(text)
        else:
            self._texts.appendleft(text)

    def forget(self, text: str) -> None:
        """It was taken, or is lost."""
        self._untaken -= 1
        self._size -= len(text)
        if not self.room.fired and not self._full():
            self.room.fire()

    def missed(self) -> int:
        """How many texts were lost since this was last asked."""
        missed, self._missed = self._missed, 0
        return missed

    def close(self, why: SymphonyError) -> None:
        """Nobody will receive any more: forget what is here, and let those go who wait for room."""
        self.closed = why
        self._texts.clear()
        self.room.fire()

    def __len__(self) -> int:
        """Texts that nobody has taken."""
        return self._untaken

    def _hand(self, text: str) -> None:
        place = next(iter(self.line))
        del self.line[place]
        place.fill(text, waited=True)

    def _full(self) -> bool:
        return self._untaken >= MAX_MAILBOX_TEXTS or self._size >= MAX_MAILBOX_CHARS

    def _lose(self) -> None:
        while self._lossy and self._texts and self._full():
            self._missed += 1
            self.forget(self._texts.popleft())

    def _refuse(self) -> None:
        if not self._lossy:
            raise Busy(f"{self._untaken} texts ({self._size} characters) wait to be received", "wait for room")
        self._missed += 1


def check_length(text: str) -> None:
    """Raises LimitExceeded."""
    if len(text) > MAX_MESSAGE_CHARS:
        raise LimitExceeded(f"a message of {len(text)} characters, at most {MAX_MESSAGE_CHARS}", "send it in pieces")
