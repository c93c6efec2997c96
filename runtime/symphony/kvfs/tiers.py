"""Two tiers: taking a file's K/V off the device, and bringing it back.

A *move* copies whole pages between device pages and host slots, beside the steps. It holds references of its own, so
the file may be forked, cut or closed meanwhile; what cuts the file off from its move sets `file.move` to None, and the
move then only cleans up after itself. Per file (semantics 19):

    stow      device -> host; the file keeps its pages until the move is over
    recall    host -> device; all pages at once or none; the file keeps its slots until the move is over
    discard   plain K/V is dropped where computing it again is cheaper, or the host has no room for it

Pure bookkeeping: someone else runs the moves in `Tiers.waiting`, in any grouping, and calls `finish` for each.
"""

from __future__ import annotations

from dataclasses import dataclass

from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs, Shortage
from symphony.kvfs.standby import Standby


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
    partial: int = -1
    """The page that the file will write next (back)."""
    done: bool = False
    """It is over, and what it copied is there."""


class Tiers:
    """One arena's moves. All methods return at once."""

    def __init__(self, kvfs: Kvfs, arena: Arena) -> None:
        self.kvfs = kvfs
        self.arena = arena
        self.standby = Standby(kvfs, arena)
        self.waiting: list[Move] = []
        """Moves that nobody runs yet."""
        self.usable = True
        """False: the host tier lost something once and is not written any more."""
        self.stowed_pages = 0
        """Pages copied to the host so far."""
        self.recalled_pages = 0
        self.dropped_tokens = 0
        """Entries given up, to be computed again if somebody wants them."""
        self._leaving: dict[int, tuple[int, Move]] = {}
        """Pages that a move copies now: to which slot."""
        self._arriving: dict[int, tuple[int, Move]] = {}
        """Slots that a move copies now: to which page."""

    # ---- off the device ------------------------------------------------------------------------------------------
    def discard(self, file: File) -> bool:
        """Take the file's K/V off the device: at once by dropping it, or by a move that ends later. For a file that no
        device step touches. False: it has to stay (derived, and the host is full)."""
        if file.move is not None:
            return False
        plain = file.derived is None
        if (plain and not self._worth_moving(file)) or not self._make_slots(file):
            if not plain:
                return False
            self.dropped_tokens += file.computed
            self.kvfs.drop(file)
            return True
        self._stow(file)
        return True

    def can_discard(self, file: File) -> bool:
        """Whether `discard` would succeed."""
        if file.move is not None:
            return False
        return file.derived is None or self._can_have(file)

    def cost(self, file: File) -> float:
        """Seconds that it takes to take the file's K/V off the device and to get it back."""
        costs = self.arena.costs
        move = 2 * len(file.pages) * costs.page_seconds
        if file.derived is not None or costs.token_seconds is None:
            return move
        return min(move, file.computed * costs.token_seconds)

    def _worth_moving(self, file: File) -> bool:
        costs = self.arena.costs
        if costs.token_seconds is None:
            return True
        return 2 * len(file.pages) * costs.page_seconds < file.computed * costs.token_seconds

    def _stow(self, file: File) -> None:
        arena = self.arena
        held = arena.pages_for(file.computed)
        if held < len(file.pages):  # reserved, but not written
            arena.unref(file.pages[held:], file.tenant)
            del file.pages[held:]
        gain = arena.pool.private(file.pages)
        arena.ref(file.pages, file.tenant)
        move = Move(file, file.tenant, True, list(file.pages), [], [], set(), gain)
        for page in move.pages:
            slot = self._slot_of(page, move)
            if slot is not None:
                arena.host.ref((slot,), file.tenant)
            else:
                slot = arena.host.take(file.tenant)
                move.copies.append((page, slot))
                self._leaving[page] = slot, move
            move.slots.append(slot)
        file.move = move
        self.kvfs.note(file)
        if move.copies or move.needs:
            arena.coming += gain
            self.waiting.append(move)
        else:
            move.gain = 0
            self.finish(move, True)

    def _slot_of(self, page: int, move: Move) -> int | None:
        """The slot that holds the same as the page, or will when another move is over."""
        if page in self._leaving:
            slot, other = self._leaving[page]
            move.needs.add(other)
            return slot
        return self.arena.slot_of_page.get(page)

    def _make_slots(self, file: File) -> bool:
        """Enough free slots for the file, dropping plain files' K/V from the host for it, the oldest first. False:
        there cannot be."""
        if not self._can_have(file):
            return False
        host = self.arena.host
        while True:
            need = self.slots_for(file)
            own = host.used.get(file.tenant, 0) + need > self._own(file)
            if not own and len(host.free) >= need:
                return True
            victim = next(self.standby.spare(file.tenant if own else None).in_order(), None)
            if victim is None:
                return False
            self.dropped_tokens += victim.computed
            self.kvfs.drop(victim)

    def attainable(self, tenant: str) -> int:
        """Slots that the tenant can have for a derived file if plain files' K/V goes for it; -1: it cannot even share
        any."""
        arena = self.arena
        return self._attainable(tenant, min(arena.tenant_slots, arena.kept_slots)) if self.usable else -1

    def _attainable(self, tenant: str, limit: int) -> int:
        host, standby = self.arena.host, self.standby
        left = limit - host.used.get(tenant, 0)
        return min(len(host.free) + standby.spare(None).gain, left + standby.spare(tenant).gain)

    def _can_have(self, file: File) -> bool:
        """Whether there are slots for the file, or will be if plain files' K/V goes for it."""
        need, host = self.slots_for(file), self.arena.host
        free = min(len(host.free), self._own(file) - host.used.get(file.tenant, 0))
        return self.usable and (need <= free or need <= self._attainable(file.tenant, self._own(file)))

    def _own(self, file: File) -> int:
        """Slots that its tenant may hold for the file to get some."""
        arena = self.arena
        return arena.tenant_slots if file.derived is None else min(arena.tenant_slots, arena.kept_slots)

    def slots_for(self, file: File) -> int:
        """Slots that the file needs and that do not hold the same as its pages yet."""
        twins, leaving = self.arena.slot_of_page, self._leaving
        pages = file.pages[: self.arena.pages_for(file.computed)]
        return sum([page not in twins and page not in leaving for page in pages])

    # ---- back ----------------------------------------------------------------------------------------------------
    def recall(self, file: File, upto: int, spare: int = 0) -> Shortage | None:
        """Bring the K/V back, with pages for entries `[0, upto)`, all or nothing; None: it comes, or is there.

        `spare` pages stay available to others. Raises NoSpace if it can never fit.
        """
        if file.move is not None or not file.slots:
            return None
        arena, kvfs = self.arena, self.kvfs
        total = arena.pages_for(max(upto, file.computed))
        kvfs.check_fits(file, total, upto)
        partial = file.computed // arena.page_size if file.computed % arena.page_size else -1
        move = Move(file, file.tenant, False, [], list(file.slots), [], set())
        twins = {
            index: page
            for index, slot in enumerate(file.slots)
            if index != partial and (page := self._page_of(slot, move)) is not None
        }
        cached = sum([not arena.pool.refs[page] for page in twins.values()])
        missing = kvfs.shortage(file, total - len(twins) + cached, spare)
        if missing:
            return missing
        for page in twins.values():
            arena.hold(page, file.tenant)
        fresh = iter(arena.take(total - len(twins), file.tenant))
        move.pages = pages = [twins[index] if index in twins else next(fresh) for index in range(total)]
        move.copies = [(pages[index], slot) for index, slot in enumerate(file.slots) if index not in twins]
        if arena.freed:
            arena.freed = [page for page in arena.freed if page not in pages]  # a move writes them beside steps
        arena.host.ref(file.slots, file.tenant)
        self.kvfs.note(file)
        if partial >= 0:
            move.partial = pages[partial]
        for page, slot in move.copies:
            if page != move.partial:
                self._arriving[slot] = page, move
        file.move = move
        if move.copies or move.needs:
            self.waiting.append(move)
        else:
            self.finish(move, True)
        return None

    def _page_of(self, slot: int, move: Move) -> int | None:
        """The page that holds the same as the slot, or will when another move is over."""
        if slot in self._arriving:
            page, other = self._arriving[slot]
            move.needs.add(other)
            return page
        return self.arena.page_of_slot.get(slot)

    # ---- the end of a move ---------------------------------------------------------------------------------------
    def finish(self, move: Move, done: bool) -> bool:
        """The move is over (`done`), or lost; those it `needs` are over. Returns whether the file is where it should
        be now."""
        file, arena = move.file, self.arena
        arena.coming -= move.gain
        for page, slot in move.copies:
            if self._leaving.get(page) == (slot, move):
                del self._leaving[page]
            if self._arriving.get(slot) == (page, move):
                del self._arriving[slot]
        move.done = done = done and all(other.done for other in move.needs)
        valid = file.move is move
        if valid:
            file.move = None
            self.kvfs.note(file)
        landed = done and valid
        if landed and move.out:
            self._left(move)
        elif landed:
            self._arrived(move)
        arena.unref(move.pages, move.tenant)
        arena.unref_slots(move.slots, move.tenant)
        if landed:
            self.kvfs.rest(file)
        return landed

    def _left(self, move: Move) -> None:
        file, arena = move.file, self.arena
        self.stowed_pages += len(move.copies)
        for page, slot in zip(move.pages, move.slots, strict=True):
            arena.twin(page, slot)  # for as long as the page stays, with others or cached
        arena.unref(file.pages, file.tenant)
        file.pages, file.published = [], 0
        file.slots, move.slots = move.slots, []

    def _arrived(self, move: Move) -> None:
        file, arena = move.file, self.arena
        self.recalled_pages += len(move.copies)
        for page, slot in zip(move.pages, move.slots, strict=False):
            if page != move.partial:
                arena.twin(page, slot)  # for as long as others hold the slot
        arena.unref_slots(file.slots, file.tenant)
        file.slots = []
        keep = len(move.pages) if file.busy else arena.pages_for(file.computed)  # whoever wanted more may have gone
        file.pages, move.pages = move.pages[:keep], move.pages[keep:]
