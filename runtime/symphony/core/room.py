"""Who gets pages: admission to the next step, and whose K/V leaves the device when there is no room.

Operations get pages between steps, in `admit`, and in order of age; what is brought back before it is asked for takes
only pages that nobody waits for. An operation that lacks pages takes them from the prefix cache; then K/V is taken off
the device, by a move to the host (moves.py) or by dropping it, whichever is measured to be cheaper to undo
(`kvfs.tiers`). Whose, and in which order, says victims.py.

Victims are taken only if together they suffice. Whoever waits for pages that are on their way out is not overtaken by
anybody who needs pages; whoever waits for victims to become due, not by newcomers. So the first in the queue always
gets on, and every wait ends. What can never fit fails at once. Semantics 3, 4, 19.

Knows nothing of sessions' files or names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from symphony.core.depot import Depot
from symphony.core.moves import Mover
from symphony.core.operation import Operation, Prediction, Transfer
from symphony.core.victims import RoomLimits, Victims
from symphony.engine.engine import Engine
from symphony.errors import InternalError, Invalid, NoSpace, SymphonyError
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Copy, Kvfs, Shortage
from symphony.kvfs.move import Move
from symphony.kvfs.tiers import Tiers
from symphony.kvfs.transfer import Piece, extend, graft

LEAST_WAIT = 1e-6
"""Seconds; a shorter wait may be lost where it is added to the time."""
CLEAN_FILES = 4
"""Files that are looked at for what can be copied to the host ahead of need..."""
CLEAN_SECONDS = 0.01
"""...so often at most while nothing else happens."""


class Crowd(Protocol):
    """The operations that share the room, and what can be told about them."""

    active: dict[Operation, None]
    parked: dict[Operation, None]

    def advance(self, operation: Operation) -> None:
        """It made progress without a step."""
        ...

    def fail(self, operation: Operation, error: SymphonyError) -> None:
        """It ends."""
        ...

    def spare(self) -> None:
        """Whoever holds pages for nobody's sake lets them go."""
        ...


