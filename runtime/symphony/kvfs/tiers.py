"""Three tiers: taking a file's K/V off the device, and bringing it back.

A *move* copies whole pages between device pages and host slots, beside the steps. It holds references of its own, so
the file may be forked, cut or closed meanwhile; what cuts the file off from its move sets `file.move` to None, and the
move then only cleans up after itself. Per file (semantics 19):

    fetch     disk -> device; likewise, behind what the prefix cache had; the image stays (fetches.py)
    spill     device -> disk where the host is full, host -> disk ahead of need (spill.py)
    stow      device -> host; the file keeps its pages until the move is over
    clean     likewise, but the file stays: should it have to leave later, it can at once
    recall    host -> device; all pages at once or none; the file keeps its slots until the move is over
    discard   plain K/V is dropped where computing it again is cheaper, or there is no room for it anywhere

Pure bookkeeping: someone else runs the moves in `Tiers.waiting`, in any grouping, and calls `finish` for each.
"""

from __future__ import annotations

from symphony.kvfs.arena import Arena
from symphony.kvfs.fetches import Fetches
from symphony.kvfs.file import File
from symphony.kvfs.image import unref_image
from symphony.kvfs.kvfs import Kvfs, Shortage
from symphony.kvfs.move import Move
from symphony.kvfs.spill import Spill
from symphony.kvfs.standby import Slots, Standby


