"""What a guest that runs is to those who give it turns: an `Instance`, or something else that runs one elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

from symphony.errors import SymphonyError
from symphony.sandbox.outcome import Outcome, Turn
from symphony.sandbox.timeline import Timeline


class Running(Protocol):
    """`Instance` has the meanings."""

    timeline: Timeline | None

    @property
    def caller(self) -> Any: ...
    @property
    def outcome(self) -> Outcome | None: ...
    @property
    def used_slice(self) -> bool: ...
    @property
    def awaited(self) -> Any: ...
    @property
    def away(self) -> bool:
        """Whether the guest has its turns, now, where this process does not see them."""
        ...

    def start(self, argument: str) -> None: ...
    def turn(self) -> Turn: ...
    def kill(self, error: SymphonyError) -> None: ...