class Room:
    """All methods belong to the event-loop thread; only `run` suspends."""

    def __init__(
        self, engine: Engine, kvfs: Kvfs, arena: Arena, crowd: Crowd, clock: Callable[[], float], limits: RoomLimits
    ) -> None:
        self.tiers = Tiers(kvfs, arena)
        self.copies: list[Copy] = []
        """Page copies of the next step."""
        self.pieces: list[Piece] = []
        """Likewise entries."""
        self.copying: list[Operation] = []
        """The operations that they are for."""
        self.poisoning = False
        """A running step fills free pages, when debugging: no move may take one."""
        self.preemptions = 0
        self._engine = engine
        self._kvfs = kvfs
        self._arena = arena
        self._crowd = crowd
        self._clock = clock
        self._limits = limits
        self._victims = Victims(self.tiers, crowd, clock, limits)
        self._mover = Mover(engine, self.tiers, clock, self._back, self._clean)
        self._fetches: dict[Move, tuple[Operation, int]] = {}
        """For whom, and how many entries it brings."""
        self._starved: tuple[Operation, Shortage] | None = None
        """The first that did not get pages; of the last `admit`."""
        self._shut: set[str | None] = set()
        """Tenants (None: all) of which nobody gets pages in this `admit`..."""
        self._queued: set[str | None] = set()
        """...and of which no newcomer gets any."""
        self._claimed = 0
        """Pages on their way out that somebody waits for."""
        self._ended = False
        """Whether an operation ended in the last `admit`."""

    @property
    def starved(self) -> bool:
        """Somebody did not get pages in the last `admit`."""
        return self._starved is not None

    # ---- admission -----------------------------------------------------------------------------------------------
    def admit(self) -> list[Operation]:
        """The operations that have pages for their next row; of those that are running, the ones whose next row can
        be launched already. Those that are complete without one end here."""
        ready: list[Operation] = []
        coming: set[bytes] = set()  # prefix pages that the step computes
        size = self._arena.page_size
        active = self._crowd.active
        self._victims.begin()
        if self._starved is not None:
            self._starved = None
            self._shut.clear()
            self._queued.clear()
            self._claimed = 0
        growing = 0
        self._ended = False
        for operation in list(active):
            if operation.running:
                growing += operation.free_running
                file = operation.file
                total, computed = len(file.tokens), file.computed
                if total - computed >= size and file.derived is None:
                    coming.add(self._kvfs.key(file, computed // size))
                if operation.free_running and operation.foreseeable:
                    calm = computed < total < operation.reserved and not self._shut and not self._queued
                    if calm or self._runs_ahead(operation):
                        operation.work = 1
                        operation.group = file.pages[0]
                        ready.append(operation)
                continue
            if (
                operation.reserved < len(operation.file.tokens)
                and not self._has_room(operation)
                and not self._reserve(operation, growing, coming)
            ):
                continue
            if operation not in active:
                self._ended = True
            else:
                file = operation.file
                operation.group = file.pages[0] if file.pages else 0
                ready.append(operation)
                growing += operation.free_running
                if operation.work >= size <= len(file.tokens) - file.computed and file.derived is None:
                    coming.add(self._kvfs.key(file, file.computed // size))  # of its tokens, drafts are none yet
        if self.tiers.waiting or self.tiers.standby.on:
            self._mover.start()
        return ready

    def patience(self, held: bool = False) -> float | None:
        """Nothing could be admitted: seconds until it makes sense to try again; None: when something happens.

        Fails an operation that nothing will ever make room for, unless somebody only waits for its turn (`held`).
        """
        if self._ended:
            return 0.0  # what it had may be of use to older ones
        if self._starved is None or self.moves() or self._arena.snapshots:
            return None
        if self._victims.due < math.inf:
            return max(self._victims.due - self._clock(), LEAST_WAIT)
        if held:
            return None
        operation, shortage = self._starved
        text = f"{shortage.pages} KV pages are missing, and nothing that holds pages can give them up"
        self._crowd.fail(operation, NoSpace(text, "close or truncate files, unpin some, or try again later"))
        return 0.0

    def _reserve(self, operation: Operation, growing: int, coming: set[bytes]) -> bool:
        """Get the pages of the next row, all or nothing. False: not now. The operation may end in it.

        A newcomer leaves a page for each older generation, which will want it soon.
        """
        try:
            return self._provide(operation, growing, coming)
        except NoSpace as e:
            self._crowd.fail(operation, e)
            return True

    def _runs_ahead(self, operation: Operation) -> bool:
        """There is room for the row that follows the one in flight, and nobody waits whom it should make room for: what
        runs cannot give its pages up. Behind one that asks again the page may have to be copied: not now."""
        file = operation.file
        if file.computed == len(file.tokens) or self._barred(operation, True):
            return False
        needed = len(file.tokens) + 1
        if operation.reserved < needed:
            try:
                if isinstance(self._kvfs.reserve(file, needed), Shortage):  # the page it writes is its own: no copies
                    return False
            except NoSpace:
                return False
            operation.reserved = len(file.pages) * self._arena.page_size
        return True

    def _has_room(self, operation: Operation) -> bool:
        """The new entries fit into the last page, which nobody else sees: true of most tokens that a guest chooses.
        Nothing but what `_provide` would find out, sooner."""
        file, arena = operation.file, self._arena
        computed, total, size = file.computed, len(file.tokens), arena.page_size
        index = computed // size
        if computed == total or index * size == computed or total // size != index or file.move is not None:
            return False
        pages = file.pages
        if index + 1 != len(pages) or not isinstance(operation, Prediction):
            return False
        page = pages[index]
        if arena.pool.refs[page] != 1 or page in arena.cache.key_of or page in arena.slot_of_page:
            return False
        operation.reserved = len(pages) * size
        return True

    def _provide(self, operation: Operation, growing: int, coming: set[bytes]) -> bool:
        """As `_reserve`. Raises NoSpace if it can never have them."""
        file, arena = operation.file, self._arena
        if isinstance(operation, Transfer):
            operation.refresh()
            file = operation.file
            if operation.present:
                return self._graft(operation)
        if file.move is not None:
            return False
        fresh = not operation.reserved
        if file.slots:
            return self._recall(operation, growing)
        if fresh:
            if len(file.tokens) // arena.page_size > file.computed // arena.page_size:
                self._kvfs.check_fits(file, arena.pages_for(operation.reach()), operation.reach())
                self._reused(operation, self._kvfs.reuse(file, operation.reuse_limit()))
                operation.refresh()
                if isinstance(operation, Transfer) and (operation.present or operation.file is not file):
                    return self._provide(operation, growing, coming)
            if operation.complete():
                self._crowd.advance(operation)
                return True
            if file.image is not None and file.computed < file.image.entries:
                return self._fetch(operation, growing)
            if coming and operation.work >= arena.page_size and self._is_coming(operation, coming):
                return False
        if file.computed == len(file.tokens):
            operation.reserved = file.computed  # a re-query: reads only, its last page may be shared
            return True
        return self._extend(operation, growing if fresh else 0)

    def _extend(self, operation: Operation, spare: int) -> bool:
        file = operation.file
        reach = operation.reach()
        newcomer = not file.pages
        if self._arena.pages_for(reach) > len(file.pages) and self._barred(operation, newcomer):
            return False
        while isinstance(got := self._kvfs.reserve(file, reach, spare), Shortage):
            if not self._make_room(operation, got):
                return False
        if newcomer:
            file.resident = self._clock()
        if got:
            self.copies += got
            self.copying.append(operation)
        operation.reserved = len(file.pages) * self._arena.page_size
        return True

    def _recall(self, operation: Operation, spare: int) -> bool:
        file = operation.file
        if self._barred(operation, True):
            return False
        while (missing := self.tiers.recall(file, operation.reach(), spare)) is not None:
            if not self._make_room(operation, missing):
                return False
        if file.move is not None:
            return False
        file.resident = self._clock()
        operation.refresh()
        return self._provide(operation, spare, set())

    def _fetch(self, operation: Operation, spare: int) -> bool:
        file = operation.file
        if self._barred(operation, True):
            return False
        while (missing := self.tiers.fetch(file, operation.reach(), spare)) is not None:
            if not self._make_room(operation, missing):
                return False
        if file.move is not None and file.image is not None:
            count = file.image.entries - file.computed
            self._fetches[file.move] = operation, 0 if file in self._kvfs.loose else count  # it was there before
        return False

    def _reused(self, operation: Operation, count: int) -> None:
        operation.session.usage.reused_tokens += count
        operation.handle.loop.meter.reused += count

    def _graft(self, operation: Transfer) -> bool:
        while isinstance(got := graft(self._kvfs, operation.source, operation.target, operation.runs), Shortage):
            if self._barred(operation, True) or not self._make_room(operation, got):
                return False
        extend(operation.source, operation.target, operation.runs)
        self.copies += got.pages
        self.pieces += got.pieces
        self.copying.append(operation)
        return False

    def _is_coming(self, operation: Operation, coming: set[bytes]) -> bool:
        """The step computes for somebody else what this operation needs next: it is found in the cache afterwards."""
        file, size = operation.file, self._arena.page_size
        index = file.computed // size
        if file.derived is not None or (index + 1) * size > min(operation.reuse_limit(), len(file.tokens)):
            return False
        return self._kvfs.key(file, index) in coming

    def _barred(self, operation: Operation, newcomer: bool) -> bool:
        """Somebody older waits for the pages that there are."""
        if self._shut and (None in self._shut or operation.tenant in self._shut):
            return True
        return newcomer and bool(self._queued) and (None in self._queued or operation.tenant in self._queued)

    # ---- making room ---------------------------------------------------------------------------------------------
    def _make_room(self, favoured: Operation, shortage: Shortage) -> bool:
        """Take K/V off the device. True: something is available now, try again; False: wait."""
        pages, tenant = shortage
        arena, pool = self._arena, self._arena.pool
        self._crowd.spare()
        coming = arena.coming
        if tenant is not None:
            coming = sum([move.gain for move in self.moves() if move.tenant == tenant])
        lacking = pages - max(coming - self._claimed, 0)
        victims = self._victims.choose(favoured, Shortage(lacking, tenant)) if lacking > 0 else []
        if victims is None:
            self._starve(favoured, shortage)
            self._queued.add(tenant)
            return False
        shared = self._victims.next_page(favoured)
        before = arena.available, pool.used.get(favoured.tenant, 0), pool.refs[shared]
        for file, operation in victims:
            self._discard(file, operation)
        if (arena.available, pool.used.get(favoured.tenant, 0), pool.refs[shared]) != before:
            return True
        self._starve(favoured, shortage)
        self._claimed += pages
        self._shut.add(tenant)
        return False

    def _starve(self, operation: Operation, shortage: Shortage) -> None:
        if self._starved is None:
            self._starved = operation, shortage

    def _discard(self, file: File, operation: Operation | None) -> None:
        if self.tiers.discard(file) and operation is not None:
            self.preemptions += 1
            operation.reserved = 0
            operation.refresh()

    def launch(self) -> tuple[list[Copy], list[Piece], list[Operation]]:
        """A step begins with what is to be copied, for these operations."""
        taken = self.copies, self.pieces, self.copying
        self.copies, self.pieces, self.copying = [], [], []
        return taken

    def suspend(self, operation: Operation) -> None:
        """What the step did to the operation's file is lost: compute it again."""
        if operation.file.derived is None:
            self._kvfs.drop(operation.file)
        operation.reserved = 0
        operation.refresh()

    # ---- moves ---------------------------------------------------------------------------------------------------
    def moves(self) -> list[Move]:
        """Those that are not over."""
        return self._mover.unfinished()

    def prefetch(self, file: File) -> None:
        """Bring the K/V back if that disturbs nobody."""
        waits = self._starved is not None and self._starved[0] in self._crowd.active
        away = file.slots or (file.image is not None and not file.pages)
        if away and file.move is None and not waits and not self.poisoning:
            try:
                recall = self.tiers.recall if file.slots else self.tiers.fetch
                missing = recall(file, file.computed)
            except NoSpace:
                return
            if missing is None:
                file.resident = self._clock()
                self._mover.start()

    def release(self, file: File) -> None:
        """Its K/V is not needed for now."""
        if file.pages and not file.busy and not file.pins:
            self.tiers.discard(file)
            self._mover.start()

    async def run(self, wake: Callable[[], None]) -> None:
        """Run the moves, until `close`; `wake` is called when some are over."""
        await self._mover.run(wake)

    def attach(self, depot: Depot) -> None:
        """The disk tier, for those that have an image there."""
        self._mover.depot = depot

    def close(self) -> None:
        self._mover.close()

    def _clean(self) -> float | None:
        """Where pages are scarce, what is likely to leave next gets its copy on the host now, or on disk what is likely
        to leave the host, and can go at once then. As `Mover`'s `ahead`."""
        standby = self.tiers.standby
        if not standby.on:
            return None
        if any(self.tiers.clean(file) for file in self._victims.next(CLEAN_FILES)):
            return 0.0
        if not self._mover.saving and self.tiers.save():
            return 0.0
        return max(self._limits.idle_seconds, CLEAN_SECONDS) if standby.young else None

    def _back(self, move: Move, valid: bool) -> None:
        """A move to the device is over."""
        operation, count = self._fetches.pop(move, (None, 0))
        if valid and not move.done:
            self._lost(move)
        elif valid and operation is not None:
            self._reused(operation, count)

    def _lost(self, move: Move) -> None:
        """The K/V does not come back."""
        file = move.file
        if file.derived is None:
            self._kvfs.drop(file)
            return
        for operation in list(self._crowd.active):
            if operation.file is file:  # what it waits for
                error: SymphonyError = InternalError("the file's K/V could not be brought back", "try again")
                if move.damaged:
                    error = Invalid("the file's K/V on disk is damaged and cannot be computed again", "unlink the file")
                self._crowd.fail(operation, error)
