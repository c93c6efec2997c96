"""K/V on disk: the image of a file's first entries, in slots of the arena's third tier.

An image is a copy, written by a sync or because memory was full (`Kvfs.loose`). The file may have the same K/V on the
device or on the host as well, and goes on there; truncating the file cuts the image, appending leaves it as it is. Each
file that has an image holds a reference on its slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from symphony.kvfs.arena import Arena

if TYPE_CHECKING:
    from symphony.kvfs.file import File

LOOKS = 256
"""Files that are looked at for room on disk, at most."""


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
        arena.disk.give(slot)


def is_spare(file: File) -> bool:
    """Whether its K/V is there, or comes back, without the image."""
    return file.image is None or file.derived is None or file.computed >= file.image.entries


def give_way(loose: Mapping[File, int], arena: Arena, count: int, tenant: str) -> list[File] | None:
    """Whose images, but for so many leading pages (`loose`), have to go for the tenant to have `count` slots on disk;
    None: it cannot have them. Those that are read or written now stay."""
    disk = arena.disk
    over = count + disk.used.get(tenant, 0) - arena.disk_of(tenant)
    lacking = max(over, count - len(disk.free))
    found: list[File] = []
    left: dict[int, int] = {}
    for file in islice(loose, LOOKS) if lacking > 0 else ():
        mine = file.arena is arena and (over <= 0 or file.tenant == tenant)
        if not mine or file.move is not None or file.image is None or not is_spare(file):
            continue
        found.append(file)
        for slot in file.image.slots[loose[file] :]:
            left.setdefault(slot, disk.refs[slot] if over <= 0 else disk.held(slot, tenant))
            left[slot] -= 1
            lacking -= not left[slot]
        if lacking <= 0:
            break
    return found if lacking <= 0 else None
