"""What is due when: one time a key, the earliest first.

Pure; used for the times to live of names. A time that is put off costs nothing until the old one comes up.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

T = TypeVar("T")


class Agenda(Generic[T]):
    __slots__ = ("_count", "_heap", "_times")

    def __init__(self) -> None:
        self._times: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, key: T) -> bool:
        return key in self._times

    def add(self, key: T, time: float) -> None:
        """Look at `key` at this time, or earlier if an earlier time is noted."""
        noted = self._times.get(key)
        if noted is not None and noted <= time:
            return
        self._times[key] = time
        heapq.heappush(self._heap, (time, next(self._count), key))
        if len(self._heap) > 2 * len(self._times) + 64:
            self._heap = [entry for entry in self._heap if self._times.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def first(self) -> float | None:
        """The earliest time."""
        heap = self._heap
        while heap and self._times.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float, most: int) -> list[T]:
        """Take out what has come up by now, at most so many."""
        keys: list[T] = []
        while len(keys) < most and (time := self.first()) is not None and time <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._times[key]
            keys.append(key)
        return keys

    def discard(self, key: T) -> None:
        self._times.pop(key, None)
