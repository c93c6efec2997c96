"""One file's K/V on its way between device, host and disk. What a move means is said in `tiers`, which makes them.

It holds references of its own on all that it names, so that the file may be forked, cut or closed meanwhile.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from symphony.kvfs.file import File
from symphony.kvfs.image import Image


@dataclass(slots=True, eq=False)
class Move:
    """One file's way to the other tier."""

    file: File
    tenant: str
    out: bool
    """To the host; else to the device."""
    pages: list[int]
    """The file's page table, before (out) or after; a reference is held on each."""
    slots: list[int]
    """Likewise the slots. When coming back there may be more pages than slots: room to go on."""
    copies: list[tuple[int, int]]
    """(page, slot) pairs whose contents have to be copied; the others have twins already, or will have by `needs`."""
    needs: set[Move]
    """Moves that are not over and copy what this one shares."""
    gain: int = 0
    """Pages that become available when it is over (out)."""
    loads: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(slot on disk, page) pairs to be read (a fetch)."""
    saves: int = 0
    """How many of the image's last slots are to be written, from the pages or the slots (a spill)."""
    image: Image | None = None
    """What is read or written; a reference is held on its slots."""
    tokens: array[int] | None = None
    """What the image is of, where the file may change meanwhile..."""
    cuts: int = 0
    """...and which cuts of the file it knows."""
    partial: int = -1
    """The page that the file will write next (back)."""
    clean: bool = False
    """The file stays where it is, and gets a copy (out)."""
    done: bool = False
    """It is over, and what it copied is there."""
    damaged: bool = False
    """What is on disk is not what was written."""
