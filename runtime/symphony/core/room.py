"""Who gets pages: admission to the next step, and whose K/V leaves the device when there is no room.

Operations get pages between steps, in `admit`, and in order of age; what is brought back before it is asked for takes
only pages that nobody waits for. An operation that lacks pages takes them from the prefix cache; then K/V is taken off
the device, by a move to the host or by dropping it, whichever is measured to be cheaper to undo (`kvfs.tiers`):

    1. idle files that nobody has used for a while (their process waits for something else than the model), oldest first
    2. generations that wait for their guest
    3. idle files in use, and then younger operations, the youngest first; each only after it has been on the device for
       a *residence* that its way out and back is small against, so that a crowd takes turns instead of thrashing

Victims are taken only if together they suffice. Whoever waits for pages that are on their way out is not overtaken by
anybody who needs pages; whoever waits for victims to become due, not by newcomers. So the first in the queue always
gets on, and every wait ends. What can never fit fails at once. Semantics 3, 4, 19.

Knows nothing of sessions' files or names.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from symphony.core.operation import Operation, Prediction, Transfer
from symphony.engine.engine import Engine
from symphony.errors import InternalError, NoSpace, SymphonyError
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Copy, Kvfs, Shortage
from symphony.kvfs.tiers import Move, Tiers
from symphony.kvfs.transfer import Piece, extend, graft
from symphony.param import IDLE_SECONDS, MOVE_PAGES, RESIDENCE_FACTOR, RESIDENCE_SECONDS

_log = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class RoomLimits:
    """When K/V may leave the device for others."""

    idle_seconds: float = IDLE_SECONDS
    residence_seconds: float = RESIDENCE_SECONDS
    residence_factor: float = RESIDENCE_FACTOR


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


class Room:
    """All methods belong to the event-loop thread; only `run` suspends."""

    def __init__(
        self, engine: Engine, kvfs: Kvfs, arena: Arena, crowd: Crowd, clock: Callable[[], float], limits: RoomLimits
    ) -> None:
        self.tiers = Tiers(kvfs, arena)
        self.copies: list[Copy] = []
        """Page copies of the next or the running step."""
        self.pieces: list[Piece] = []
        """Likewise entries."""
        self.copying: list[Operation] = []
        """The operations that they are for."""
        self.moving: list[Move] = []
        """Moves that run now."""
        self.poisoning = False
        """The running step fills free pages, when debugging: no move may take one."""
        self.preemptions = 0
        self._engine = engine
        self._kvfs = kvfs
        self._arena = arena
        self._crowd = crowd
        self._clock = clock
        self._limits = limits
        self._due = math.inf
        """When the next victim becomes due; of the last `admit`."""
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
        self._work: asyncio.Future[None] | None = None
        self._closed = False

    # ---- admission -----------------------------------------------------------------------------------------------
    def admit(self) -> list[Operation]:
        """The operations that have pages for their next row. Those that are complete without one end here."""
        ready: list[Operation] = []
        coming: set[bytes] = set()  # prefix pages that the step computes
        size = self._arena.page_size
        active = self._crowd.active
        self._due = math.inf
        if self._starved is not None:
            self._starved = None
            self._shut.clear()
            self._queued.clear()
            self._claimed = 0
        growing = 0
        self._ended = False
        for operation in list(active):
            if (
                operation.reserved < len(operation.file.tokens)
                and not self._has_room(operation)
                and not self._reserve(operation, growing, coming)
            ):
                continue
            if operation not in active:
                self._ended = True
            else:
                ready.append(operation)
                growing += operation.free_running
                if operation.work >= size and operation.file.derived is None:
                    coming.add(self._kvfs.key(operation.file, operation.file.computed // size))
        if self.tiers.waiting:
            self._start_moves()
        return ready

    def patience(self) -> float | None:
        """Nothing could be admitted: seconds until it makes sense to try again; None: when something happens.

        Fails an operation that nothing will ever make room for.
        """
        if self._ended:
            return 0.0  # what it had may be of use to older ones
        if self._starved is None or self.moving or self.tiers.waiting:
            return None
        if self._due < math.inf:
            return max(self._due - self._clock(), 0.0)
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
                operation.session.usage.reused_tokens += self._kvfs.reuse(file, operation.reuse_limit())
                operation.refresh()
                if isinstance(operation, Transfer) and (operation.present or operation.file is not file):
                    return self._provide(operation, growing, coming)
            if operation.complete():
                self._crowd.advance(operation)
                return True
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

    def _graft(self, operation: Transfer) -> bool:
        while isinstance(got := graft(self._kvfs, operation.source, operation.target, operation.runs), Shortage):
            if self._barred(operation, True) or not self._make_room(operation, got):
                return False
        extend(operation.source, operation.target, operation.runs)
        self.copies += got.pages
        self.pieces += got.pieces
        self.copying.append(operation)
        operation.running = True
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
        pool = self._arena.pool
        coming = sum([move.gain for move in self.moves() if tenant is None or move.tenant == tenant])
        gain = max(coming - self._claimed, 0)
        victims: list[tuple[File, Operation | None]] = []
        left: dict[int, int] = {}  # references that stay, of pages that victims share
        shared = _next_page(favoured)  # which need not be copied once nobody shares it
        if gain < pages:
            for file, operation in self._victims(favoured, tenant):
                victims.append((file, operation))
                for page in file.pages:
                    if page not in left:
                        left[page] = pool.refs[page] if tenant is None else pool.held(page, tenant)
                    left[page] -= 1
                    gain += left[page] == (page == shared)
                if gain >= pages:
                    break
        if gain < pages:
            self._starve(favoured, shortage)
            self._queued.add(tenant)
            return False
        before = self._arena.available, pool.used.get(favoured.tenant, 0), pool.refs[shared]
        for file, operation in victims:
            self._discard(file, operation)
        if (self._arena.available, pool.used.get(favoured.tenant, 0), pool.refs[shared]) != before:
            return True
        self._starve(favoured, shortage)
        self._claimed += pages
        self._shut.add(tenant)
        return False

    def _starve(self, operation: Operation, shortage: Shortage) -> None:
        if self._starved is None:
            self._starved = operation, shortage

    def _victims(self, favoured: Operation, tenant: str | None) -> Iterator[tuple[File, Operation | None]]:
        """Whose K/V may go for it, in that order."""
        now = self._clock()
        busy: list[File] = []
        attainable: dict[str, int] = {}
        for file in self._kvfs.idle:
            if self._movable(file, tenant, attainable):
                due = file.touched + self._limits.idle_seconds if file.opens else now
                if due <= now:
                    yield file, None
                else:
                    busy.append(file)
        for operation in self._crowd.parked:
            for file in operation.files:
                if self._movable(file, tenant, attainable):
                    yield file, operation
        for file in busy:
            due = min(file.touched + self._limits.idle_seconds, file.resident + self._residence(file))
            if due <= now:
                yield file, None
            else:
                self._due = min(self._due, due)
        for operation in reversed(self._crowd.active):
            if operation is favoured:
                return
            for file in operation.files:
                if self._movable(file, tenant, attainable):
                    due = file.resident + self._residence(file)
                    if due <= now:
                        yield file, operation
                    else:
                        self._due = min(self._due, due)

    def _movable(self, file: File, tenant: str | None, attainable: dict[str, int]) -> bool:
        return (
            bool(file.pages)
            and not file.pins
            and file.arena is self._arena
            and (tenant is None or file.tenant == tenant)
            and self.tiers.can_discard(file, attainable)
        )

    def _residence(self, file: File) -> float:
        return max(self._limits.residence_seconds, self._limits.residence_factor * self.tiers.cost(file))

    def _discard(self, file: File, operation: Operation | None) -> None:
        if self.tiers.discard(file) and operation is not None:
            self.preemptions += 1
            operation.reserved = 0
            operation.refresh()

    def moves(self) -> list[Move]:
        """Those that are not over."""
        return [*self.tiers.waiting, *self.moving]

    def retire(self) -> list[Operation]:
        """The step is over: what was copied in it, and for whom."""
        copying, self.copying = self.copying, []
        self.copies, self.pieces, self.poisoning = [], [], False
        return copying

    def suspend(self, operation: Operation) -> None:
        """What the step did to the operation's file is lost: compute it again."""
        if operation.file.derived is None:
            self._kvfs.drop(operation.file)
        operation.reserved = 0
        operation.refresh()

    # ---- moves ---------------------------------------------------------------------------------------------------
    def prefetch(self, file: File) -> None:
        """Bring the K/V back if that disturbs nobody."""
        waits = self._starved is not None and self._starved[0] in self._crowd.active
        if file.slots and file.move is None and not waits and not self.poisoning:
            try:
                missing = self.tiers.recall(file, file.computed)
            except NoSpace:
                return
            if missing is None:
                file.resident = self._clock()
                self._start_moves()

    def release(self, file: File) -> None:
        """Its K/V is not needed for now."""
        if file.pages and not file.busy and not file.pins:
            self.tiers.discard(file)
            self._start_moves()

    async def run(self, wake: Callable[[], None]) -> None:
        """Run the moves, until `close`; `wake` is called when some are over."""
        loop = asyncio.get_running_loop()
        while not self._closed:
            if not self.tiers.waiting:
                self._work = loop.create_future()
                await self._work
                continue
            self.moving = self._next_moves()
            try:
                await self._run_moves(self.moving)
            except Exception:
                self._give_up()
            self.moving = []
            wake()
        for move in self.tiers.waiting:
            self.tiers.finish(move, False)
        self.tiers.waiting = []

    def close(self) -> None:
        self._closed = True
        self._start_moves()

    def _give_up(self) -> None:
        """A bug of the host in the books of a move: its files are cut off from it, whoever waits tries again."""
        _log.exception("finishing a move of K/V failed; the host tier is not used any more")
        self.tiers.usable = False
        for move in self.moving:
            if move.file.move is move:
                move.file.move = None

    def _next_moves(self) -> list[Move]:
        """Those that come back first: somebody waits for them."""
        waiting = sorted(self.tiers.waiting, key=lambda move: move.out)
        moves: list[Move] = []
        pages = 0
        while waiting and (not moves or pages + len(waiting[0].copies) <= MOVE_PAGES):
            moves.append(waiting.pop(0))
            pages += len(moves[-1].copies)
        self.tiers.waiting = waiting
        return moves

    async def _run_moves(self, moves: list[Move]) -> None:
        out = [pair for move in moves if move.out for pair in move.copies]
        back = [(slot, page) for move in moves if not move.out for page, slot in move.copies]
        start = self._clock()
        done = True
        try:
            if out or back:
                await self._engine.move(out, back)
        except Exception:
            _log.exception("a move of K/V between device and host failed; the host tier is not used any more")
            self.tiers.usable = done = False
        if count := len(out) + len(back):
            costs = self._arena.costs
            costs.page_seconds += 0.2 * ((self._clock() - start) / count - costs.page_seconds)
        for move in moves:
            valid = move.file.move is move
            self.tiers.finish(move, done)
            if not move.out:
                move.file.resident = self._clock()
                if valid and not move.done:
                    self._lost(move.file)

    def _lost(self, file: File) -> None:
        """The K/V does not come back."""
        if file.derived is None:
            self._kvfs.drop(file)
            return
        for operation in list(self._crowd.active):
            if operation.file is file:  # what it waits for
                error = InternalError("the file's K/V could not be brought back from the host", "try again")
                self._crowd.fail(operation, error)

    def _start_moves(self) -> None:
        if self._work is not None and not self._work.done():
            self._work.set_result(None)


def _next_page(operation: Operation) -> int:
    """The page that it will go on writing in; 0: none."""
    file = operation.target if isinstance(operation, Transfer) and operation.present else operation.file
    index, offset = divmod(file.computed, file.arena.page_size)
    return file.pages[index] if offset and file.pages else 0
