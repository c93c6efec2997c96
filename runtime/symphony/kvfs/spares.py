"""Files that could give up what they hold in a pool, in order of preference, and how many ids would be free then.

An id (a page, a slot) becomes free when the last of its references goes, so files that share one give it up together.
`Spares` keeps count while files come and go, so that neither the next file to go nor the sum has to be looked for.

Numbers and files only: what a file is given up for, and how, is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from heapq import heapify, heappop, heappush

from symphony.kvfs.file import File
from symphony.kvfs.pages import PagePool


class Spares:
    """Files of lower numbers go first. A watcher of the pool once it counts, until `close`."""

    def __init__(self, pool: PagePool, ids: Callable[[File], Sequence[int]], tenant: str | None = None) -> None:
        """`ids`: what a file holds in the pool. `tenant`: an id counts as free when this tenant is no longer charged
        for it; None: when nobody holds it."""
        self.pool = pool
        self.ids = ids
        self.numbers: dict[File, int] = {}
        """The files."""
        self.holds: dict[int, int] = {}
        """References by the files, of each id that they hold; kept from the first `gain` on."""
        self._tenant = tenant
        self._order: list[tuple[int, File]] = []
        """A heap; who left is skipped, and so is who came back with another number."""
        self._counted: dict[File, tuple[int, ...]] | None = None
        """What each file held when it came. None: nobody asked yet."""
        self._free: set[int] = set()

    @property
    def counting(self) -> bool:
        return self._counted is not None

    @property
    def gain(self) -> int:
        """Ids that would be free if all files went. The first time, O(all ids held); then it is known."""
        if self._counted is None:
            self._counted = {}
            self.pool.watchers.append(self)
            for file in self.numbers:
                self._count(file)
        return len(self._free)

    def add(self, file: File, number: int) -> None:
        """The file could go."""
        self.numbers[file] = number
        heappush(self._order, (number, file))
        if len(self._order) > 2 * len(self.numbers) + 64:
            self._order = [(number, file) for file, number in self.numbers.items()]
            heapify(self._order)
        if self._counted is not None:
            self._count(file)

    def discard(self, file: File) -> None:
        """It went, or cannot go any more; nothing if it is not here."""
        if self.numbers.pop(file, None) is None or self._counted is None:
            return
        ids, holds = self._counted.pop(file), self.holds
        for one in ids:
            holds[one] -= 1
            if not holds[one]:
                del holds[one]
                self._free.discard(one)
        self.changed(ids)

    def in_order(self) -> Generator[File]:
        """The files, in the order in which they go; they may be discarded meanwhile. O(log n) for each one seen."""
        seen: list[tuple[int, File]] = []
        try:
            while self._order:
                entry = heappop(self._order)
                if self.numbers.get(entry[1]) == entry[0] and (not seen or seen[-1] != entry):
                    seen.append(entry)
                    yield entry[1]
        finally:
            for entry in seen:
                if self.numbers.get(entry[1]) == entry[0]:
                    heappush(self._order, entry)

    def changed(self, ids: Iterable[int]) -> None:
        """References to these ids, or who is charged for them, changed."""
        holds, free, refs, tenant = self.holds, self._free, self.pool.refs, self._tenant
        for one in ids:
            held = holds.get(one)
            if held is not None:
                if held == (refs[one] if tenant is None else self.pool.held(one, tenant)):
                    free.add(one)
                else:
                    free.discard(one)

    def close(self) -> None:
        if self._counted is not None:
            self.pool.watchers.remove(self)

    def _count(self, file: File) -> None:
        assert self._counted is not None
        ids = self._counted[file] = tuple(self.ids(file))
        holds = self.holds
        for one in ids:
            holds[one] = holds.get(one, 0) + 1
        self.changed(ids)
