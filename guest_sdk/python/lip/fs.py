"""Names of KV files: `lip.fs.ls`, `stat`, `exists`, `rename`, `unlink`. All answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import _host
from .errors import NotFound, call


@dataclass(frozen=True, slots=True)
class Stat:
    """What is known of a file. `created` and `modified` are seconds since the epoch."""

    length: int
    unique_pages: int
    shared_pages: int
    owner: str
    created: int
    modified: int
    names: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A member of a directory listing; `length` in tokens."""

    name: str
    is_directory: bool
    length: int


def stat_of(raw: Any) -> Stat:
    return Stat(raw.length, raw.unique_pages, raw.shared_pages, raw.owner, raw.created, raw.modified, raw.names)


def ls(path: str = "/") -> list[Entry]:
    """The names below a directory, sorted."""
    return [Entry(raw.name, raw.is_directory, raw.length) for raw in call(_host.kvfs.list, _host.text(path))]


def stat(path: str) -> Stat:
    return stat_of(call(_host.kvfs.stat_path, _host.text(path)))


def exists(path: str) -> bool:
    """Whether a file has this name."""
    try:
        stat(path)
    except NotFound:
        return False
    return True


def rename(old: str, new: str) -> None:
    """Give a file another name; atomic, never replaces."""
    call(_host.kvfs.rename, _host.text(old), _host.text(new))


def unlink(path: str) -> None:
    """Remove a name. Contexts that are open stay usable."""
    call(_host.kvfs.unlink, _host.text(path))
