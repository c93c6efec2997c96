"""A dialogue: turns of a role and its text. A task is a function from a pen to one that ends with an answer."""

from __future__ import annotations

Turns = list[tuple[str, str]]


def said(ask: str, answer: str) -> Turns:
    """What somebody asks, and the answer."""
    return [("user", ask), ("assistant", answer)]
