"""A conversation inside a KV file: which of the template's text the file holds, and what is to be fed next.

The template always renders the whole conversation; what the file holds already is skipped, and where the template
changed its mind about earlier turns (some drop old reasoning, some trim), the file is cut back to the last place where
both agree. Places are known by marks, set wherever text was fed. What the program generates or feeds after its turns is
the assistant's reply; the next turn closes it.

Pure bookkeeping: it knows neither the host nor tokens, only lengths in tokens and text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Render = Callable[[str], str]
"""JSON of a conversation -> text."""


class Mark(NamedTuple):
    """The first `length` tokens of the file are the first `text` characters of the rendered `messages` messages."""

    length: int
    text: int
    messages: int


class Step(NamedTuple):
    """What to do to the file: cut it to `length` tokens, then append `text`."""

    length: int
    text: str


_NOBODY = {"role": "system", "content": ""}


@dataclass(slots=True)
class Conversation:
    """Turns said so far, and how much of them is in the file. `reply` is the length at which the open reply began."""

    template: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    marks: list[Mark] = field(default_factory=list)
    reply: int | None = None
    unfed: bool = False

    def say(self, message: dict[str, Any]) -> None:
        """Add a turn; it is fed by the next `step`."""
        self.messages.append(message)
        self.unfed = True

    def begin(self, length: int, opening: str | None) -> None:
        """Start in a file that holds `length` tokens; `opening` is what the template renders before the first turn and
        the file does not need (its default system prompt, when the conversation goes on from a saved file)."""
        self.marks = [Mark(length, 0, 0)]
        if opening is not None:
            self.messages = [_NOBODY]
            self.text = opening
            self.marks.append(Mark(length, len(opening), 1))

    def opening(self) -> str:
        """The conversation whose rendering is `begin`'s opening."""
        return json.dumps({**self.template, "messages": [_NOBODY]})

    def step(self, render: Render, length: int, reply: bool) -> Step:
        """What feeds the turns, and with `reply` the template's opening of the assistant's reply.

        `length` is the file's, in tokens. Call `fed` once the step was taken.
        """
        rendered = render(json.dumps({**self.template, "messages": self.messages, "add_generation_prompt": reply}))
        held = self.text
        if not rendered.startswith(held):
            while not rendered.startswith(held[: self.marks[-1].text]):
                self.marks.pop()
            mark = self.marks[-1]
            held, length = held[: mark.text], mark.length
        self.text = rendered
        return Step(length, rendered[len(held) :])

    def fed(self, length: int, reply: bool) -> None:
        """The step was taken; the file now holds `length` tokens."""
        self.unfed = False
        self.reply = length if reply else None
        self.marks.append(Mark(length, len(self.text), len(self.messages)))

    def close_reply(self, text: str, content: str) -> None:
        """The reply is complete: `text` as the file holds it, `content` without the stop token."""
        self.reply = None
        if text:
            self.text += text
            self.messages.append({"role": "assistant", "content": content})

    def cut(self, length: int) -> None:
        """The file was truncated. In the middle of a turn there is no conversation left to go on with: the next turn
        starts a new one."""
        if self.reply is not None and length >= self.reply:
            return
        while self.marks and self.marks[-1].length > length:
            self.marks.pop()
        self.reply = None
        if self.marks and self.marks[-1].length == length:
            mark = self.marks[-1]
            del self.messages[mark.messages :]
            self.text = self.text[: mark.text]
        else:
            self.messages, self.text, self.marks = [], "", []

    def copy(self) -> Conversation:
        return Conversation(self.template, self.messages.copy(), self.text, self.marks.copy(), self.reply, self.unfed)
