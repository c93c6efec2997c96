"""Names: paths, and trees of directories whose leaves are files.

Paths are keys, never paths of the operating system. They are absolute and must be written in normal form: no empty,
`.` or `..` component, no control character. A directory that nobody made lives as long as a name lies below it; one
that was made stays. Files know their places, directories their parents: what moves, moves with all that lies below.
This module knows of a file only that it has places, and nothing of who may do what.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from symphony.errors import Exists, Invalid, NotFound
from symphony.kvfs.file import File
from symphony.param import MAX_PATH_BYTES, MAX_PATH_DEPTH

Parts = tuple[str, ...]
"""The components of a path; `()` is the root."""
Name = tuple["Directory", str]
"""A place where a file is found."""

_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(slots=True)
class Entry:
    """A member of a directory listing."""

    name: str
    """The last component of the path."""
    is_directory: bool
    length: int
    """Tokens; 0 for a directory."""


def parse(path: str) -> Parts:
    """The components of a path. Raises Invalid."""
    if len(path) > MAX_PATH_BYTES:  # before normalising, which takes time with the square of the length
        raise Invalid(f"the path is longer than {MAX_PATH_BYTES} bytes", "choose a shorter one")
    text = unicodedata.normalize("NFC", path)
    if not text.startswith("/"):
        raise Invalid(f"path {path!r} is not absolute", "begin it with a slash, as in /notes/today")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise Invalid(f"the path is longer than {MAX_PATH_BYTES} bytes", "choose a shorter one")
    if text == "/":
        return ()
    parts = tuple(text[1:].split("/"))
    if len(parts) > MAX_PATH_DEPTH:
        raise Invalid(f"the path has more than {MAX_PATH_DEPTH} components", "choose a flatter one")
    for part in parts:
        if part in ("", ".", ".."):
            raise Invalid(f"path {path!r} has the component {part!r}", "write the path without '//', '.' and '..'")
        if any(unicodedata.category(c) in _REFUSED for c in part):
            raise Invalid(f"path {path!r} has a control character", "use printable characters")
    return parts


class Directory:
    """Names and what they lead to."""

    __slots__ = ("maker", "members", "name", "parent")

    def __init__(self, parent: Directory | None, name: str, maker: str | None = None) -> None:
        self.parent = parent
        """None: the root, or a directory that was removed."""
        self.name = name
        self.maker = maker
        """The tenant that made it; None: it is there for what lies below."""
        self.members: dict[str, Directory | File] = {}

    # ---- looking ---------------------------------------------------------------------------------------------------
    def find(self, parts: Parts) -> Directory | File | None:
        """What the path leads to."""
        node: Directory | File | None = self
        for part in parts:
            node = node.members.get(part) if isinstance(node, Directory) else None
        return node

    def directory(self, parts: Parts, path: str) -> Directory:
        """The directory of that name; raises NotFound, Invalid (a file)."""
        node = self.find(parts)
        if node is None:
            raise NotFound(f"no directory {path}", "a directory exists once it is made, or while a name lies below it")
        if isinstance(node, File):
            raise Invalid(f"{path} is a file", "name a directory")
        return node

    def list(self) -> list[Entry]:
        """What lies directly below, sorted."""
        return [
            Entry(name, True, 0) if isinstance(below, Directory) else Entry(name, False, below.length)
            for name, below in sorted(self.members.items())
        ]

    def walk(self) -> Iterator[tuple[Parts, Directory | File]]:
        """Everything below, with its path from here."""
        stack: list[tuple[Parts, Directory]] = [((), self)]
        while stack:
            parts, directory = stack.pop()
            for name, below in directory.members.items():
                yield (*parts, name), below
                if isinstance(below, Directory):
                    stack.append(((*parts, name), below))

    def check_free(self, parts: Parts, path: str) -> None:
        """Raises Exists unless something could be put there."""
        node: Directory | File = self
        for i, part in enumerate(parts):
            if isinstance(node, File):
                above = path.split("/")[: i - len(parts)]
                raise Exists(f"{'/'.join(above)} is a file, so {path} cannot lie below it", "choose another path")
            below = node.members.get(part)
            if below is None:
                return
            node = below
        what = "is a directory" if isinstance(node, Directory) else "exists already"
        raise Exists(f"{path} {what}", "choose another path, or unlink it first")

    # ---- changing --------------------------------------------------------------------------------------------------
    def parent_of(self, parts: Parts) -> Directory:
        """The directory that `parts` lies in; made where it is missing. Nothing but directories is in the way."""
        directory = self
        for part in parts[:-1]:
            below = directory.members.get(part)
            if below is None:
                below = directory.members[part] = Directory(directory, part)
            assert isinstance(below, Directory)
            directory = below
        return directory

    def put(self, parts: Parts, node: File | Directory) -> None:
        """Give `node` the name, which is free."""
        directory = self.parent_of(parts)
        directory.members[parts[-1]] = node
        if isinstance(node, Directory):
            node.parent, node.name = directory, parts[-1]
        else:
            node.names[directory, parts[-1]] = None

    def remove(self, name: str) -> File | Directory:
        """Take a member out, and with it the directories above that only it kept."""
        node = self.members.pop(name)
        if isinstance(node, Directory):
            node.parent = None
        else:
            del node.names[self, name]
        directory = self
        while not directory.members and directory.maker is None and directory.parent is not None:
            above = directory.parent
            del above.members[directory.name]
            directory.parent = None
            directory = above
        return node
