"""What several tests of kvfs do to files: whole operations, without a device."""

from __future__ import annotations

from symphony.kvfs.file import File
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.kvfs import Copy, Kvfs, Shortage


def reserve(kvfs: Kvfs, file: File, upto: int) -> list[Copy]:
    """Reserve, dropping idle files' K/V for it, oldest first."""
    while isinstance(got := kvfs.reserve(file, upto), Shortage):
        assert kvfs.idle, "nothing else holds pages for good"
        kvfs.drop(next(iter(kvfs.idle)))
    return got


def append(kvfs: Kvfs, file: File, tokens: list[int]) -> list[Copy]:
    """A whole operation."""
    kvfs.begin(file, tokens)
    kvfs.reuse(file, len(file.tokens))
    copies = reserve(kvfs, file, len(file.tokens))
    kvfs.retire(file.arena)
    kvfs.commit(file, len(file.tokens))
    kvfs.settle(file, len(file.tokens))
    check_integrity(kvfs)
    return copies
