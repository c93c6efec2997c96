"""The names of files: what can be done to them, in each tenant's own tree.

Works on a `Kvfs` through `create`, `fork`, `close`, `check_idle`, `end_if_unused` and `stat` alone, and on a file
through its count of names. Meanings: semantics 8, 20.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from symphony.errors import Exists, InternalError, Invalid, NotFound
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.names import Entry, Namespace
from symphony.kvfs.stat import Stat


class Tree:
    """All methods return at once."""

    def __init__(self, kvfs: Kvfs) -> None:
        self.kvfs = kvfs
        self.names: dict[str, Namespace] = {}

    def namespace(self, tenant: str) -> Namespace:
        names = self.names.get(tenant)
        if names is None:
            names = self.names[tenant] = Namespace()
        return names

    def open(
        self, tenant: str, owner: str, model: str, path: str, *, write: bool, create: bool, exclusive: bool
    ) -> File:
        """The named file, with one more handle; without `write`, a private fork of it.

        Raises NotFound, Exists (`exclusive`), Invalid (path, flags, or made by another model), LimitExceeded.
        """
        if create and not write:
            raise Invalid("open: create without write", "add the flag write")
        names = self.namespace(tenant)
        file = names.find(path)
        if file is None:
            if not create:
                raise NotFound(f"no file is named {path}", "list the directory to see what is there")
            file = self.kvfs.create(tenant, owner, model)
            try:
                names.put(path, file)
            except BaseException:
                self.kvfs.close(file)
                raise
            return file
        if create and exclusive:
            raise Exists(f"{path} exists already", "leave out the flag exclusive to open it")
        if file.arena.model != model:
            raise Invalid(f"{path} was made by the model {file.arena.model}, not {model}", "open it with that model")
        if not write:
            return self.kvfs.fork(file, owner)
        file.opens += 1
        return file

    def save(self, file: File, path: str, owner: str, overwrite: bool) -> None:
        """Name a snapshot of the file. Raises Exists, Invalid, Busy, LimitExceeded."""
        self.kvfs.check_idle(file)
        names = self.namespace(file.tenant)
        if not overwrite and names.find(path) is not None:
            raise Exists(f"{path} exists already", "pass overwrite to replace it")
        snapshot = self.kvfs.fork(file, owner)
        try:
            old = names.put(path, snapshot)
        finally:
            self.kvfs.close(snapshot)
        if old is not None:
            self.kvfs.end_if_unused(old)

    def rename(self, tenant: str, old: str, new: str) -> None:
        """Raises NotFound, Exists, Invalid, LimitExceeded."""
        names = self.namespace(tenant)
        file = names.get(old)
        if names.find(new) is not None:
            raise Exists(f"{new} exists already", "unlink it first")
        names.remove(old)
        try:
            names.put(new, file)
        except BaseException:
            names.put(old, file)
            raise

    def unlink(self, tenant: str, path: str) -> None:
        """Raises NotFound, Invalid."""
        self.kvfs.end_if_unused(self.namespace(tenant).remove(path))

    def list(self, tenant: str, path: str) -> list[Entry]:
        return self.namespace(tenant).list(path)

    def stat_path(self, tenant: str, path: str) -> Stat:
        """Raises NotFound, Invalid."""
        return self.kvfs.stat(self.namespace(tenant).get(path))

    def check_integrity(self) -> None:
        """Raises InternalError that lists what is wrong with the names."""
        wrong = list(self._wrong())
        if wrong:
            raise InternalError("KVFS integrity: " + "; ".join(wrong))

    def _wrong(self) -> Iterable[str]:
        count: Counter[File] = Counter()
        for tenant, names in self.names.items():
            files = list(names.files())
            count.update(files)
            if len(files) != names.count:
                yield f"tenant {tenant}: {len(files)} names, {names.count} counted"
            if any(file.tenant != tenant for file in files):
                yield f"tenant {tenant}: a name leads to another tenant's file"
        for file in {**self.kvfs.files, **dict.fromkeys(count)}:
            if file.names != count[file]:
                yield f"a file has {count[file]} names and counts {file.names}"
            if file not in self.kvfs.files:
                yield "a name leads to a file that has ended"
