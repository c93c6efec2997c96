"""The pages of one format on disk: a file of equal slots, and the checksum of what each slot holds.

A slot is written whole and read whole. Which slots are in use is said elsewhere (`kvfs`, the journal); a slot whose
checksum nobody knows holds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EIO

from blake3 import blake3

from symphony.store.disk import Disk, write_all
from symphony.store.records import Format

_PREFIX = "pages-"
LEAST_SLOTS = 16
"""A pool file grows by as much as it has, but by at least so many slots..."""
MOST_BYTES = 64 << 20
"""...and by at most so much."""
NOTHING = bytes(16)
"""A checksum that no page has."""


class Pool:
    """`write` and `sync` belong to one thread at a time; `read` may be called beside them, for other slots."""

    def __init__(self, disk: Disk, form: Format) -> None:
        """Raises OSError."""
        self.name = pool_name(form)
        self.sums: dict[int, bytes] = {}
        self._disk = disk
        self._bytes = form.page_bytes
        self._loose: set[int] = set()
        """Slots that were written since the last sync..."""
        self._doubtful: set[int] = set()
        """...and those of which a sync failed: the next one does not mean that they are on the medium."""
        self._handle = disk.open(self.name)
        self._size = disk.size(self._handle)
        disk.sync_names()  # it may be new

    def write(self, slot: int, data: bytes) -> None:
        """Raises OSError; the slot then holds nothing."""
        self.sums.pop(slot, None)
        self._write(slot, data)
        self.sums[slot] = checksum(data)

    def sync(self, slots: Sequence[int]) -> None:
        """What these slots hold is on the medium when this returns. Raises OSError."""
        for slot in self._doubtful.intersection(slots):
            data = self.read(slot)
            if data is None:
                raise OSError(EIO, "a page was lost that an earlier sync of the disk failed for")
            self._write(slot, data)
        if not self._loose:
            return
        try:
            self._disk.sync(self._handle)
        except OSError:
            self._doubtful |= self._loose
            raise
        finally:
            self._loose.clear()

    def _write(self, slot: int, data: bytes) -> None:
        self._reserve(slot + 1)
        write_all(self._disk, self._handle, data, slot * self._bytes)
        self._doubtful.discard(slot)
        self._loose.add(slot)

    def _reserve(self, slots: int) -> None:
        """Room for so many, and for more to come if there is any, so that pages lie together and the file does not grow
        with each. Raises OSError: it is here that a disk turns out to be full, and not where a page is written."""
        need = slots * self._bytes
        if need <= self._size:
            return
        size = max(need, self._size + min(max(self._size, LEAST_SLOTS * self._bytes), MOST_BYTES))
        try:
            self._disk.allocate(self._handle, size)
        except OSError:
            if size == need:
                raise
            self._disk.allocate(self._handle, need)
            size = need
        self._size = size

    def read(self, slot: int) -> bytes | None:
        """None: what is there is not what was written, or cannot be read."""
        try:
            data = self._disk.read(self._handle, self._bytes, slot * self._bytes)
        except OSError:
            return None
        return data if checksum(data) == self.sums.get(slot) else None

    def shrink(self) -> None:
        """Give back what lies behind the last slot that holds something. Raises OSError."""
        end = (max(self.sums, default=-1) + 1) * self._bytes
        if self._disk.size(self._handle) > end:
            self._disk.truncate(self._handle, end)
            self._size = end

    def close(self) -> None:
        self._disk.close(self._handle)


def checksum(data: bytes) -> bytes:
    return blake3(data).digest(16)


def pool_name(form: Format) -> str:
    key = f"{form.digest}:{form.page_size}:{form.page_bytes}"
    return _PREFIX + blake3(key.encode()).hexdigest()[:16]


def is_pool(name: str) -> bool:
    return name.startswith(_PREFIX)
