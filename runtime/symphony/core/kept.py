"""Distributions that programs keep, to ask more about them later: what the engine needs for that lies in host memory.

A row is kept from the prediction that makes it until its handle is dropped, its prediction fails, or its process ends.
Knows nothing of files.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from symphony.core.checks import check_readings
from symphony.core.messages import Reading, Readings
from symphony.core.session import Session
from symphony.engine.engine import Engine
from symphony.engine.messages import Question
from symphony.errors import InternalError, Invalid, LimitExceeded


@dataclass(slots=True, frozen=True)
class Kept:
    """One row."""

    engine: Engine
    entry: int
    """Index of the entry that comes next."""


class KeptRows:
    """Those of all sessions, by number. Every call checks that a number belongs to the session it came with."""

    def __init__(self, session: Callable[[int], Session], ids: itertools.count[int], most: int) -> None:
        """`session` looks one up. `most`: rows of one session."""
        self._session = session
        self._ids = ids
        self._most = most

    def check(self, owner: Session, count: int) -> None:
        """Raises LimitExceeded if the session may not keep so many more."""
        if len(owner.kept) + count > self._most:
            raise LimitExceeded(
                f"{len(owner.kept) + count} rows would be kept, the limit of a process is {self._most}",
                "drop those that no question is left about",
            )

    def add(self, owner: Session, engine: Engine, wanted: Sequence[int]) -> list[int]:
        """Numbers for the distributions after these entries."""
        numbers = [next(self._ids) for _ in wanted]
        owner.kept |= {n: Kept(engine, entry + 1) for n, entry in zip(numbers, wanted, strict=True)}
        return numbers

    async def ask(self, session: int, rows: Sequence[int], readings: Readings) -> list[Reading]:
        """Readings of each row; suspends. Raises Invalid, LimitExceeded."""
        owner = self._session(session)
        found = [owner.kept.get(row) for row in rows]
        known = [kept for kept in found if kept is not None]
        if len(known) < len(rows):
            raise Invalid("this row is not kept", "its prediction failed, or it was dropped")
        if len(rows) > self._most:
            raise LimitExceeded(f"a question about {len(rows)} rows, at most {self._most}", "name each row once")
        if any(kept.engine is not known[0].engine for kept in known):
            raise Invalid("the rows are of different models", "ask about those of one model at a time")
        if readings.sample is not None and readings.sample.needs_history:
            raise Invalid(
                "penalties look at the text, which is not kept with a row", "leave them out, or predict again"
            )
        if not known:
            return []
        engine = known[0].engine
        check_readings(readings, len(rows), engine.info)
        questions = [Question(row, kept.entry, readings) for row, kept in zip(rows, known, strict=True)]
        results = await engine.ask(questions)
        errors = [result.error for result in results if result.error is not None]
        if errors:
            raise InternalError(f"a question about a kept row failed: {errors[0]}", "predict again")
        return [result.readings[0] for result in results]

    def forget(self, owner: Session, rows: Sequence[int]) -> None:
        """Idempotent."""
        for row in rows:
            kept = owner.kept.pop(row, None)
            if kept is not None:
                kept.engine.forget((row,))

    def lose(self, owner: Session, engine: Engine, rows: Sequence[int]) -> None:
        """The prediction that was to make them failed. The engine may have kept them after somebody forgot them."""
        for row in rows:
            owner.kept.pop(row, None)
        engine.forget(rows)
