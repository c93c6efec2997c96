"""Several predictions as one: `pred-all` of `symphony:lip/infer`. Source: `wit/infer.wit`; semantics 7, 11."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from symphony.core.messages import Part
from symphony.core.shape import Shape
from symphony.engine.messages import Readings
from symphony.errors import SymphonyError
from symphony.syscall.caller import Caller
from symphony.syscall.inbox import Answer
from symphony.syscall.kvfs import KvFile
from symphony.syscall.pollable import Pollable


class Request(NamedTuple):
    """What is wanted of one file."""

    file: KvFile
    tokens: Any
    indexes: Sequence[int]
    shape: Shape | None
    keep: bool


class KeptRow:
    """A guest's handle on a distribution that is kept."""

    __slots__ = ("caller", "id")

    def __init__(self, caller: Caller, row: int) -> None:
        self.caller = caller
        self.id = row

    def drop(self) -> None:
        self.caller.core.forget(self.caller.session, (self.id,))


class _One:
    """One of them, in flight until `answer` is set."""

    __slots__ = ("answer", "file", "group", "op")

    def __init__(self, group: Predictions, file: KvFile) -> None:
        self.group = group
        self.file = file
        self.answer: Answer = None
        self.op = group.caller.inbox.register(self)
        file.begin()

    def deliver(self, answer: Answer) -> None:
        self.answer = answer
        self.close()
        self.group.landed()

    def close(self) -> None:
        self.group.caller.inbox.forget(self.op)
        self.file.end()


class Predictions:
    """A guest's handle on all of them."""

    __slots__ = ("_kept", "_left", "_ones", "caller", "pollable", "wanted")

    def __init__(self, caller: Caller, requests: Sequence[Request], wanted: Readings) -> None:
        self.caller = caller
        self.wanted = wanted
        self._ones = [_One(self, request.file) for request in requests]
        self._left = len(requests)
        self._kept: list[int] = []
        self.pollable = Pollable(fired=not requests)

    async def start(self, requests: Sequence[Request]) -> None:
        """Raises what the core refuses them for; none has started then."""
        pairs = zip(self._ones, requests, strict=True)
        parts = [Part(one.file.id, one.op, wish.tokens, wish.indexes, wish.shape, wish.keep) for one, wish in pairs]
        try:
            kept = await self.caller.core.pred_all(self.caller.session, parts, self.wanted)
        except BaseException:
            self._close()
            raise
        self._kept = [row for rows in kept for row in rows]

    def kept(self) -> list[KeptRow]:
        """Handles on what is kept, once."""
        rows, self._kept = self._kept, []
        return [KeptRow(self.caller, row) for row in rows]

    def landed(self) -> None:
        self._left -= 1
        if not self._left:
            self.pollable.fire()

    def answers(self) -> list[list[Any] | SymphonyError] | None:
        """One for each file once all are there."""
        return None if self._left else [one.answer or [] for one in self._ones]

    async def drop(self) -> None:
        for op in self._close():
            await self.caller.core.cancel(self.caller.session, op)
        self.caller.core.forget(self.caller.session, self._kept)

    def _close(self) -> list[int]:
        """Hear of no more answers: the operations that have not given theirs."""
        left = [one for one in self._ones if one.answer is None] if self._left else []
        for one in left:
            one.close()
        self._left = 0
        return [one.op for one in left]
