"""KV files: lists of tokens with names. Keys and values, pages, permissions and quotas are not played."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

from . import _records as abi
from ._basics import Ok, Operation, Pollable, Resource, refusal
from ._script import Text

_MODE = abi.kvfs.Mode


class Body:
    """A file: what all who opened it share."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.mode = _MODE.OWNER_READ | _MODE.OWNER_WRITE | _MODE.TENANT_READ
        self.ttl: int | None = None
        self.pinned = False
        self.names = 0
        self.line: list[Lock] = []
        self.busy: Operation | None = None


class Lock(Resource):
    """A place in the line for a file."""

    def __init__(self, body: Body, shared: bool) -> None:
        self._line = body.line
        self._shared = shared
        self._line.append(self)

    def held(self) -> bool:
        if self not in self._line:
            return False
        before = self._line[: self._line.index(self)]
        return not before or (self._shared and all(lock._shared for lock in before))

    def subscribe(self) -> Pollable:
        return Pollable(self.held)

    def drop(self) -> None:
        if self in self._line:
            self._line.remove(self)


class Syncing(Resource):
    """A sync, which is over at once; there is no disk."""

    def subscribe(self) -> Pollable:
        return Pollable(lambda: True)

    def get(self) -> Ok:
        return Ok(None)


class KvFile(Resource):
    """An open file."""

    def __init__(self, names: Names, body: Body) -> None:
        self.names = names
        self.body = body

    def idle(self) -> Pollable:
        return Pollable(lambda: self.body.busy is None or self.body.busy.done)

    def fork(self) -> KvFile:
        self._settled()
        return KvFile(self.names, Body(self.body.text.copy()))

    def length(self) -> int:
        return len(self.body.text.ids)

    def tokens(self, span: Any) -> list[int]:
        return self.body.text.ids[span.start : span.end]

    def truncate(self, length: int) -> None:
        self._settled()
        del self.body.text.ids[length:]

    def extract(self, ranges: list[Any], _rebase: bool) -> KvFile:
        self._settled()
        ids = [token for span in ranges for token in self.tokens(span)]
        return KvFile(self.names, Body(Text(ids)))

    def append_from(self, other: KvFile, span: Any) -> None:
        self._settled()
        self.body.text.ids += other.tokens(span)

    def pin(self) -> None:
        self.body.pinned = True

    def unpin(self) -> None:
        self.body.pinned = False

    def advise(self, _what: Any) -> None:
        """A hint."""

    def save(self, path: str, overwrite: bool) -> None:
        self.names.put(path, Body(self.body.text.copy()), overwrite)

    def link(self, path: str) -> None:
        self.names.put(path, self.body, False)

    def sync(self) -> Syncing:
        self._settled()
        if not self.body.names:
            raise refusal("invalid", "the file has no name", "link it first, or use save(path, sync=True)")
        return Syncing()

    def stat(self) -> Any:
        return stat_of(self.body)

    def set_mode(self, mode: Any) -> None:
        self.body.mode = mode

    def set_ttl(self, seconds: int | None) -> None:
        self.body.ttl = seconds

    def lock(self, kind: Any) -> Lock:
        return Lock(self.body, kind is abi.kvfs.LockKind.SHARED)

    def try_lock(self, kind: Any) -> Lock:
        lock = self.lock(kind)
        if not lock.held():
            lock.drop()
            raise refusal("busy", "somebody else holds the lock", "wait for it: ctx.lock()")
        return lock

    def _settled(self) -> None:
        if self.body.busy is not None and not self.body.busy.done:
            raise refusal("busy", "an operation is in flight on the file", "await it first, or work on a fork")


def stat_of(body: Body) -> Any:
    length = len(body.text.ids)
    pages = -(-length // 16)
    tier = abi.kvfs.Tier.DEVICE
    return abi.kvfs.Stat(
        length, length, length, pages, 0, tier, body.pinned, "local", "test", body.mode, 0, 0, 0, body.ttl, body.names
    )


class Names:
    """The tree of names: absolute paths to files, and directories that were made."""

    def __init__(self) -> None:
        self.files: dict[str, Body] = {}
        self._directories: set[str] = set()

    def put(self, path: str, body: Body, overwrite: bool) -> None:
        if not path.startswith("/") or path.endswith("/"):
            raise refusal("invalid", f"{path!r} is not an absolute path of a file", "such as /notes/today")
        if path in self.files and not overwrite:
            raise refusal("exists", f"there is a file {path}", "use overwrite=True, or another name")
        self.files[path] = body
        body.names += 1

    def find(self, path: str) -> Body:
        if path not in self.files:
            raise refusal(
                "not-found", f"there is no file {path}", f"there are: {', '.join(sorted(self.files)) or 'none'}"
            )
        return self.files[path]

    def open(self, path: str, how: Any) -> KvFile:
        flags = abi.kvfs.OpenFlags
        if path not in self.files and flags.CREATE in how:
            self.put(path, Body(Text()), False)
        body = self.find(path)
        return KvFile(self, body if flags.WRITE in how else Body(body.text.copy()))

    def list(self, path: str) -> list[Any]:
        below = f"{path.rstrip('/')}/"
        found: dict[str, Any] = {}
        for name in sorted({*self.files, *self._directories}):
            if name.startswith(below):
                first, _, rest = name.removeprefix(below).partition("/")
                is_file = not rest and name in self.files
                length = len(self.files[name].text.ids) if is_file else 0
                found.setdefault(first, abi.kvfs.Entry(first, not is_file, length))
        return list(found.values())

    def glob(self, pattern: str) -> list[str]:
        return sorted(path for path in self.files if fnmatch(path, pattern))

    def stat_path(self, path: str) -> Any:
        return stat_of(self.find(path))

    def sync(self, path: str) -> Syncing:
        self.find(path)
        return Syncing()

    def mkdir(self, path: str) -> None:
        self._directories.add(path.rstrip("/"))

    def rename(self, old: str, new: str) -> None:
        moved = {path: body for path, body in self.files.items() if path == old or path.startswith(f"{old}/")}
        if not moved:
            self.find(old)
        if new in self.files:
            raise refusal("exists", f"there is a file {new}", "unlink it first")
        for path, body in moved.items():
            del self.files[path]
            self.files[new + path.removeprefix(old)] = body

    def unlink(self, path: str) -> None:
        if path in self._directories and path not in self.files:
            self._directories.remove(path)
            return
        self.find(path).names -= 1
        del self.files[path]
