"""A step of the model in flight: what was launched, and for whom.

    launched ──▶ behind another one in flight (at most one) ──▶ the oldest ──▶ resumed, or lost

Operations count the steps that touch their pages in `running`. Knows nothing of how operations go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from symphony.core.operation import Operation
from symphony.engine.messages import RowResult

Plan = list[tuple[Operation, int]]
"""Operations in the order of the rows, and how many tokens each runs."""


@dataclass(slots=True)
class Step:
    plan: Plan
    copying: list[Operation]
    """Those without a row for which something is copied."""
    copies: int
    """How many of the arena's page copies are this step's."""
    poisons: bool
    """It fills free pages, when debugging."""
    start: float
    """When it was launched."""
    results: Awaitable[Sequence[RowResult]]
    lost: Exception | None = None
    """Why it counts as lost, whatever comes back: the step before it was."""
    spared: bool = False
    """That step was lost over what it copied: the rows of this one are not to blame."""

    @property
    def tokens(self) -> int:
        return sum([count for _, count in self.plan])

    @property
    def continues(self) -> bool:
        """Whether some row can be followed before it is over."""
        return any(operation.foreseeable for operation, _ in self.plan if operation.free_running)

    async def over(self) -> Sequence[RowResult] | Exception:
        """One result a row, or why the step is lost."""
        try:
            results = await self.results
        except Exception as e:
            return self.lost or e
        return self.lost or results

    def land(self) -> None:
        """It touches no page any more."""
        for operation, _ in self.plan:
            operation.running -= 1
        for operation in self.copying:
            operation.running -= 1
