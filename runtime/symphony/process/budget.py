"""CPU time that a process may use, together with the processes that it started.

Each budget lies within that of its parent: what a child uses counts for all above it, also when they have ended. So no
number of generations gets more than the first of them was given.
"""

from __future__ import annotations


class Budget:
    __slots__ = ("limit", "parent", "used")

    def __init__(self, limit: float, parent: Budget | None = None) -> None:
        """`limit` in nanoseconds."""
        self.limit = limit
        self.used = 0
        self.parent = parent

    def spend(self, used: int) -> Budget | None:
        """Count so many nanoseconds. Returns a budget that is used up, if one is."""
        budget: Budget | None = self
        empty = None
        while budget is not None:
            budget.used += used
            if budget.used > budget.limit:
                empty = budget
            budget = budget.parent
        return empty
