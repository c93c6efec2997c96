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

    __slots__ = ("_left", "_ones", "caller", "pollable", "wanted")

    def __init__(self, caller: Caller, requests: Sequence[Request], wanted: Readings) -> None:
        self.caller = caller
        self.wanted = wanted
        self._ones = [_One(self, request.file) for request in requests]
        self._left = len(requests)
        self.pollable = Pollable(fired=not requests)

    async def start(self, requests: Sequence[Request]) -> None:
        """Raises what the core refuses them for; none has started then."""
        pairs = zip(self._ones, requests, strict=True)
        parts = [Part(one.file.id, one.op, wish.tokens, wish.indexes, wish.shape) for one, wish in pairs]
        try:
            await self.caller.core.pred_all(self.caller.session, parts, self.wanted)
        except BaseException:
            self._close()
            raise

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

    def _close(self) -> list[int]:
        """Hear of no more answers: the operations that have not given theirs."""
        left = [one for one in self._ones if one.answer is None] if self._left else []
        for one in left:
            one.close()
        self._left = 0
        return [one.op for one in left]
