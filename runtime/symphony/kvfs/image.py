"""K/V on disk: the image of a file's first entries, in slots of the arena's third tier.

An image is a copy, written by a sync or because memory was full (`Kvfs.loose`). The file may have the same K/V on the
device or on the host as well, and goes on there; truncating the file cuts the image, appending leaves it as it is. Each
file that has an image holds a reference on its slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from symphony.kvfs.arena import Arena


class Image(NamedTuple):
    """Never changed, only replaced."""

    entries: int
    """The K/V of `[0, entries)`."""
    slots: tuple[int, ...]
    """Of the disk tier, one a page."""

    def cut(self, entries: int, page_size: int) -> Image:
        """Of the first `entries` only."""
        return Image(entries, self.slots[: -(-entries // page_size)])


def unref_image(arena: Arena, slots: Sequence[int], tenant: str) -> None:
    """One reference less on slots of the disk; those without one are free."""
    for slot in arena.disk.unref(slots, tenant):
        arena.forget_disk(slot)
        arena.disk.give(slot)
