"""The text of a generation: decoded as it grows, cut at stop strings, with what may begin one held back.

Knows nothing of files or batches. Of several stop strings the one that is completed first counts; of those completed by
the same character the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Decoder(Protocol):
    """As `engine.tokenizer.Decoder`."""

    def push(self, tokens: Sequence[int]) -> str: ...
    def finish(self) -> str: ...


class TextStream:
    """Without stop strings nothing is decoded before somebody takes the text."""

    __slots__ = ("_decoder", "_held", "_released", "_stops", "_tokens")

    def __init__(self, decoder: Decoder, stops: Sequence[str]) -> None:
        self._decoder = decoder
        self._stops = stops
        self._tokens: list[int] = []
        """Not decoded yet; only without stop strings."""
        self._released = ""
        self._held = ""
        """May begin a stop string."""

    def push(self, token: int) -> int | None:
        """One more token. The index of the stop string that it completed; the text ends there then."""
        if not self._stops:
            self._tokens.append(token)
            return None
        text = self._held + self._decoder.push((token,))
        hits = [(at + len(stop), at, i) for i, stop in enumerate(self._stops) if (at := text.find(stop)) >= 0]
        if hits:
            _, at, index = min(hits)
            self._released += text[:at]
            self._held = ""
            return index
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._released += text[: len(text) - keep]
        self._held = text[len(text) - keep :]
        return None

    def end(self) -> None:
        """No token follows and no stop string was completed: nothing is held back any more."""
        self._released += self._held + self._decode() + self._decoder.finish()
        self._held = ""

    def take(self) -> str:
        """The text since the last time."""
        text = self._released + self._decode()
        self._released = ""
        return text

    def _decode(self) -> str:
        if not self._tokens:
            return ""
        tokens, self._tokens = self._tokens, []
        return self._decoder.push(tokens)


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`, short of all of it."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
