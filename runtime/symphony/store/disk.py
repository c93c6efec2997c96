"""The file layer: the few calls by which the store touches a disk, on the files of one directory.

Everything that is written goes through a `Disk`, so that tests can record the calls, replay what a crash may leave of
them, and have any one of them fail. It gives no more than POSIX does: a write may be short, and until `sync` of its
file anything of it may be lost, in any order; a new, renamed or removed name is only sure after `sync_names`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Protocol

_NO_FALLOCATE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""The file system has no such call; then zeros are written."""
_FILL_BYTES = 1 << 20


class Disk(Protocol):
    """Handles are ints. All methods block, and raise OSError."""

    def open(self, name: str) -> int:
        """To read and write; made if it is not there."""
        ...

    def close(self, handle: int) -> None: ...

    def names(self) -> list[str]: ...

    def size(self, handle: int) -> int: ...

    def read(self, handle: int, size: int, offset: int) -> bytes:
        """Fewer bytes at the end of the file."""
        ...

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        """Returns how many bytes were taken."""
        ...

    def sync(self, handle: int) -> None:
        """Returns once the file's contents are on the medium."""
        ...

    def truncate(self, handle: int, size: int) -> None: ...

    def allocate(self, handle: int, size: int) -> None:
        """The file grows to so many bytes, which the disk has room for. Raises OSError: it may have grown by less."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Replaces `new`."""
        ...

    def remove(self, name: str) -> None: ...

    def sync_names(self) -> None:
        """Returns once the directory itself is on the medium."""
        ...


def write_all(disk: Disk, handle: int, data: bytes, offset: int) -> None:
    """However short the writes are. Raises OSError."""
    view = memoryview(data)
    while view:
        taken = disk.write(handle, view, offset)
        if taken <= 0:
            raise OSError(5, "a write took nothing")
        view, offset = view[taken:], offset + taken


class Folder:
    """A `Disk` of the operating system: a directory, made with its parents if it is not there."""

    def __init__(self, path: Path) -> None:
        make_directory(path)
        self._path = path
        _sync_directory(path.parent)  # the directory's own name, should its maker not have come so far

    def open(self, name: str) -> int:
        return os.open(self._path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self, handle: int) -> None:
        os.close(handle)

    def names(self) -> list[str]:
        return [path.name for path in self._path.iterdir()]

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def read(self, handle: int, size: int, offset: int) -> bytes:
        parts: list[bytes] = []
        while size and (part := os.pread(handle, size, offset)):
            parts.append(part)
            size, offset = size - len(part), offset + len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(handle, data, offset)

    def sync(self, handle: int) -> None:
        os.fsync(handle)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def allocate(self, handle: int, size: int) -> None:
        start = self.size(handle)
        try:
            os.posix_fallocate(handle, start, size - start)
        except (AttributeError, OSError) as e:
            if isinstance(e, OSError) and e.errno not in _NO_FALLOCATE:
                raise
            for at in range(start, size, _FILL_BYTES):
                write_all(self, handle, bytes(min(_FILL_BYTES, size - at)), at)

    def rename(self, old: str, new: str) -> None:
        (self._path / old).rename(self._path / new)

    def remove(self, name: str) -> None:
        (self._path / name).unlink()

    def sync_names(self) -> None:
        _sync_directory(self._path)


def make_directory(path: Path) -> None:
    """With its parents, if they are not there; the names of what was made are on the medium then. Raises OSError."""
    path = path.absolute()
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in missing:
        _sync_directory(folder.parent)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
