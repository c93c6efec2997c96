"""Names: one tree of paths a tenant, whose leaves are files.

Paths are keys, never paths of the operating system. They are absolute and must be written in normal form: no empty,
`.` or `..` component, no control character. A directory exists as long as a name lies below it. This module knows of a
file only that it counts its names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from symphony.errors import Exists, Invalid, LimitExceeded, NotFound
from symphony.kvfs.file import File
from symphony.param import MAX_NAMES_PER_TENANT, MAX_PATH_BYTES, MAX_PATH_DEPTH


@dataclass(slots=True)
class Entry:
    """A member of a directory listing."""

    name: str
    """The last component of the path."""
    is_directory: bool
    length: int
    """Tokens; 0 for a directory."""


def parse(path: str) -> tuple[str, ...]:
    """The components of a path, `()` for the root. Raises Invalid."""
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
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in part):
            raise Invalid(f"path {path!r} has a control character", "use printable characters")
    return parts


Directory = dict[str, "Directory | File"]


class Namespace:
    """The names of one tenant. Directories are never empty, except the root."""

    __slots__ = ("count", "root")

    def __init__(self) -> None:
        self.root: Directory = {}
        self.count = 0

    def find(self, path: str) -> File | None:
        """The file of that name. Raises Invalid (bad path, or a directory)."""
        parts = parse(path)
        node: Directory | File | None = self.root
        for part in parts:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            raise Invalid(f"{path} is a directory", "name a file")
        return node

    def get(self, path: str) -> File:
        """Like `find`; raises NotFound too."""
        file = self.find(path)
        if file is None:
            raise NotFound(f"no file is named {path}", "list the directory to see what is there")
        return file

    def put(self, path: str, file: File) -> File | None:
        """Give `file` the name, replacing who has it. Returns the file replaced.

        Raises Exists (the name is a directory, or a file is in the way), Invalid, LimitExceeded; nothing changes then.
        """
        parts = parse(path)
        if not parts:
            raise Invalid("the root directory cannot be a file", "name a file, as in /notes")
        node = self.root
        for i, part in enumerate(parts[:-1]):
            below = node.get(part)
            if isinstance(below, File):
                raise Exists(
                    f"/{'/'.join(parts[: i + 1])} is a file, so {path} cannot lie below it", "choose another path"
                )
            if below is None:
                break
            node = below
        else:
            if isinstance(node.get(parts[-1]), dict):
                raise Exists(f"{path} is a directory", "choose another path")
        old = self.find(path)
        if old is None and self.count >= MAX_NAMES_PER_TENANT:
            raise LimitExceeded(f"the tenant has {self.count} names, the most there may be", "unlink some")
        node = self.root
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            assert isinstance(node, dict)
        node[parts[-1]] = file
        file.names += 1
        if old is None:
            self.count += 1
        else:
            old.names -= 1
        return old

    def remove(self, path: str) -> File:
        """Take the name away. Raises NotFound, Invalid."""
        file = self.get(path)
        parts = parse(path)
        trail: list[Directory] = [self.root]
        for part in parts[:-1]:
            below = trail[-1][part]
            assert isinstance(below, dict)
            trail.append(below)
        for directory, part in zip(reversed(trail), reversed(parts), strict=True):
            if isinstance(below := directory[part], dict) and below:
                break
            del directory[part]
        file.names -= 1
        self.count -= 1
        return file

    def list(self, path: str) -> list[Entry]:
        """What lies directly below a directory, sorted. Raises NotFound, Invalid."""
        node: Directory | File | None = self.root
        for part in parse(path):
            node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            raise NotFound(f"no directory {path}", "a directory exists as long as a name lies below it")
        if isinstance(node, File):
            raise Invalid(f"{path} is a file", "list a directory")
        return [
            Entry(name, True, 0) if isinstance(below, dict) else Entry(name, False, below.length)
            for name, below in sorted(node.items())
        ]

    def files(self) -> Iterator[File]:
        """Every file, once a name."""
        stack = [self.root]
        while stack:
            for below in stack.pop().values():
                if isinstance(below, dict):
                    stack.append(below)
                else:
                    yield below
