"""K/V goes to disk because memory is full, of files that nobody synced too: below the host tier, the oldest first.

    leave     device -> disk, where the host has no room: the file is on disk when the move is over
    ahead     host -> disk, before there is no room: the file stays on the host and may leave it at once from then on

What is written is an image like that of a sync, but no journal names it: it does not survive the host, and it gives
way to syncs and to what was used later (`Kvfs.take_disk`). Pure bookkeeping, as `tiers`, which queues the moves.
"""

from __future__ import annotations

from itertools import islice, takewhile

from symphony.errors import NoSpace
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.image import Image, unref_image
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.move import Move

SPARE_SHARE = 4
"""A part in so many of the host's slots is kept free, or on disk too."""
LOOKS = 256
"""Files that are looked at for what may leave the host, at most..."""
TRIES = 2
"""...of those, ones for which the disk has no room, at most, before it is left at that for the moment."""


class Spill:
    """One arena's way to the disk. All methods return at once."""

    def __init__(self, kvfs: Kvfs, arena: Arena) -> None:
        self.kvfs = kvfs
        self.arena = arena
        self.usable = True
        """False: the disk refused something a moment ago."""

    def can(self, file: File) -> bool:
        """Whether `leave` would succeed, and is worth it."""
        arena, loose = self.arena, self.kvfs.loose
        count = self.fresh(file)
        if not self.usable or not arena.disk.capacity or not file.computed or self.kvfs.is_imaged(file):
            return False
        staying = arena.pages_for(file.computed) - count if file in loose else 0  # its own, which it goes on with
        return self._is_worth(file) and loose.has_room(arena, count, file.tenant, staying)

    def _is_worth(self, file: File) -> bool:
        costs, pages = self.arena.costs, self.arena.pages_for(file.computed)
        return file.derived is not None or costs.prefers_disk(pages, file.computed)

    def attainable(self, tenant: str) -> int:
        """Slots that the tenant can have."""
        return self.kvfs.loose.attainable(self.arena, tenant) if self.usable else 0

    def leave(self, file: File) -> Move | None:
        """For a file on the device that no device step touches. None: there is no room after all."""
        arena = self.arena
        self.kvfs.trim(file)
        gain = arena.pool.private(file.pages)
        move = self._move(file)
        if move is None:
            return None
        move.pages, move.gain = list(file.pages), gain
        arena.ref(move.pages, file.tenant)
        arena.coming += gain
        file.move = move
        self.kvfs.note(file)
        return move

    def ahead(self) -> Move | None:
        """For the file that has been on the host for longest and is not on disk; None: enough of them are."""
        arena, kvfs = self.arena, self.kvfs
        if not self.usable or not arena.disk.capacity:
            return None
        lacking, tries = arena.host.capacity // SPARE_SHARE - arena.free_slots, TRIES
        for file in islice(kvfs.stowed, LOOKS):
            if lacking <= 0 or not tries:
                return None
            if file.arena is not arena or file.move is not None:
                continue
            if kvfs.is_imaged(file):
                lacking -= len(file.slots)
            elif self.can(file) and (move := self._move(file)) is not None:
                move.slots, move.clean = list(file.slots), True
                move.tokens, move.cuts = file.tokens[: file.computed], file.cuts
                arena.host.ref(move.slots, file.tenant)
                return move
            elif self._is_worth(file):
                tries -= 1
        return None

    def landed(self, move: Move, valid: bool) -> None:
        """It is written; the references of the move are still held. `valid`: the file waited for it."""
        file, image = move.file, move.image
        assert image is not None
        if move.clean:
            old = 0 if file.image is None else file.image.entries
            same = file.cuts == move.cuts and file.tokens[: image.entries] == move.tokens
            valid = same and old < image.entries and file in self.kvfs.files
        if valid:
            if file.image is None or file.image.entries < image.entries:  # else a sync has been there meanwhile
                self.kvfs.set_image(file, image, self._synced(file, image))
            if not move.clean:
                self.kvfs.drop(file)

    def _move(self, file: File) -> Move | None:
        arena, tenant, count = self.arena, file.tenant, self.fresh(file)
        have = arena.pages_for(file.computed) - count
        kept = file.image.slots[:have] if file.image is not None else ()
        arena.disk.ref(kept, tenant)
        try:
            fresh = self.kvfs.take_disk(arena, count, tenant)
        except NoSpace:
            unref_image(arena, kept, tenant)
            return None
        image = Image(file.computed, (*kept, *fresh))
        return Move(file, tenant, True, [], [], [], set(), saves=count, image=image)

    def fresh(self, file: File) -> int:
        """Pages that would have to be written: all but the full ones that are there."""
        have = 0 if file.image is None else min(file.image.entries // self.arena.page_size, len(file.image.slots))
        return max(self.arena.pages_for(file.computed) - have, 0)

    def _synced(self, file: File, image: Image) -> int:
        """Of the image that it gets, how many leading full pages a sync wrote."""
        if file.image is None:
            return 0
        known = self.kvfs.loose.get(file)
        if known is None:
            known = file.image.entries // self.arena.page_size
        both = zip(file.image.slots[:known], image.slots, strict=False)
        return sum(1 for _ in takewhile(lambda slots: slots[0] == slots[1], both))
