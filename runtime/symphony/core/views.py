"""Files as an operator sees them: plain records, and how they are made.

A `Lens` shows what one principal may see: its tenant's files and what lies below `/shared`, with the names and the
holders that are its tenant's own business. It changes nothing, the time of use of a file included.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from symphony.core.files import Files
from symphony.core.inspect import holders
from symphony.kvfs.file import File
from symphony.kvfs.modes import Mode, Principal
from symphony.kvfs.names import Directory
from symphony.kvfs.tree import SHARED
from symphony.param import MAX_SHOWN_NAMES


@dataclass(slots=True)
class DirectoryView:
    path: str
    members: int
    kind: str = "directory"


@dataclass(slots=True)
class FileView:
    """Seconds are since the epoch."""

    path: str
    """The name by which it was found; empty for a file that is open and has none."""
    model: str
    length: int
    """Tokens."""
    pages: int
    """Of its page table, shared ones included; on the host they lie in slots."""
    tier: str
    """'device', 'host' or 'evicted' (its K/V is computed again when somebody needs it)."""
    busy: bool
    """An operation is in flight on it."""
    pins: int
    """Reasons to keep its K/V on the device..."""
    held: bool
    """...one of which is an operator's."""
    tenant: str
    owner: str
    mode: str
    """As `rw-r-----`: of the owner, of its tenant, of everybody else."""
    created: float
    modified: float
    used: float
    ttl: float | None
    """Seconds after the last use at which its names go."""
    links: int
    """How many names it has."""
    names: list[str]
    """Some of them, `MAX_SHOWN_NAMES` at most, as far as they may be seen."""
    sessions: list[int]
    """Who has it open, likewise."""
    kind: str = "file"


@dataclass(slots=True)
class FileStat:
    """What takes a look at every page."""

    file: FileView
    plain: int
    """Leading entries that are plain (semantics 5)."""
    unique_pages: int
    """Pages that only this file holds."""
    shared_pages: int
    """Pages that other files, or the prefix cache, hold too."""


@dataclass(slots=True)
class Fork:
    """A file, and what it has in common with one that was there before it."""

    id: int
    """Within this answer."""
    file: FileView
    parent: int | None
    """The id of the file with which it shares the most leading pages. None: with none."""
    parent_path: str
    """Its name, if it has one."""
    shared: int
    """So many leading pages."""


@dataclass(slots=True)
class Space:
    """What the files below one name take. A page that several of them share counts once."""

    path: str
    """Empty: of open files that have no name."""
    files: int
    tokens: int
    table_pages: int
    """Pages if nothing were shared."""
    device_pages: int
    host_pages: int
    unique_pages: int
    """Of the two, those that nobody else holds: what there would be to win."""
    shared_pages: int
    """The others."""
    bytes: int
    """Of device and host pages; 0: the engine does not say."""
    disk_pages: int = 0
    """Pages on disk, synced or for want of room; they count beside the others."""
    device_bytes: int = 0
    host_bytes: int = 0
    disk_bytes: int = 0
    """What each tier has of them."""


Shown = DirectoryView | FileView


class Lens:
    """What `who` sees of a core's files at this moment. Not to be kept."""

    def __init__(self, core: Files, who: Principal) -> None:
        self.tree = core._tree
        self.who = who
        self.files = core._kvfs.files
        sessions = [item for item in core._sessions.items() if item[1].tenant == who.tenant]
        self._holders = holders(sessions)

    def find(self, path: str) -> Directory | File:
        """Raises NotFound, Invalid."""
        return self.tree.find(self.who, path)

    def below(self, path: str) -> list[tuple[str, Directory | File]]:
        """Everything below a directory, or the file of that name, with its path. Raises NotFound, Invalid."""
        node = self.find(path)
        if isinstance(node, File):
            return [(path, node)]
        prefix = "" if path == "/" else path
        found = [("/".join((prefix, *parts)), below) for parts, below in node.walk()]
        if path == "/" and self.tree.shared.members:
            found.append((f"/{SHARED}", self.tree.shared))
            found += [("/".join(("", SHARED, *parts)), below) for parts, below in self.tree.shared.walk()]
        return found

    def listing(self, path: str) -> list[Shown]:
        """What lies directly below a directory, sorted; of a file itself. Raises NotFound, Invalid."""
        node = self.find(path)
        if isinstance(node, File):
            return [self.file(node, path)]
        members = dict(node.members)
        if path == "/" and self.tree.shared.members:
            members[SHARED] = self.tree.shared
        prefix = "" if path == "/" else path
        return [self.show(below, f"{prefix}/{name}") for name, below in sorted(members.items())]

    def show(self, node: Directory | File, path: str) -> Shown:
        if isinstance(node, File):
            return self.file(node, path)
        members = len(node.members)
        if path == "/" and self.tree.shared.members:
            members += 1
        return DirectoryView(path, members)

    def file(self, file: File, path: str = "") -> FileView:
        return FileView(
            path=path,
            model=file.arena.model,
            length=file.length,
            pages=len(file.pages) or len(file.slots),
            tier=file.tier,
            busy=file.busy,
            pins=file.pins,
            held=file.held,
            tenant=file.tenant,
            owner=file.owner,
            mode=mode_text(file.mode),
            created=file.created,
            modified=file.modified,
            used=file.used,
            ttl=file.ttl,
            links=len(file.names),
            names=self.names(file),
            sessions=self._holders.get(file, []),
        )

    def names(self, file: File) -> list[str]:
        """Paths of the file, those in another tenant's tree left out. Few: a listing has them of each member."""
        paths: list[str] = []
        for directory, name in islice(file.names, MAX_SHOWN_NAMES):
            parts = [name]
            while directory.parent is not None:
                parts.append(directory.name)
                directory = directory.parent
            if directory is self.tree.shared:
                parts.append(SHARED)
            elif directory is not self.tree.roots.get(self.who.tenant):
                continue
            paths.append("/" + "/".join(reversed(parts)))
        return sorted(paths)

    def visible(self) -> list[File]:
        """The tenant's own files, and those that have a name below `/shared`; named ones first, then by age."""
        shared = {node for _, node in self.tree.shared.walk() if isinstance(node, File)}
        files = [file for file in self.files if file.tenant == self.who.tenant or file in shared]
        return sorted(files, key=lambda file: not file.names)

    def named_file(self, path: str) -> File:
        """Raises NotFound, Invalid."""
        return self.tree.file(self.who, path)


def mode_text(mode: Mode) -> str:
    """As `ls` writes it; nothing of it can be executed."""
    return "".join(("r" if mode >> bit & 1 else "-") + ("w" if mode >> bit & 2 else "-") + "-" for bit in (0, 2, 4))
