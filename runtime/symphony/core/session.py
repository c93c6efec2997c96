"""What one process has in the core: its open files, its operations in flight, and what it has used."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from symphony.core.messages import Readings, Usage
from symphony.kvfs.file import File
from symphony.kvfs.locks import Lock
from symphony.kvfs.modes import Principal
from symphony.sched.dispatch import Stream

if TYPE_CHECKING:
    from symphony.constraint.matcher import Matcher
    from symphony.core.guess import Guess
    from symphony.core.kept import Kept
    from symphony.core.loop import StepLoop
    from symphony.core.operation import Operation


FIRST_SCORE = 4
"""Of guests that nobody knows."""


class Handle(Stream):
    """An open file. It is also the stream of predictions that `sched.dispatch` may wait for."""

    __slots__ = ("asked", "expected", "file", "guess", "loop", "operation", "pinned", "score")

    def __init__(self, file: File, loop: StepLoop) -> None:
        super().__init__()
        self.file = file
        self.loop = loop
        self.pinned = False
        self.asked: Readings | None = None
        """What was last asked of one entry, and may be asked again."""
        self.operation: Operation | None = None
        """The one that was started through this handle and is in flight."""
        self.expected = -1
        """The token that the last answer named as the most probable one."""
        self.score = FIRST_SCORE
        """How reliably the guest says it (`guess`)."""
        self.guess: Guess | None = None
        """At what the guest will ask next."""


class Session:
    __slots__ = (
        "constraints",
        "deadline",
        "files",
        "kept",
        "last_step",
        "locks",
        "nice",
        "operations",
        "tenant",
        "usage",
        "who",
    )

    def __init__(self, who: Principal, nice: int = 0, deadline: float = inf) -> None:
        self.who = who
        self.tenant = who.tenant
        self.nice = nice
        """Priority of its rows among its tenant's, -20 (first) to 19."""
        self.deadline = deadline
        """When it wants to be through, on the core's clock."""
        self.files: dict[int, Handle] = {}
        self.operations: dict[int, Operation] = {}
        self.constraints: dict[int, Matcher] = {}
        self.kept: dict[int, Kept] = {}
        self.locks: dict[int, Lock] = {}
        """Held and waited for."""
        self.usage = Usage()
        self.last_step = -1
        """The number of the last step in which it had a row."""
