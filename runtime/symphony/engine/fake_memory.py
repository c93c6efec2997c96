"""The fake engine's pages and host slots, and whoever touches them at the same time.

    page or slot: `page_size` places, each an `Entry` or None (never written, poisoned, or undefined for now)

Everything that a device would let race is a ValueError that names the page, even where Python happens to do it in a
harmless order. It knows nothing of rows; see `fake`.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from symphony.engine.contents import Entry
from symphony.engine.messages import EntryCopy

DEVICE, HOST = "page", "host slot"
STEP, MOVE = "a step", "a move"
_ENTRY = struct.Struct("<IIQQ")
_NOTHING = bytes(_ENTRY.size)
Place = tuple[str, int]
"""DEVICE or HOST, and which one."""


def image_bytes(page_size: int) -> int:
    """Of one page."""
    return page_size * _ENTRY.size


@dataclass(slots=True, frozen=True, eq=False)
class _Flight:
    what: str
    reads: frozenset[Place]
    writes: frozenset[Place]


class FakeMemory:
    """Not thread-safe."""

    def __init__(self, pages: int, host_pages: int, page_size: int, context_limit: int) -> None:
        self._size = page_size
        self._context_limit = context_limit
        self.pages: list[list[Entry | None]] = [[None] * page_size for _ in range(pages)]
        self.host: list[list[Entry | None]] = [[None] * page_size for _ in range(host_pages)]
        self._flights: list[_Flight] = []

    @property
    def moving(self) -> bool:
        """Whether anything is in flight that another step or move could meet."""
        return bool(self._flights)

    @contextmanager
    def flight(self, what: str, reads: Iterable[Place], writes: Iterable[Place]) -> Generator[None]:
        """While inside, nobody else may write what is read, nor touch what is written; but steps run one after the
        other. Raises ValueError."""
        mine = _Flight(what, frozenset(reads), frozenset(writes))
        for other in self._flights:
            if what == other.what == STEP:
                continue
            met = mine.writes & (other.reads | other.writes) | mine.reads & other.writes
            if met:
                places = ", ".join(f"{tier} {number}" for tier, number in sorted(met))
                raise ValueError(f"{what} races with {other.what} in flight: both touch {places}")
        self._flights.append(mine)
        try:
            yield
        finally:
            self._flights.remove(mine)

    # ---- parts of a step -----------------------------------------------------------------------------------------
    def poison(self, pages: Sequence[int]) -> None:
        for page in pages:
            self._check_page(page, "poison")
            self.pages[page] = [None] * self._size

    def copy_pages(self, copies: Sequence[tuple[int, int]]) -> None:
        """Whole pages, as if all at once."""
        targets = [target for _, target in copies]
        if len(set(targets)) != len(targets) or {source for source, _ in copies} & set(targets) or 0 in targets:
            raise ValueError(f"page copies race: {copies}")
        for source, target in copies:
            self.pages[target] = list(self.pages[source])

    def copy_entries(self, copies: Sequence[EntryCopy]) -> set[tuple[int, int]]:
        """Parts of pages, as if all at once; the (page, offset) of every target."""
        found: dict[tuple[int, int], Entry] = {}
        for copy in copies:
            self._check_copy(copy)
            for i in range(copy.count):
                entry = self.pages[copy.source][copy.source_offset + i]
                if entry is None:
                    raise ValueError(f"{copy} reads entry {copy.source_offset + i}, which was never written")
                place = (copy.target, copy.target_offset + i)
                if place in found:
                    raise ValueError(f"entry copies race: two of them write entry {place[1]} of page {place[0]}")
                position = entry.position + copy.shift
                if not 0 <= position < self._context_limit:
                    raise ValueError(f"{copy} gives an entry the position {position}")
                found[place] = Entry(entry.token, position, entry.content)
        for (page, offset), entry in found.items():
            self.pages[page][offset] = entry
        return set(found)

    def _check_copy(self, copy: EntryCopy) -> None:
        self._check_page(copy.source, str(copy))
        self._check_page(copy.target, str(copy))
        offsets = (copy.source_offset, copy.target_offset)
        if copy.count < 1 or min(offsets) < 0 or max(offsets) + copy.count > self._size:
            raise ValueError(f"{copy} is not inside a page of {self._size} entries")

    def _check_page(self, page: int, what: str) -> None:
        if not 0 < page < len(self.pages):
            raise ValueError(f"{what} names page {page} of 1..{len(self.pages) - 1}")

    # ---- moves ---------------------------------------------------------------------------------------------------
    @contextmanager
    def move(self, out: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]]) -> Generator[None]:
        """Entering reads the sources and makes the targets undefined; leaving without an error fills them."""
        for page, slot in [*out, *[(page, slot) for slot, page in back]]:
            self._check_page(page, "a move")
            if not 0 <= slot < len(self.host):
                raise ValueError(f"a move names host slot {slot} of 0..{len(self.host) - 1}")
        reads = [*[(DEVICE, page) for page, _ in out], *[(HOST, slot) for slot, _ in back]]
        writes = [*[(HOST, slot) for _, slot in out], *[(DEVICE, page) for _, page in back]]
        if len(set(writes)) != len(writes) or set(reads) & set(writes):
            raise ValueError(f"moves race with each other: out {list(out)}, back {list(back)}")
        with self.flight(MOVE, reads, writes):
            for slot, _ in back:
                if not any(self.host[slot]):
                    raise ValueError(f"a move reads host slot {slot}, which was never written")
            found = [list(self._tier(tier)[number]) for tier, number in reads]
            for tier, number in writes:
                self._tier(tier)[number] = [None] * self._size
            yield
            for (tier, number), entries in zip(writes, found, strict=True):
                self._tier(tier)[number] = entries

    # ---- images --------------------------------------------------------------------------------------------------
    def read(self, pages: Sequence[int], slots: Sequence[int]) -> list[bytes]:
        """Whole pages and host slots as bytes."""
        found = [*[self.pages[page] for page in pages], *[self.host[slot] for slot in slots]]
        return [b"".join(_NOTHING if entry is None else _ENTRY.pack(1, *entry) for entry in page) for page in found]

    def write(self, pages: Sequence[int], contents: Sequence[bytes]) -> None:
        for page, data in zip(pages, contents, strict=True):
            self._check_page(page, "a write")
            entries = [_ENTRY.unpack_from(data, i * _ENTRY.size) for i in range(self._size)]
            self.pages[page] = [Entry(*values) if there else None for there, *values in entries]

    def _tier(self, tier: str) -> list[list[Entry | None]]:
        return self.pages if tier == DEVICE else self.host
