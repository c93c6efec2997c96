"""What the live processes of one tenant keep for readers who may come: bytes of output and log, and their limit.

Those of processes that have ended are bounded by `process.records`, which forgets the oldest.
"""

from __future__ import annotations

from symphony import param


class Shelf:
    """One tenant's."""

    __slots__ = ("__weakref__", "_held")

    def __init__(self) -> None:
        self._held = 0

    def take(self, count: int) -> bool:
        """Whether there is room for so many more; if so, they are counted."""
        if self._held + count > param.MAX_OUTPUT_BYTES_PER_TENANT:
            return False
        self._held += count
        return True

    def give_back(self, count: int) -> None:
        self._held -= count
