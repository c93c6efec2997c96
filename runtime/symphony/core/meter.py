"""How much a step loop does: what was in its last step, and tokens a second lately.

The rate is that of a sliding window, kept as two counts: of the window that is full, and of the one that fills.
"""

from __future__ import annotations

WINDOW_SECONDS = 2.0


class Meter:
    """`now` is a time in seconds on any clock, never less than the one before."""

    __slots__ = ("_before", "_filling", "_since", "generated", "prompt", "reused", "rows", "tokens", "total")

    def __init__(self) -> None:
        self.rows = 0
        """Of the last step that had any."""
        self.tokens = 0
        self.total = 0
        """Tokens of all steps..."""
        self.prompt = 0
        """...of which programs gave so many."""
        self.generated = 0
        """Drawn ones."""
        self.reused = 0
        """Those whose keys and values were found instead."""
        self._before = 0
        self._filling = 0
        self._since = 0.0

    def add(self, rows: int, tokens: int, now: float) -> None:
        """A step is over."""
        if not rows:
            return
        self.rows, self.tokens = rows, tokens
        self.total += tokens
        if now - self._since >= WINDOW_SECONDS:
            self._roll(now)
        self._filling += tokens

    def per_second(self, now: float) -> float:
        """Tokens, of prompts and drawn ones, a second."""
        if now - self._since >= WINDOW_SECONDS:
            self._roll(now)
        left = 1.0 - (now - self._since) / WINDOW_SECONDS
        return (self._before * left + self._filling) / WINDOW_SECONDS

    def _roll(self, now: float) -> None:
        windows = int((now - self._since) / WINDOW_SECONDS)
        self._before = self._filling if windows == 1 else 0
        self._filling = 0
        self._since += windows * WINDOW_SECONDS
