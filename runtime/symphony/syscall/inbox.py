"""Where the core's answers arrive: operation ids on one side, the objects that guests hold on the other.

Ids are chosen here, on the worker's side, so that the same exchange works over a socket (semantics 16).
"""

from __future__ import annotations

import itertools
from typing import Protocol

from symphony.engine.messages import Reading
from symphony.errors import SymphonyError

Answer = list[Reading] | SymphonyError | None
"""A prediction's readings, an error, or None: a generation has something to take."""


class Receiver(Protocol):
    def deliver(self, answer: Answer) -> None: ...


class Inbox:
    """Routes answers by operation id; answers to forgotten operations are dropped."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._receivers: dict[int, Receiver] = {}

    def register(self, receiver: Receiver) -> int:
        op = next(self._ids)
        self._receivers[op] = receiver
        return op

    def forget(self, op: int) -> None:
        self._receivers.pop(op, None)

    def deliver(self, op: int, answer: Answer) -> None:
        """What `Core.connect` is given. Never blocks, never runs guest code."""
        receivers = self._receivers
        receiver = receivers.get(op) if answer is None else receivers.pop(op, None)  # a prediction is answered once
        if receiver is not None:
            receiver.deliver(answer)

    def __len__(self) -> int:
        return len(self._receivers)
