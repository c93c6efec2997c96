"""What the journal says of files that are to survive: plain records, and the state that a sequence of them amounts to.

    Put      the whole state of one file: tokens, where its K/V lies on disk, its names        replaces an earlier Put
    Named    its names, mode and time to live have changed                                     of a file that is there
    Dropped  it is gone

It knows nothing of pages beyond their numbers and checksums, and nothing of trees of names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

Name = tuple[bool, str]
"""(whether it lies in the tree that all tenants share, the path from there, without a leading slash)."""


class Format(msgspec.Struct, frozen=True, array_like=True):
    """Whose K/V it is, and how it lies in a page. Files of different formats have nothing in common."""

    model: str
    """The name that the model had, for people."""
    digest: str
    """Of weights, KV dtype, RoPE."""
    page_size: int
    """Tokens in a page."""
    page_bytes: int


class Put(msgspec.Struct, tag="put", array_like=True):
    """The state of a file when it was synced. Times are seconds since the epoch."""

    id: int
    tenant: str
    owner: str
    mode: int
    ttl: float | None
    created: float
    modified: float
    used: float
    names: list[Name]
    format: Format
    tokens: bytes
    """uint32, little-endian."""
    entries: int
    """Leading entries whose K/V is on disk."""
    derived: int | None
    """The first derived entry."""
    positions: bytes | None
    """Likewise uint32."""
    slots: list[int]
    """Where the pages of `[0, entries)` are..."""
    sums: list[bytes] = msgspec.field(default_factory=list[bytes])
    """...and their checksums, which the store fills in."""


class Named(msgspec.Struct, tag="named", array_like=True):
    id: int
    mode: int
    ttl: float | None
    used: float
    names: list[Name]


class Dropped(msgspec.Struct, tag="dropped", array_like=True):
    id: int


Record = Put | Named | Dropped
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])


def encode(records: Iterable[Record]) -> bytes:
    return _encoder.encode(list(records))


def decode(data: bytes) -> list[Record]:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(data)


@dataclass(slots=True)
class State:
    """The files that are to survive, by id, the one that was put last behind the others."""

    files: dict[int, Put] = field(default_factory=dict[int, Put])

    def apply(self, records: Iterable[Record]) -> None:
        for record in records:
            if isinstance(record, Put):
                self.files.pop(record.id, None)
                self.files[record.id] = record
            elif isinstance(record, Dropped):
                self.files.pop(record.id, None)
            elif (file := self.files.get(record.id)) is not None:
                file.mode, file.ttl, file.used, file.names = record.mode, record.ttl, record.used, record.names
