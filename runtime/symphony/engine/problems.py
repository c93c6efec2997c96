"""What is wrong with a model directory, collected: loading refuses the whole, `verify` prints each. Knows no file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from symphony.errors import Invalid, NotFound


class Problem(NamedTuple):
    """One thing that is wrong, and what to do about it."""

    what: str
    fix: str
    error: type[Invalid] | type[NotFound] | None = Invalid
    """What loading raises; None: the model loads, but not everything works as its owner may expect."""


def refuse(problems: Sequence[Problem]) -> None:
    """Raise the first one that keeps a model from loading, if there is one; it says how many more there are."""
    fatal = [problem for problem in problems if problem.error is not None]
    if fatal and fatal[0].error is not None:
        more = f" (and {len(fatal) - 1} more: symphony models verify lists them)" if len(fatal) > 1 else ""
        raise fatal[0].error(fatal[0].what + more, fatal[0].fix)


def some(names: Sequence[str], most: int = 3) -> str:
    """A few of many, and how many there are."""
    shown = ", ".join(name[:100] for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
