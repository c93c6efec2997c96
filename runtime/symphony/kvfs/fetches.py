"""K/V from disk to the device: which pages it takes, and what of it somebody has read already.

A full page that was read holds what its slot on disk holds until somebody goes on in it. Whoever wants the same slot
meanwhile (forks of a file share them) has the page, or waits for the move that reads it. Plain and derived K/V alike;
who has the slot is who may have the page. Pure bookkeeping, as `tiers`, which queues the moves.
"""

from __future__ import annotations

from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs, Shortage
from symphony.kvfs.move import Move


class Fetches:
    """One arena's moves from disk. All methods return at once."""

    def __init__(self, kvfs: Kvfs, arena: Arena) -> None:
        self.kvfs = kvfs
        self.arena = arena
        self._reading: dict[int, tuple[int, Move]] = {}
        """Slots that a move reads all of now: into which page."""

    def begin(self, file: File, upto: int, spare: int = 0) -> Move | Shortage | None:
        """The move that reads what the image has more than the file, into pages for `[0, upto)`; all or nothing. None:
        there is nothing to come. For a file that is not on the host. `spare` pages stay available to others.

        Raises NoSpace if it can never fit.
        """
        arena, kvfs, image, tenant = self.arena, self.kvfs, file.image, file.tenant
        if file.move is not None or image is None or image.entries <= file.computed:
            return None
        kvfs.trim(file)
        total = arena.pages_for(max(upto, image.entries))
        kvfs.check_fits(file, total, upto)
        have, full = file.computed // arena.page_size, image.entries // arena.page_size
        move = Move(file, tenant, False, [], [], [], set(), image=image)
        known = {
            index: page
            for index, slot in enumerate(image.slots[:full])
            if index >= have and (page := self._page_of(slot, move)) is not None
        }
        cached = sum([not arena.pool.refs[page] for page in known.values()])
        missing = kvfs.shortage(file, total - have - len(known) + cached, spare)
        if missing:
            return missing
        arena.ref(file.pages[:have], tenant)
        for page in known.values():
            arena.hold(page, tenant)
        fresh = iter(arena.take(total - have - len(known), tenant))
        pages = [known[index] if index in known else next(fresh) for index in range(have, total)]
        if arena.freed:
            arena.freed = [page for page in arena.freed if page not in pages]  # a move writes them beside steps
        move.pages = file.pages[:have] + pages
        reads = [index for index in range(have, len(image.slots)) if index not in known]
        move.loads = [(image.slots[index], move.pages[index]) for index in reads]
        self._reading.update({image.slots[index]: (move.pages[index], move) for index in reads if index < full})
        arena.disk.ref(image.slots, tenant)
        file.move = move
        kvfs.note(file)
        return move

    def landed(self, move: Move, valid: bool) -> None:
        """It is read; the references of the move are still held. `valid`: the file waited for it."""
        file, arena, image = move.file, self.arena, move.image
        assert image is not None
        part = image.slots[-1] if image.entries % arena.page_size else None
        for slot, page in move.loads:
            if slot != part:
                arena.read_from(page, slot)
        if not valid:
            return
        self.kvfs.loose.used(file)
        arena.unref(file.pages, file.tenant)
        keep = len(move.pages) if file.busy else arena.pages_for(image.entries)
        file.pages, move.pages = move.pages[:keep], move.pages[keep:]
        self.kvfs.commit(file, image.entries)

    def forget(self, move: Move) -> None:
        """Nothing is read by this move any more."""
        for slot, page in move.loads:
            if self._reading.get(slot) == (page, move):
                del self._reading[slot]

    def _page_of(self, slot: int, move: Move) -> int | None:
        """The page that holds what the slot holds, or will when another move is over."""
        if slot in self._reading:
            page, other = self._reading[slot]
            move.needs.add(other)
            return page
        return self.arena.page_of_disk.get(slot)
