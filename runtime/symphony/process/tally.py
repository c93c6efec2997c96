"""How many processes there were, how they ended and how long they took: what is left of those that are forgotten.

Numbers only grow. Knows no process.
"""

from __future__ import annotations

from collections import Counter

from symphony.observe.exposition import Histogram


class Tally:
    """Of one host."""

    def __init__(self) -> None:
        self.started = 0
        """Launches, also of those that have not begun."""
        self.ended: Counter[str] = Counter(result=0, error=0, killed=0)
        """By how."""
        self.cpu_ns = 0
        """Of those that have ended."""
        self.lasted = Histogram()
        """Seconds from the launch to the end."""
        self.spoke = Histogram()
        """Seconds from the launch to the first output, of those that have any."""
