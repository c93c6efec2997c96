"""What `stat` tells about a file. Knows nothing of how it is gathered."""

from __future__ import annotations

from dataclasses import dataclass

from symphony.kvfs.modes import Mode


@dataclass(slots=True)
class Stat:
    """As in `wit/kvfs.wit`; the mode as bits."""

    length: int
    """Tokens, a pending one included."""
    plain: int
    """Leading entries that are plain (semantics 5)."""
    next_position: int
    """Of the entry that comes next."""
    unique_pages: int
    """Pages that only this file holds."""
    shared_pages: int
    """Pages shared with other files or kept by the prefix cache too."""
    tier: str
    """'device', 'host' or 'evicted': where the keys and values are."""
    pinned: bool
    tenant: str
    owner: str
    """The principal it belongs to, one of the tenant's."""
    mode: Mode
    created: int
    """Seconds since the epoch; so are the other times."""
    modified: int
    used: int
    ttl: int | None
    """Seconds after the last use at which its names go."""
    names: int
