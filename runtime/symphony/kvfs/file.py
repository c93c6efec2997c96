"""A KV file: tokens, and the pages that hold their keys and values.

    entries    0 ........ computed ........ length ........ len(tokens)
               K/V in pages │ K/V to compute │ of the operation in flight
               (pages beyond `computed` are reserved by the operation in flight)

States, by `busy` and by what is left:

        begin(tokens)                          settle(length)
    IDLE ─────────────▶ BUSY (K/V computed, dropped, recomputed) ─────────────▶ IDLE
      │ evict: computed = 0, tokens stay                                          │
      └── last handle and last name gone ──▶ ENDED (pages returned; a busy file ends when it settles)

Eviction and preemption only lower `computed`: an operation's work is always `tokens[computed:]`. A full page is
*published* to the prefix cache as soon as it is computed and is immutable from then on.
This module has no behaviour: `kvfs.py` does everything that is done to files.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from symphony.kvfs.modes import DEFAULT_MODE, Mode

if TYPE_CHECKING:
    from symphony.kvfs.arena import Arena
    from symphony.kvfs.names import Name


def no_tokens() -> array[int]:
    return array("I")


def no_names() -> dict[Name, None]:
    return {}


@dataclass(slots=True, eq=False)
class File:
    """All fields belong to `Kvfs`; others read."""

    arena: Arena
    """Pages and prefix cache of the file's model."""
    tenant: str
    owner: str
    created: float
    """Seconds since the epoch; so are the other times."""
    modified: float
    used: float
    """When somebody last opened, forked, changed or closed it."""
    tokens: array[int] = field(default_factory=no_tokens)
    length: int = 0
    """Tokens that the file has for everybody but the operation in flight."""
    computed: int = 0
    """Entries with K/V, `[0, computed)`."""
    pages: list[int] = field(default_factory=list[int])
    """The page table. Idle: exactly the pages of `[0, computed)`."""
    hashes: list[bytes] = field(default_factory=list[bytes])
    """Chained hashes of the leading full pages of `tokens`, as far as somebody asked."""
    published: int = 0
    """Leading pages that were offered to the prefix cache."""
    foreign: int = 0
    """Leading pages that came from another tenant's file: their keys in the prefix cache are under that one's salt."""
    busy: bool = False
    """An operation is in flight."""
    opens: int = 0
    """Open handles."""
    names: dict[Name, None] = field(default_factory=no_names)
    """The places in the trees of names where it is found."""
    mode: Mode = DEFAULT_MODE
    """Who may do what."""
    pins: int = 0
    """Pins that keep it on the device, and its names alive."""
    ttl: float | None = None
    """Seconds after the last use at which its names may go; None: never."""
