"""Runs the moves of K/V between device, host and disk, beside the steps: what comes back first, for somebody waits.
Where nothing has to move, it asks for what may have to soon. What goes to disk goes beside all others, for it is slow.

What a move means for its file is `kvfs.tiers`; who is to move, and when, is the room's to say (room.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from symphony.core.depot import PART_BYTES, Depot
from symphony.engine.engine import Engine
from symphony.kvfs.move import Move
from symphony.kvfs.tiers import Tiers
from symphony.param import MOVE_PAGES

RETRY_SECONDS = 10.0
"""After the disk refused something, nothing is moved there for so long."""
_log = logging.getLogger(__name__)


class Mover:
    """All methods belong to the event-loop thread; only `run` suspends."""

    def __init__(
        self,
        engine: Engine,
        tiers: Tiers,
        clock: Callable[[], float],
        back: Callable[[Move, bool], None],
        ahead: Callable[[], float | None],
    ) -> None:
        """`back` is told of each move to the device that is over, and whether its file still waited for it. `ahead`
        adds a move that is not urgent and returns 0, or returns after how many seconds there may be one; None: not
        before something happens."""
        self.running: list[Move] = []
        self.depot: Depot | None = None
        """Where fetches read, and spills write."""
        self.saving: list[Move] = []
        """Those of `running` that go to disk, beside the others."""
        self._saver: asyncio.Task[None] | None = None
        self._again = 0.0
        """When the disk may be tried again."""
        self._engine = engine
        self._tiers = tiers
        self._clock = clock
        self._back = back
        self._ahead = ahead
        self._work: asyncio.Future[None] | None = None
        self._closed = False

    def unfinished(self) -> list[Move]:
        """Moves that are not over."""
        return [*self._tiers.waiting, *self.running, *self.saving]

    async def run(self, wake: Callable[[], None]) -> None:
        """Run what waits, until `close`; `wake` is called when some are over."""
        loop, tiers = asyncio.get_running_loop(), self._tiers
        while not self._closed:
            self._save_next(wake)
            if not any(not move.saves for move in tiers.waiting) and (pause := self._ahead()) != 0:
                self._work = loop.create_future()
                timer = None if pause is None else loop.call_later(pause, self.start)
                await self._work
                if timer is not None:
                    timer.cancel()
                continue
            self.running = self._next(False)
            if not self.running:
                continue
            try:
                await self._run(self.running)
            except Exception:
                self._give_up(self.running)
            self.running = []
            wake()
        if self._saver is not None:
            await self._saver
        for move in tiers.waiting:
            tiers.finish(move, False)
        tiers.waiting = []

    def start(self) -> None:
        """Something waits."""
        if self._work is not None and not self._work.done():
            self._work.set_result(None)

    def close(self) -> None:
        self._closed = True
        self.start()

    def _next(self, saves: bool) -> list[Move]:
        waiting = [move for move in self._tiers.waiting if bool(move.saves) == saves]
        waiting.sort(key=lambda move: (move.out, move.clean))
        count, pages = 0, 0
        while count < len(waiting) and (not count or pages + _size(waiting[count]) <= MOVE_PAGES):
            pages += _size(waiting[count])
            count += 1
        taken = dict.fromkeys(waiting[:count])
        self._tiers.waiting = [move for move in self._tiers.waiting if move not in taken]
        return list(taken)

    # ---- to disk -------------------------------------------------------------------------------------------------
    def _save_next(self, wake: Callable[[], None]) -> None:
        spill = self._tiers.spill
        if not spill.usable and self._clock() >= self._again:
            spill.usable = True
        if self._saver is None and (moves := self._next(True)):
            self.saving = moves
            self._saver = asyncio.create_task(self._save(wake))

    async def _save(self, wake: Callable[[], None]) -> None:
        try:
            while self.saving:
                move = self.saving[0]
                done = not self._closed and await self._write(move)
                self._finish(move, done)
                self.saving.remove(move)
                wake()
        except Exception:
            self._give_up(self.saving)
            self.saving = []
        finally:
            self._saver = None
            self.start()

    async def _write(self, move: Move) -> bool:
        """Part by part, each read from where it lies."""
        assert move.image is not None
        assert self.depot is not None
        first, size = len(move.image.slots) - move.saves, self._part()
        start = self._clock()
        try:
            for at in range(first, len(move.image.slots), size):
                slots = move.image.slots[at : at + size]
                end = at + len(slots)
                contents = await self._engine.read(move.pages[at:end], move.slots[at:end])
                await self.depot.write(self._tiers.arena, dict(zip(slots, contents, strict=True)))
        except Exception as e:
            _log.warning("K/V could not go to disk, where nothing is put for %g s: %s", RETRY_SECONDS, e)
            self._tiers.spill.usable, self._again = False, self._clock() + RETRY_SECONDS
            return False
        self._tiers.arena.costs.filed(move.saves, self._clock() - start)
        return True

    def _part(self) -> int:
        """Pages that are held in memory at a time."""
        return max(PART_BYTES // max(self._engine.info.image_bytes, 1), 1)

    # ---- between device and host, and from disk --------------------------------------------------------------------

    async def _run(self, moves: list[Move]) -> None:
        out = [pair for move in moves if move.out for pair in move.copies]
        back = [(slot, page) for move in moves if not move.out for page, slot in move.copies]
        start = self._clock()
        done = True
        try:
            if out or back:
                await self._engine.move(out, back)
        except Exception:
            _log.exception("a move of K/V between device and host failed; the host tier is not used any more")
            self._tiers.usable = done = False
        if count := len(out) + len(back):
            self._tiers.arena.costs.moved(count, self._clock() - start)
        for move in moves:
            if move.image is None:
                self._finish(move, done)
        for move in moves:
            if move.image is not None:
                self._finish(move, await self._load(move))

    def _finish(self, move: Move, done: bool) -> None:
        valid = move.file.move is move
        move.damaged |= any(other.damaged for other in move.needs)
        self._tiers.finish(move, done)
        if not move.out:
            move.file.resident = self._clock()
            self._back(move, valid)

    async def _load(self, move: Move) -> bool:
        """Read what a fetch is for into its pages, part by part. What cannot be had of an image is not tried again,
        where it can be computed."""
        arena, file, count = self._tiers.arena, move.file, len(move.loads)
        assert move.image is not None
        assert self.depot is not None
        size, begin = self._part(), self._clock()
        for start in range(0, count, size):
            part = move.loads[start : start + size]
            contents = await self.depot.read(arena, [slot for slot, _ in part])
            whole = [data for data in contents if data is not None]
            if len(whole) < len(contents):
                _log.error("K/V on disk is damaged: a file of %s, %d tokens, %s", file.tenant, file.length, arena.model)
                move.damaged = True
                self._cut(move, move.image.slots.index(part[contents.index(None)][0]))
                return False
            try:
                await self._engine.write([page for _, page in part], whole)
            except Exception:
                _log.exception("K/V from disk could not be put on the device")
                self._cut(move, 0)
                return False
        if count:
            arena.costs.filed(count, self._clock() - begin)
        return True

    def _cut(self, move: Move, good: int) -> None:
        """Use only so many pages of a plain file's image from now on."""
        size, image, file = self._tiers.arena.page_size, move.image, move.file
        if file.derived is None and image is not None and file.image == image:
            kvfs = self._tiers.kvfs
            kvfs.set_image(file, image.cut(good * size, size) if good else None, kvfs.loose.get(file))

    def _give_up(self, moves: Sequence[Move]) -> None:
        """A bug of the host in the books of a move: its files are cut off from it, whoever waits tries again."""
        _log.exception("finishing a move of K/V failed; the host tier is not used any more")
        self._tiers.usable = False
        for move in moves:
            self._tiers.abandon(move)
            self._back(move, False)


def _size(move: Move) -> int:
    return len(move.copies) + len(move.loads) + move.saves
