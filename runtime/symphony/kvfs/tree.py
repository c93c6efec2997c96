"""The names of files: what can be done to them, by whom, and how long they last.

    /            one tree a tenant; all files in it are the tenant's own
    /shared      one tree for all tenants: everybody looks, who may `share` changes

Works on a `Kvfs` through `create`, `fork`, `reopen`, `close`, `check_idle`, `end_if_unused`, `stat` and
`changed_record` alone. No call sees a name that has outlived its time. Meanings: semantics 8, 20.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable

from symphony.errors import Exists, Invalid, LimitExceeded, NotFound, PermissionDenied
from symphony.kvfs.agenda import Agenda
from symphony.kvfs.file import File
from symphony.kvfs.glob import Glob
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.modes import READ, SHARED_MODE, WRITE, Mode, Principal, require, require_owner
from symphony.kvfs.names import Directory, Entry, Parts, parse
from symphony.kvfs.spot import Spot
from symphony.kvfs.stat import Stat
from symphony.param import (
    MAX_NAMES_AT_ONCE,
    MAX_NAMES_PER_TENANT,
    MAX_PATH_BYTES,
    MAX_PATH_DEPTH,
    MAX_TTL_SECONDS,
    SWEEP_FILES,
)

SHARED = "shared"


class Tree:
    """All methods return at once, and raise before they change anything."""

    def __init__(self, kvfs: Kvfs, max_names: int = MAX_NAMES_PER_TENANT) -> None:
        self.kvfs = kvfs
        self.max_names = max_names
        self.roots: dict[str, Directory] = {}
        self.shared = Directory(None, SHARED)
        self.counts: Counter[str] = Counter()
        """Names of each tenant's files, and directories that it made."""
        self.agenda: Agenda[File] = Agenda()
        """Named files with a time to live that nobody has open."""

    # ---- files by name -------------------------------------------------------------------------------------------
    def open(
        self,
        who: Principal,
        model: str,
        path: str,
        *,
        write: bool = False,
        create: bool = False,
        exclusive: bool = False,
    ) -> File:
        """The named file, with one more handle; without `write`, a private fork of it.

        Raises NotFound, Exists (`exclusive`, or a file is in the way), PermissionDenied, Invalid (path, flags, or made
        by another model), LimitExceeded.
        """
        if create and not write:
            raise Invalid("open: create without write", "add the flag write")
        spot = self._spot(who, path)
        node = spot.find()
        if isinstance(node, Directory):
            raise Invalid(f"{path} is a directory", "name a file")
        if node is None:
            if not create:
                raise _no_file(path)
            return self._make(who, spot, model)
        if create and exclusive:
            raise Exists(f"{path} exists already", "leave out the flag exclusive to open it")
        if write:
            self._check_change(who, spot)
        require(node, who, READ | WRITE if write else READ, path)
        if node.arena.model != model:
            raise Invalid(f"{path} was made by the model {node.arena.model}, not {model}", "open it with that model")
        if not write:
            found = self.kvfs.fork(node, who.tenant, who.owner)
        else:
            self.kvfs.reopen(node)
            found = node
        if node.ttl is not None:
            self.kvfs.changed_record(node)  # it was used, and may be for so long again
        return found

    def save(self, who: Principal, file: File, path: str, overwrite: bool) -> None:
        """Name a snapshot of the file. Raises Exists, PermissionDenied, Invalid, Busy, LimitExceeded."""
        require(file, who, READ)
        self.kvfs.check_idle(file)
        spot, old = self.target(who, path, overwrite)
        snapshot = self.kvfs.fork(file, who.tenant, who.owner)
        if spot.root is self.shared:
            snapshot.mode = SHARED_MODE
        if old is not None:
            record = old.record
            self._take(spot)
            if not old.names and old.tenant == who.tenant:
                snapshot.record = record  # what was synced stays until this is synced, or unlinked
        self._give(spot, snapshot)
        self.kvfs.close(snapshot)
        if old is not None:
            self.kvfs.end_if_unused(old)

    def target(self, who: Principal, path: str, overwrite: bool) -> tuple[Spot, File | None]:
        """Where a file may be saved, and what is there. Raises as `save`."""
        spot = self._spot(who, path)
        self._check_change(who, spot)
        there = spot.find()
        old = there if isinstance(there, File) else None
        if old is None:
            spot.check_free()
        elif overwrite:
            require(old, who, WRITE, path)
        else:
            hint = "overwrite it (symphony fs cp -f, &overwrite=1), or choose another path"
            raise Exists(f"{path} exists already", hint)
        if old is None or old.tenant != who.tenant:
            self._check_room(who, spot)
        return spot, old

    def link(self, who: Principal, file: File, path: str) -> None:
        """Give the file itself a further name. Raises Exists, PermissionDenied, Invalid, LimitExceeded."""
        require(file, who, WRITE)
        if file.tenant != who.tenant:
            raise PermissionDenied("the file belongs to another tenant, which keeps its names", "save a snapshot of it")
        spot = self._spot(who, path)
        self._check_change(who, spot)
        spot.check_free()
        self._check_room(who, spot)
        self._give(spot, file)

    def file(self, who: Principal, path: str) -> File:
        """The file of that name. Raises NotFound, Invalid."""
        return self._file(self._spot(who, path))

    def find(self, who: Principal, path: str) -> Directory | File:
        """What has that name. Raises NotFound, Invalid."""
        node = self._spot(who, path).find()
        if node is None:
            raise NotFound(f"nothing is named {path}", "list the directory above to see what is there")
        return node

    def stat_path(self, who: Principal, path: str) -> Stat:
        """Raises NotFound, Invalid."""
        return self.kvfs.stat(self.file(who, path))

    def set_mode(self, who: Principal, file: File, mode: Mode) -> None:
        """Raises PermissionDenied unless the file is one's own."""
        require_owner(file, who)
        file.mode = mode
        self.kvfs.changed_record(file)

    # ---- names ---------------------------------------------------------------------------------------------------
    def mkdir(self, who: Principal, path: str) -> None:
        """Make a directory, which stays when it is empty. Raises Exists, PermissionDenied, Invalid, LimitExceeded."""
        spot = self._spot(who, path)
        self._check_change(who, spot)
        node = spot.find() if spot.parts else None
        if not isinstance(node, Directory) or node.maker is not None:
            spot.check_free()
            spot.check_room()
        self._check_count(who.tenant)
        self.counts[who.tenant] += 1
        if isinstance(node, Directory):
            node.maker = who.tenant
        else:
            spot.root.put(spot.parts, Directory(None, "", who.tenant))

    def rename(self, who: Principal, old: str, new: str) -> None:
        """Move a file, or a directory with all that lies below. Raises NotFound, Exists, PermissionDenied, Invalid."""
        source, target = self._spot(who, old), self._spot(who, new)
        self._check_change(who, source)
        self._check_change(who, target)
        node = source.find()
        if node is None:
            raise _no_file(old)
        inside = source.root is target.root and target.parts[: len(source.parts)] == source.parts
        if isinstance(node, Directory) and inside and target.parts != source.parts:
            raise Invalid(f"{new} lies inside {old}", "move it somewhere else")
        target.check_free()
        if source.root is not target.root or source.parts[:-1] != target.parts[:-1]:
            target.check_room()
        below = node.walk() if isinstance(node, Directory) else ()
        moved = [((), node), *itertools.islice(below, MAX_NAMES_AT_ONCE + 1)]
        if len(moved) > MAX_NAMES_AT_ONCE:
            raise LimitExceeded(
                f"{old} has {MAX_NAMES_AT_ONCE} names or more below it, too many for one move", "move its parts"
            )
        for parts, member in moved:
            self._check_move(who, member, parts, source, target)
        self._take_node(source)
        target.root.put(target.parts, node)
        for _, member in moved:
            if isinstance(member, File):
                self.kvfs.changed_record(member)

    def unlink(self, who: Principal, path: str) -> None:
        """Remove a name, or an empty directory. Raises NotFound, PermissionDenied, Invalid."""
        spot, node = self._changeable(who, path)
        if isinstance(node, File):
            require(node, who, WRITE, path)
            self._take(spot)
            self.kvfs.end_if_unused(node)
            return
        if node.members:
            raise Invalid(f"the directory {path} is not empty", "unlink first what lies below")
        self._check_maker(who, node, path)
        self.counts[who.tenant] -= 1
        self._take_node(spot)

    def unlink_all(self, who: Principal, path: str) -> None:
        """Remove a name and all that lies below it, or nothing. Raises as `unlink`, LimitExceeded."""
        spot, node = self._changeable(who, path)
        below = node.walk() if isinstance(node, Directory) else ()
        found = [((), node), *itertools.islice(below, MAX_NAMES_AT_ONCE + 1)]
        if len(found) > MAX_NAMES_AT_ONCE:
            raise LimitExceeded(f"{path} has {MAX_NAMES_AT_ONCE} names or more below it", "remove its parts")
        for parts, member in found:
            where = "/".join((path, *parts))
            if isinstance(member, File):
                require(member, who, WRITE, where)
            else:
                self._check_maker(who, member, where)
        for parts, member in reversed(found):  # what lies below first
            if isinstance(member, Directory) and member.maker is None:
                continue  # it went with the last of its members
            directory = spot.root.find((*spot.parts, *parts)[:-1])
            assert isinstance(directory, Directory)
            directory.remove((*spot.parts, *parts)[-1])
            self.counts[member.tenant if isinstance(member, File) else who.tenant] -= 1
            if isinstance(member, File):
                self.kvfs.changed_record(member)
                self.kvfs.end_if_unused(member)

    def list(self, who: Principal, path: str) -> list[Entry]:
        """What lies directly below a directory, sorted; `/shared` if something is there. Raises NotFound, Invalid."""
        spot = self._spot(who, path)
        for node in list(spot.root.directory(spot.parts, path).members.values()):
            self._drop_if_expired(node)
        entries = spot.root.directory(spot.parts, path).list()
        if not spot.parts and spot.root is not self.shared and self.shared.members:
            entries = sorted([*entries, Entry(SHARED, True, 0)], key=lambda entry: entry.name)
        return entries

    def glob(self, who: Principal, pattern: str) -> list[str]:
        """The files whose paths match, sorted. What is shared is looked at if the pattern begins with `/shared`.

        Raises Invalid, LimitExceeded.
        """
        spot = self._spot(who, pattern)
        prefix = f"/{SHARED}/" if spot.root is self.shared else "/"
        found = Glob(spot.parts).files(spot.root, MAX_NAMES_AT_ONCE)
        return [prefix + "/".join(parts) for parts in found if not self._drop_if_expired(spot.root.find(parts))]

    # ---- what survives the host ----------------------------------------------------------------------------------
    def places(self, file: File) -> list[tuple[bool, str]]:
        """Its names: whether each is shared, and the path in its tree, without a leading slash."""
        found: list[tuple[bool, str]] = []
        for directory, name in file.names:
            parts, node = [name], directory
            while node.parent is not None:
                parts.append(node.name)
                node = node.parent
            found.append((node is self.shared, "/".join(reversed(parts))))
        return found

    def restore(self, file: File, places: Iterable[tuple[bool, str]]) -> None:
        """Give a file of an earlier life its names again, as far as they are free."""
        for shared, path in places:
            root = self.shared if shared else self.roots.setdefault(file.tenant, Directory(None, ""))
            spot = Spot(root, tuple(path.split("/")), path)
            with contextlib.suppress(Exists):
                spot.check_free()
                spot.root.put(spot.parts, file)
                self.counts[file.tenant] += 1
        self._expect(file)

    # ---- times to live -------------------------------------------------------------------------------------------
    def set_ttl(self, who: Principal, file: File, seconds: float | None) -> None:
        """Let the file's names go so many seconds after its last use; None: never. Raises PermissionDenied, Invalid."""
        require(file, who, WRITE)
        if seconds is not None and not 0 <= seconds <= MAX_TTL_SECONDS:
            raise Invalid(f"a time to live of {seconds} seconds", f"use 0 to {MAX_TTL_SECONDS}, or none for ever")
        file.ttl = seconds
        file.used = self.kvfs.clock()
        self.kvfs.changed_record(file)
        self.rest(file)

    def rest(self, file: File) -> None:
        """A handle of the file was closed, it got a name or another time to live, or was unpinned."""
        if self._expect(file):
            self.kvfs.changed_record(file)

    def _expect(self, file: File) -> bool:
        """Whether its names may go some day."""
        if file.ttl is None or not file.names or file.opens:
            return False
        self.agenda.add(file, file.used + file.ttl)
        return True

    def sweep(self) -> float | None:
        """Remove names that have outlived their time, of a few files. Returns when the next may; None: none will."""
        if not self.agenda:
            return None
        now = self.kvfs.clock()
        for file in self.agenda.due(now, SWEEP_FILES):
            if file.ttl is None or file.opens or not file.names or self._drop_if_expired(file):
                continue
            self.agenda.add(file, now + max(file.ttl, 1.0) if file.pins else file.used + file.ttl)
        return self.agenda.first()

    def _drop_if_expired(self, file: File | Directory | None) -> bool:
        """Remove all names of a file that have outlived their time. Whether there is none (any more)."""
        if not isinstance(file, File):
            return file is None
        if file.ttl is None or file.opens or file.pins or file.used + file.ttl > self.kvfs.clock():
            return False
        for directory, name in list(file.names):
            directory.remove(name)
            self.counts[file.tenant] -= 1
        self.kvfs.changed_record(file)
        self.kvfs.end_if_unused(file)
        return True

    # ---- the inside ----------------------------------------------------------------------------------------------
    def _spot(self, who: Principal, path: str) -> Spot:
        self.sweep()
        parts = parse(path)
        if parts and parts[0] == SHARED:
            root, parts = self.shared, parts[1:]
        elif (root := self.roots.get(who.tenant)) is None:
            root = self.roots[who.tenant] = Directory(None, "")
        node: File | Directory | None = root
        for part in parts:
            node = node.members.get(part) if isinstance(node, Directory) else None
            if isinstance(node, File):
                self._drop_if_expired(node)
        return Spot(root, parts, path)

    def _changeable(self, who: Principal, path: str) -> tuple[Spot, File | Directory]:
        """A name that may be taken out of its directory, and what it names. Raises NotFound, PermissionDenied."""
        spot = self._spot(who, path)
        self._check_change(who, spot)
        node = spot.find()
        if node is None:
            raise _no_file(path)
        return spot, node

    def _file(self, spot: Spot) -> File:
        node = spot.find()
        if node is None:
            raise _no_file(spot.path)
        if isinstance(node, Directory):
            raise Invalid(f"{spot.path} is a directory", "name a file")
        return node

    def _make(self, who: Principal, spot: Spot, model: str) -> File:
        self._check_change(who, spot)
        spot.check_free()
        self._check_room(who, spot)
        file = self.kvfs.create(who.tenant, who.owner, model)
        if spot.root is self.shared:
            file.mode = SHARED_MODE
        self._give(spot, file)
        return file

    def _give(self, spot: Spot, file: File) -> None:
        """Name a file."""
        spot.root.put(spot.parts, file)
        self.kvfs.changed_record(file)
        self.counts[file.tenant] += 1
        self.rest(file)

    def _take(self, spot: Spot) -> None:
        """Take a file's name away."""
        file = self._take_node(spot)
        assert isinstance(file, File)
        self.kvfs.changed_record(file)
        self.counts[file.tenant] -= 1

    def _take_node(self, spot: Spot) -> File | Directory:
        directory = spot.root.find(spot.parts[:-1])
        assert isinstance(directory, Directory)
        return directory.remove(spot.parts[-1])

    def _check_change(self, who: Principal, spot: Spot) -> None:
        """Raises unless `who` may change a name there."""
        if not spot.parts:
            raise Invalid(f"{spot.path} is always there, and a directory", "name something below it")
        if spot.root is self.shared and not who.share:
            raise PermissionDenied(
                f"{spot.path}: names below /{SHARED} can be changed by who was granted that only",
                "ask the operator, or use a name outside of it",
            )

    def _check_move(self, who: Principal, node: File | Directory, below: Parts, source: Spot, target: Spot) -> None:
        """Raises unless `node`, which lies `below` what is moved, may go along."""
        path = "/".join((source.path, *below))
        if isinstance(node, File):
            require(node, who, WRITE, path)
            if node.tenant != who.tenant and target.root is not self.shared:
                raise PermissionDenied(f"{path} belongs to another tenant", "open it and save a copy of your own")
        else:
            self._check_maker(who, node, path)
        parts = target.parts + below
        size = len("/".join(("", *parts)).encode()) + (len(SHARED) + 1 if target.root is self.shared else 0)
        if len(parts) + (target.root is self.shared) > MAX_PATH_DEPTH or size > MAX_PATH_BYTES:
            raise Invalid(
                f"{path} would get a path of more than {MAX_PATH_DEPTH} components or {MAX_PATH_BYTES} bytes",
                "choose a shorter one",
            )

    def _check_maker(self, who: Principal, directory: Directory, path: str) -> None:
        if directory.maker not in (None, who.tenant):
            raise PermissionDenied(f"the directory {path} was made by another tenant", "leave it there")

    def _check_room(self, who: Principal, spot: Spot) -> None:
        """Raises LimitExceeded if there may be no further name there."""
        spot.check_room()
        self._check_count(who.tenant)

    def _check_count(self, tenant: str) -> None:
        if self.counts[tenant] >= self.max_names:
            raise LimitExceeded(f"the tenant has {self.max_names} names, the most there may be", "unlink some")


def _no_file(path: str) -> NotFound:
    return NotFound(f"no file is named {path}", "list the directory to see what is there")
