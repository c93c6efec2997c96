"""`wasi:filesystem`: one empty, read-only directory at `/`. Guests' own error handling works; nothing is behind it."""

from __future__ import annotations

from typing import Any, NamedTuple

from symphony.syscall.values import Err, Ok
from symphony.syscall.wasi.registry import Registry

filesystem = Registry()

_DESCRIPTOR = "wasi:filesystem/types#[method]descriptor."
_HERE = ("", ".", "/", "./")


class Root:
    """The directory."""

    __slots__ = ()


class Entries:
    """A listing of the directory: empty."""

    __slots__ = ()


class DescriptorStat(NamedTuple):
    type: str
    link_count: int
    size: int
    data_access_timestamp: None = None
    data_modification_timestamp: None = None
    status_change_timestamp: None = None


class Hash(NamedTuple):
    lower: int
    upper: int


_STAT = DescriptorStat("directory", 1, 0)
_ABSENT = Err("no-entry")


@filesystem.on("wasi:filesystem/preopens#get-directories")
def directories(caller: Any) -> list[tuple[Root, str]]:
    return [(Root(), "/")]


@filesystem.on(_DESCRIPTOR + "get-flags")
def get_flags(caller: Any, descriptor: Root) -> Ok[list[str]]:
    return Ok(["read"])


@filesystem.on(_DESCRIPTOR + "get-type")
def get_type(caller: Any, descriptor: Root) -> Ok[str]:
    return Ok("directory")


@filesystem.on(_DESCRIPTOR + "stat")
def stat(caller: Any, descriptor: Root) -> Ok[DescriptorStat]:
    return Ok(_STAT)


@filesystem.on(_DESCRIPTOR + "stat-at")
def stat_at(caller: Any, descriptor: Root, how: Any, path: str) -> Ok[DescriptorStat] | Err[str]:
    return Ok(_STAT) if path in _HERE else _ABSENT


@filesystem.on(_DESCRIPTOR + "open-at")
def open_at(
    caller: Any, descriptor: Root, how: Any, path: str, opening: frozenset[str], flags: frozenset[str]
) -> Ok[Root] | Err[str]:
    if opening & {"create", "truncate"} or flags & {"write", "mutate-directory"}:
        return Err("not-permitted")
    return Ok(Root()) if path in _HERE else _ABSENT


@filesystem.on(_DESCRIPTOR + "read-directory")
def read_directory(caller: Any, descriptor: Root) -> Ok[Entries]:
    return Ok(Entries())


@filesystem.on("wasi:filesystem/types#[method]directory-entry-stream.read-directory-entry")
def read_directory_entry(caller: Any, entries: Entries) -> Ok[None]:
    return Ok(None)


@filesystem.on(_DESCRIPTOR + "metadata-hash")
def metadata_hash(caller: Any, descriptor: Root) -> Ok[Hash]:
    return Ok(Hash(1, 1))


@filesystem.on(_DESCRIPTOR + "metadata-hash-at")
def metadata_hash_at(caller: Any, descriptor: Root, how: Any, path: str) -> Ok[Hash] | Err[str]:
    return Ok(Hash(1, 1)) if path in _HERE else _ABSENT


@filesystem.on(_DESCRIPTOR + "readlink-at")
def readlink_at(caller: Any, descriptor: Root, path: str) -> Err[str]:
    return _ABSENT


@filesystem.on("wasi:filesystem/types#filesystem-error-code")
def filesystem_error_code(caller: Any, error: Any) -> None:
    return None
