"""A disk in memory that remembers every call: what a crash may leave of it, and calls that fail.

Of each file a crash leaves what was synced, and of each later write all, nothing, or some sectors, in any order; what
was written before a sync that failed is lost, though it can be read until then; of names it leaves what was synced, and
some of the later changes, as far as they are possible without the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

SECTOR = 512


class Call(NamedTuple):
    kind: str
    """write, truncate, sync, lost (a sync that failed); create, rename, remove, sync_names; mark (of the test:
    something was acknowledged)."""
    file: int = -1
    """Number of the file, whatever its name."""
    offset: int = 0
    data: bytes = b""
    names: tuple[str, str] = ("", "")


class MemoryDisk:
    """A `store.disk.Disk`. `fault(call)` may raise in place of a call, or return how many bytes a write takes."""

    def __init__(self, contents: dict[str, bytes] | None = None) -> None:
        self.files: list[bytearray] = []
        self.by_name: dict[str, int] = {}
        self.log: list[Call] = []
        self.fault: Callable[[Call], int | None] = lambda call: None
        for name, data in (contents or {}).items():
            file = self.by_name[name] = len(self.files)
            self.files.append(bytearray(data))
            self.log += [Call("create", file, names=(name, "")), Call("write", file, 0, data), Call("sync", file)]
        self.log.append(Call("sync_names"))

    def contents(self) -> dict[str, bytes]:
        return {name: bytes(self.files[file]) for name, file in self.by_name.items()}

    def mark(self, what: Any) -> None:
        self.log.append(Call("mark", data=repr(what).encode()))

    # ---- the calls
    def open(self, name: str) -> int:
        if name not in self.by_name:
            self._do(Call("create", len(self.files), names=(name, "")))
            self.by_name[name] = len(self.files)
            self.files.append(bytearray())
        return self.by_name[name]

    def close(self, handle: int) -> None:
        """Nothing to do."""

    def names(self) -> list[str]:
        return list(self.by_name)

    def size(self, handle: int) -> int:
        return len(self.files[handle])

    def read(self, handle: int, size: int, offset: int) -> bytes:
        return bytes(self.files[handle][offset : offset + size])

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        call = Call("write", handle, offset, bytes(data))
        taken = self.fault(call)
        if taken is not None:
            call = call._replace(data=call.data[:taken])
        self.log.append(call)
        put(self.files[handle], call)
        return len(call.data)

    def sync(self, handle: int) -> None:
        try:
            self._do(Call("sync", handle))
        except OSError:
            self.log.append(Call("lost", handle))
            raise

    def truncate(self, handle: int, size: int) -> None:
        self._do(Call("truncate", handle, size))
        put(self.files[handle], self.log[-1])

    def allocate(self, handle: int, size: int) -> None:
        if size > len(self.files[handle]):
            self.truncate(handle, size)

    def rename(self, old: str, new: str) -> None:
        self._do(Call("rename", names=(old, new)))
        self.by_name[new] = self.by_name.pop(old)

    def remove(self, name: str) -> None:
        self._do(Call("remove", names=(name, "")))
        del self.by_name[name]

    def sync_names(self) -> None:
        self._do(Call("sync_names"))

    def _do(self, call: Call) -> None:
        self.fault(call)
        self.log.append(call)


def put(file: bytearray, call: Call) -> None:
    """What a write or a truncate does."""
    if call.kind == "truncate":
        del file[call.offset :]
        file.extend(bytes(call.offset - len(file)))
        return
    file.extend(bytes(max(call.offset - len(file), 0)))
    file[call.offset : call.offset + len(call.data)] = call.data


def crash(log: list[Call], rng: random.Random) -> MemoryDisk:
    """What may be there after a crash behind these calls."""
    files: dict[int, bytearray] = {}
    pending: dict[int, list[Call]] = {}
    names: list[Call] = []
    synced_names: list[Call] = []
    for call in log:
        if call.kind == "create":
            files[call.file] = bytearray()
            names.append(call)
        elif call.kind in ("rename", "remove"):
            names.append(call)
        elif call.kind == "sync_names":
            synced_names += names
            names = []
        elif call.kind == "sync":
            for before in pending.pop(call.file, []):
                put(files[call.file], before)
        elif call.kind == "lost":
            pending.pop(call.file, None)  # the system takes it for written, and no later sync writes it
        elif call.kind in ("write", "truncate"):
            pending.setdefault(call.file, []).append(call)
    for file, calls in pending.items():
        fate = rng.choice(["none", "all", "some", "torn"])
        if fate == "none":
            continue
        if fate != "all":
            calls = [call for call in calls if rng.random() < 0.7]
            rng.shuffle(calls)
        for call in calls:
            for part in torn(call, rng) if fate == "torn" and call.kind == "write" else [call]:
                put(files[file], part)
    disk = MemoryDisk()
    by_name: dict[str, int] = {}
    late = names[: rng.randint(0, len(names))] if rng.random() < 0.7 else [c for c in names if rng.random() < 0.5]
    for call in [*synced_names, *late]:
        one, two = call.names
        if call.kind == "create":
            by_name[one] = call.file
        elif call.kind == "rename" and one in by_name:
            by_name[two] = by_name.pop(one)
        elif call.kind == "remove":
            by_name.pop(one, None)
    for name, file in by_name.items():
        disk.by_name[name] = len(disk.files)
        disk.files.append(bytearray(files[file]))
    return disk


def torn(call: Call, rng: random.Random) -> list[Call]:
    """Some of its sectors."""
    found: list[Call] = []
    at = 0
    while at < len(call.data):
        step = min(SECTOR - (call.offset + at) % SECTOR, len(call.data) - at)
        if rng.random() < 0.6:
            found.append(call._replace(offset=call.offset + at, data=call.data[at : at + step]))
        at += step
    return found