class Tiers:
    """One arena's moves. All methods return at once."""

    def __init__(self, kvfs: Kvfs, arena: Arena) -> None:
        self.kvfs = kvfs
        self.arena = arena
        self.standby = Standby(kvfs, arena)
        self.spill = Spill(kvfs, arena)
        self.fetches = Fetches(kvfs, arena)
        self.waiting: list[Move] = []
        """Moves that nobody runs yet."""
        self.usable = True
        """False: the host tier lost something once and is not written any more."""
        self.stowed_pages = 0
        """Pages copied to the host so far..."""
        self.cleaned_pages = 0
        """...of which before anybody needed them to leave."""
        self.recalled_pages = 0
        self.fetched_pages = 0
        """Pages read from disk."""
        self.saved_pages = 0
        """Pages written to disk for want of room, not for a sync."""
        self.dropped_tokens = 0
        """Entries given up, to be computed again if somebody wants them."""
        self._leaving: dict[int, tuple[int, Move]] = {}
        """Pages that a move copies now: to which slot."""
        self._arriving: dict[int, tuple[int, Move]] = {}
        """Slots that a move copies now: to which page."""

    # ---- off the device ------------------------------------------------------------------------------------------
    def discard(self, file: File) -> bool:
        """Take the file's K/V off the device: at once by dropping it, or by a move that ends later. For a file that no
        device step touches. False: it has to stay (derived, and host and disk are full)."""
        if file.move is not None:
            return False
        if self._is_on_disk(file):
            self.kvfs.drop(file)
            return True
        worth, saves = file.derived is not None or self._worth_moving(file), self.spill.can(file)
        if not worth:
            self.arena.costs.doubt()
        if worth and self._make_slots(file, lossless=saves):
            self._stow(file)
            return True
        if saves and (move := self.spill.leave(file)) is not None:
            self.waiting.append(move)
            return True
        if worth and saves and self._make_slots(file):
            self._stow(file)
            return True
        if not self.kvfs.may_drop(file):
            return False
        self._drop(file)
        return True

    def _is_on_disk(self, file: File) -> bool:
        """Nothing is won by its going to the host: the rest of it has to be read anyway, or there is no room."""
        if file.image is None or file.image.entries < file.computed:
            return False
        return file.image.entries > file.computed or not self._has_slots(file)

    def _drop(self, file: File) -> None:
        if not self.kvfs.is_imaged(file):
            self.dropped_tokens += file.computed
        self.kvfs.drop(file)

    def can_discard(self, file: File) -> bool:
        """Whether `discard` would succeed."""
        if file.move is not None:
            return False
        return self.kvfs.may_drop(file) or self._can_have(file) or self.spill.can(file)

    def cost(self, file: File) -> float:
        """Seconds that it takes to take the file's K/V off the device and to get it back."""
        costs = self.arena.costs
        move = 2 * len(file.pages) * costs.page_seconds
        if file.derived is not None or costs.token_seconds is None:
            return move
        return min(move, file.computed * costs.token_seconds)

    def _worth_moving(self, file: File) -> bool:
        return self.arena.costs.prefers_moving(len(file.pages), file.computed)

    def clean(self, file: File) -> bool:
        """Copy full pages of an idle file to the host before anybody needs it to leave, as far as slots are free.
        False: nothing to do (it is on disk), or not worth it."""
        arena, host = self.arena, self.arena.host
        if not self.usable or file.move is not None or self.kvfs.is_imaged(file):
            return False
        if file.derived is None and not self._worth_moving(file):
            return False
        full, room = file.computed // arena.page_size, self._own(file) - host.used.get(file.tenant, 0)
        pages = [page for page in file.pages[:full] if page not in arena.slot_of_page and page not in self._leaving]
        pages = pages[: max(min(len(host.free), room), 0)]
        if not pages:
            return False
        arena.ref(pages, file.tenant)
        move = Move(file, file.tenant, True, pages, [], [], set(), clean=True)
        for page in pages:
            self._copy_out(move, page)
        self.waiting.append(move)
        return True

    def save(self) -> bool:
        """Copy the file that has been on the host for longest to disk before anybody needs its slots, where few are
        left. False: nothing to do, or not now."""
        if any(move.saves for move in self.waiting) or (move := self.spill.ahead()) is None:
            return False
        self.waiting.append(move)
        return True

    def _copy_out(self, move: Move, page: int) -> None:
        slot = self.arena.take_slot(move.tenant)
        move.slots.append(slot)
        move.copies.append((page, slot))
        self._leaving[page] = slot, move

    def _stow(self, file: File) -> None:
        arena = self.arena
        self.kvfs.trim(file)
        gain = arena.pool.private(file.pages)
        arena.ref(file.pages, file.tenant)
        move = Move(file, file.tenant, True, list(file.pages), [], [], set(), gain)
        known = [self._slot_of(page, move) for page in move.pages]
        for slot in known:  # before any is taken, which may cost a page its twin
            if slot is not None:
                arena.hold_slot(slot, file.tenant)
        for page, slot in zip(move.pages, known, strict=True):
            if slot is None:
                self._copy_out(move, page)
            else:
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

    def _has_slots(self, file: File) -> bool:
        """Whether there are slots for the file without anybody's K/V leaving the host."""
        need, own = self.slots_for(file), self._own(file) - self.arena.host.used.get(file.tenant, 0)
        return self.usable and need <= min(self.arena.free_slots, own)

    def _make_slots(self, file: File, lossless: bool = False) -> bool:
        """Enough free slots for the file, dropping files' K/V from the host for it, first what is on disk too, and the
        oldest first of that; `lossless`: only that. False: there cannot be."""
        if not self._can_have(file):
            return False
        host = self.arena.host
        while True:
            need = self.slots_for(file)
            own = host.used.get(file.tenant, 0) + need > self._own(file)
            if not own and self.arena.free_slots >= need:
                return True
            victim = next(self.standby.spare(file.tenant if own else None).in_order(), None)
            if victim is None or (lossless and not self.kvfs.is_imaged(victim)):
                return False
            self._drop(victim)

    def attainable(self, tenant: str) -> Slots:
        """What the tenant can have for a derived file, on the host if plain files' K/V goes for it (-1: it cannot even
        share any)."""
        arena = self.arena
        host = self._attainable(tenant, min(arena.slots_of(tenant), arena.kept_slots)) if self.usable else -1
        return Slots(host, self.spill.attainable(tenant))

    def needs(self, file: File) -> Slots:
        """What it takes for the file to go there or there."""
        return Slots(self.slots_for(file), self.spill.fresh(file))

    def _attainable(self, tenant: str, limit: int) -> int:
        host, standby = self.arena.host, self.standby
        left = limit - host.used.get(tenant, 0)
        return min(self.arena.free_slots + standby.spare(None).gain, left + standby.spare(tenant).gain)

    def _can_have(self, file: File) -> bool:
        """Whether there are slots for the file, or will be if plain files' K/V goes for it."""
        need, host = self.slots_for(file), self.arena.host
        free = min(self.arena.free_slots, self._own(file) - host.used.get(file.tenant, 0))
        return self.usable and (need <= free or need <= self._attainable(file.tenant, self._own(file)))

    def _own(self, file: File) -> int:
        """Slots that its tenant may hold for the file to get some."""
        limit = self.arena.slots_of(file.tenant)
        return limit if file.derived is None else min(limit, self.arena.kept_slots)

    def slots_for(self, file: File) -> int:
        """Slots that the file needs and that nobody holds yet."""
        twins, leaving, refs = self.arena.slot_of_page, self._leaving, self.arena.host.refs
        pages = file.pages[: self.arena.pages_for(file.computed)]
        return sum([page not in leaving and not (page in twins and refs[twins[page]]) for page in pages])

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
        if partial >= 0:
            move.partial = pages[partial]
        for page, slot in move.copies:
            if page != move.partial:
                self._arriving[slot] = page, move
        file.move = move
        self.kvfs.note(file)
        if move.copies or move.needs:
            self.waiting.append(move)
        else:
            self.finish(move, True)
        return None

    def fetch(self, file: File, upto: int, spare: int = 0) -> Shortage | None:
        """Have what the image has more than the file read into pages for `[0, upto)`, all or nothing; None: it comes,
        or there is nothing to come. For a file that is not on the host. `spare` pages stay available to others.

        Raises NoSpace if it can never fit.
        """
        got = self.fetches.begin(file, upto, spare)
        if not isinstance(got, Move):
            return got
        self.waiting.append(got)
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
        file = move.file
        self._forget(move)
        move.done = done = done and all(other.done for other in move.needs)
        valid = file.move is move
        if valid:
            file.move = None
            self.kvfs.note(file)
        landed = done and valid
        try:
            if done:
                self._land(move, valid)
        finally:
            self._let_go(move)
        if landed:
            self.kvfs.rest(file)
        return landed

    def _land(self, move: Move, valid: bool) -> None:
        """What it copied is there; `valid`: its file waited for it."""
        if move.saves:
            self.saved_pages += move.saves
            self.spill.landed(move, valid)
        elif valid and move.out:
            self._left(move)
        elif move.image is not None:
            self.fetched_pages += len(move.loads) if valid else 0
            self.fetches.landed(move, valid)
        elif valid:
            self._arrived(move)
        elif move.clean:
            self.cleaned_pages += len(move.copies)
            self._twin(move)

    def abandon(self, move: Move) -> None:
        """Nobody will finish it; nothing, if somebody has."""
        if move.file.move is move:
            move.file.move = None
            self.kvfs.note(move.file)
        self._forget(move)
        self._let_go(move)

    def _forget(self, move: Move) -> None:
        """Nothing is on its way by this move any more."""
        self.arena.coming -= move.gain
        move.gain = 0
        for page, slot in move.copies:
            if self._leaving.get(page) == (slot, move):
                del self._leaving[page]
            if self._arriving.get(slot) == (page, move):
                del self._arriving[slot]
        self.fetches.forget(move)

    def _let_go(self, move: Move) -> None:
        """Give back the references that the move has, each once."""
        arena, pages, slots, image = self.arena, move.pages, move.slots, move.image
        move.pages, move.slots, move.image = [], [], None
        if image is not None:
            unref_image(arena, image.slots, move.tenant)
        arena.unref(pages, move.tenant)
        arena.unref_slots(slots, move.tenant)

    def _left(self, move: Move) -> None:
        file, arena = move.file, self.arena
        self._twin(move)
        arena.unref(file.pages, file.tenant)
        file.pages, file.published = [], 0
        file.slots, move.slots = move.slots, []

    def _twin(self, move: Move) -> None:
        self.stowed_pages += len(move.copies)
        for page, slot in zip(move.pages, move.slots, strict=True):
            self.arena.twin(page, slot)  # for as long as the page stays, with the file, with others or cached

    def _arrived(self, move: Move) -> None:
        file, arena = move.file, self.arena
        self.recalled_pages += len(move.copies)
        for page, slot in zip(move.pages, move.slots, strict=False):
            if page != move.partial:
                arena.twin(page, slot)  # for as long as others hold the slot, or nobody needs it
        arena.unref_slots(file.slots, file.tenant)
        file.slots = []
        keep = len(move.pages) if file.busy else arena.pages_for(file.computed)  # whoever wanted more may have gone
        file.pages, move.pages = move.pages[:keep], move.pages[keep:]
