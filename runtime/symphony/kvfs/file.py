"""A KV file: tokens, and the pages or host slots that hold their keys and values.

    entries    0 ........ computed ........ length ........ len(tokens)
               has K/V     │ K/V to compute │ of the operation in flight
               (pages beyond `computed` are reserved by the operation in flight)

Where the K/V of `[0, computed)` lies:

    DEVICE (`pages`) ──stow: a move out──▶ HOST (`slots`) ──reserve, recall: a move back──▶ DEVICE
      │ drop (plain files only)              │ drop (plain files only)
      └──────────▶ NOWHERE (computed = 0; tokens stay, whoever needs the K/V computes it again) ◀┘

A file may have an `image` on disk of its first entries besides, whatever else holds: because it was synced, or because
memory was full (`spill`). From NOWHERE it comes back from there (`fetch`) rather than by computing, and derived K/V
that has an image may be dropped too.

and by `busy` and what is left:

        begin(tokens)                          settle(length)
    IDLE ─────────────▶ BUSY (K/V computed, moved, dropped, recomputed) ─────────────▶ IDLE
      └── last handle and last name gone ──▶ ENDED (pages returned; a busy file ends when it settles)

Dropping only lowers `computed`: an operation's work is always `tokens[computed:]`. A full plain page is *published* to
the prefix cache as soon as it is computed and is immutable from then on.
This module has no behaviour: `kvfs.py` and its siblings do everything that is done to files.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from symphony.kvfs.modes import DEFAULT_MODE, Mode

if TYPE_CHECKING:
    from symphony.kvfs.arena import Arena
    from symphony.kvfs.image import Image
    from symphony.kvfs.move import Move
    from symphony.kvfs.names import Name


def no_tokens() -> array[int]:
    return array("I")


def no_names() -> dict[Name, None]:
    return {}


@dataclass(slots=True, eq=False)
class File:
    """All fields belong to `kvfs`; others read."""

    arena: Arena
    """Pages, slots and prefix cache of the file's model."""
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
    cuts: int = 0
    """How often K/V was cut off: while it stays the same, K/V that was there is what is there. A clone counts on."""
    pages: list[int] = field(default_factory=list[int])
    """The page table, if the K/V is on the device. Idle: exactly the pages of `[0, computed)`."""
    slots: list[int] = field(default_factory=list[int])
    """Host slots of `[0, computed)`, if the K/V is on the host."""
    move: Move | None = None
    """The move that will change where the K/V lies. What cuts the file off from it sets None."""
    image: Image | None = None
    """K/V of the first entries on disk."""
    record: int | None = None
    """Its number among those that survive the host, once it was synced."""
    derived: int | None = None
    """The first derived entry (semantics 5); all later ones are derived too. None: all are plain."""
    positions: array[int] | None = None
    """Positions of entries `[0, len(positions))`, the later ones count on; None: entry `i` is at position `i`."""
    hashes: list[bytes] = field(default_factory=list[bytes])
    """Chained hashes of the leading full pages of `tokens`, as far as somebody asked."""
    published: int = 0
    """Leading pages that were offered to the prefix cache."""
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
    held: bool = False
    """One of the pins is an operator's."""
    ttl: float | None = None
    """Seconds after the last use at which its names may go; None: never."""
    touched: float = 0.0
    """When the last operation ended, on the clock of whoever runs steps."""
    resident: float = 0.0
    """Since when the K/V has been on the device, on that clock."""

    def position(self, entry: int) -> int:
        """RoPE position of an entry, also of one to come."""
        positions = self.positions
        if positions is None:
            return entry
        return positions[entry] if entry < len(positions) else positions[-1] + 1 + entry - len(positions)

    @property
    def ahead(self) -> int:
        """By how much the position of an entry to come exceeds its index; 0 if it does not."""
        return max(self.position(self.length) - self.length, 0)

    @property
    def tier(self) -> str:
        """ "device", "host", "disk", or "evicted": the K/V comes back by computing."""
        if self.slots:
            return "host"
        if self.pages or not self.length:
            return "device"
        return "evicted" if self.image is None else "disk"
