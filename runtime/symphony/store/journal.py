"""The journal: commits in the order in which they were made, each whole or not there at all.

    header    b"symphony-kv 1\\n", padded to 16 bytes
    frame     b"\\xf5KVF"  size u32  number u64  checksum 16 bytes  payload          (a commit; numbers count up by one)

A commit is acknowledged after it was synced, and no other is written before that. So after a crash only the last frame
can be torn, and it was acknowledged to nobody. A bad frame with a good one behind it is no crash but damage: it is
stepped over and counted. `rewrite` puts a short journal in place of a long one, by a rename.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from blake3 import blake3

from symphony.errors import Invalid
from symphony.store.disk import Disk, write_all

NAME, FRESH = "journal", "journal.new"
HEADER = b"symphony-kv 1\n".ljust(16, b"\0")
_MAGIC = b"\xf5KVF"
_FRAME = struct.Struct("<4sIQ16s")
_VERSION = re.compile(rb"symphony-kv [0-9]+\n\0*")


@dataclass(slots=True)
class Scan:
    """What was found in a journal."""

    payloads: list[bytes] = field(default_factory=list[bytes])
    number: int = 0
    """Of the last good frame."""
    end: int = len(HEADER)
    """Bytes up to the end of it."""
    torn: int = 0
    """Bytes behind it: of a commit that was not finished."""
    damaged: int = 0
    """Commits that cannot be read although later ones can."""


class Journal:
    """Of one directory. All methods block, and raise OSError. A commit that fails is taken back, if not at once then
    before the next one."""

    def __init__(self, disk: Disk) -> None:
        """Opens it, made if it is not there, and leaves out what a crash tore off. Raises Invalid: another version."""
        self._disk = disk
        self._handle = disk.open(NAME)
        self.found = self._scan(disk.read(self._handle, disk.size(self._handle), 0))
        self._number = self.found.number
        self.size = self.found.end
        """Bytes of commits that are sure."""
        self._doubtful = bool(self.found.torn)
        """There may be something behind them."""
        self._renamed = False
        """It took the place of another one, and a crash could bring that back."""
        if self.found.end == 0:
            self._start()

    def append(self, payload: bytes) -> None:
        """A commit; it is sure when this returns."""
        self.repair()
        if self._renamed:
            self._disk.sync_names()
            self._renamed = False
        frame = _frame(self._number + 1, payload)
        self._doubtful = True
        try:
            write_all(self._disk, self._handle, frame, self.size)
            self._disk.sync(self._handle)
        except OSError:
            with suppress(OSError):
                self.repair()
            raise
        self._doubtful = False
        self._number += 1
        self.size += len(frame)

    @property
    def doubtful(self) -> bool:
        """A commit failed, and so did taking it back: until an `append` succeeds, a crash may bring it to light."""
        return self._doubtful

    def repair(self) -> None:
        """Take a commit back that failed, or that a crash tore off. To be called before anything is written over that
        it may name."""
        if self._doubtful:
            self._disk.truncate(self._handle, self.size)
            self._disk.sync(self._handle)
            self._doubtful = False

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        """These commits instead of all that there were; if it fails, the old ones stay."""
        disk = self._disk
        handle = disk.open(FRESH)
        try:
            number, size = self._number, len(HEADER)
            disk.truncate(handle, 0)
            write_all(disk, handle, HEADER, 0)
            for payload in payloads:
                number += 1
                frame = _frame(number, payload)
                write_all(disk, handle, frame, size)
                size += len(frame)
            disk.sync(handle)
            disk.rename(FRESH, NAME)
        except BaseException:
            disk.close(handle)
            raise
        old, self._handle = self._handle, handle
        self._number, self.size, self._doubtful = number, size, False
        self._renamed = True
        with suppress(OSError):
            disk.close(old)
        disk.sync_names()
        self._renamed = False

    def close(self) -> None:
        self._disk.close(self._handle)

    def _start(self) -> None:
        self._disk.truncate(self._handle, 0)
        write_all(self._disk, self._handle, HEADER, 0)
        self._disk.sync(self._handle)
        self._disk.sync_names()
        self.size, self._doubtful = len(HEADER), False

    def _scan(self, data: bytes) -> Scan:
        head = data[: len(HEADER)]
        if len(data) <= len(HEADER) and HEADER.startswith(head.rstrip(b"\0")):
            return Scan(end=0) if head != HEADER else Scan()  # not even its header was finished
        other = _VERSION.fullmatch(head) or (head.startswith(b"symphony-kv") and _first(data) is None)
        if head != HEADER and other:
            version = head.rstrip(b"\0\n").decode(errors="replace")
            raise Invalid(f"the KV store is of format {version!r}", "start the version of symphony that wrote it")
        found, at, first = Scan(), len(HEADER), True
        while at < len(data):
            frame = _read(data, at)
            if frame is None or (frame[0] <= found.number and not first):
                at = data.find(_MAGIC, at + 1)
                if at < 0:
                    break
                continue
            number, payload = frame
            if at != found.end or (not first and number != found.number + 1):
                found.damaged += max(number - found.number - 1, 1) if not first else 1
            found.payloads.append(payload)
            found.number, first = number, False
            at = found.end = at + _FRAME.size + len(payload)
        found.torn = len(data) - found.end
        if head != HEADER:
            found.damaged += 1
        return found


def _frame(number: int, payload: bytes) -> bytes:
    return _FRAME.pack(_MAGIC, len(payload), number, _sum(number, payload)) + payload


def _read(data: bytes, at: int) -> tuple[int, bytes] | None:
    """(number, payload) of a good frame."""
    if at + _FRAME.size > len(data):
        return None
    magic, size, number, check = _FRAME.unpack_from(data, at)
    start = at + _FRAME.size
    if magic != _MAGIC or start + size > len(data):
        return None
    payload = data[start : start + size]
    return (number, payload) if _sum(number, payload) == check else None


def _first(data: bytes) -> tuple[int, bytes] | None:
    """The frame behind the header."""
    return _read(data, len(HEADER))


def _sum(number: int, payload: bytes) -> bytes:
    return blake3(number.to_bytes(8, "little") + payload).digest(16)
