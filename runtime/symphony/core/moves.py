"""Runs the moves of K/V between device and host, beside the steps: those first that come back, for somebody waits.

What a move means for its file is `kvfs.tiers`; who is to move, and when, is the room's to say (room.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from symphony.engine.engine import Engine
from symphony.kvfs.file import File
from symphony.kvfs.tiers import Move, Tiers
from symphony.param import MOVE_PAGES

_log = logging.getLogger(__name__)


class Mover:
    """All methods belong to the event-loop thread; only `run` suspends."""

    def __init__(self, engine: Engine, tiers: Tiers, clock: Callable[[], float], lost: Callable[[File], None]) -> None:
        """`lost` is told of a file whose K/V does not come back."""
        self.running: list[Move] = []
        self._engine = engine
        self._tiers = tiers
        self._clock = clock
        self._lost = lost
        self._work: asyncio.Future[None] | None = None
        self._closed = False

    def unfinished(self) -> list[Move]:
        """Moves that are not over."""
        return [*self._tiers.waiting, *self.running]

    async def run(self, wake: Callable[[], None]) -> None:
        """Run what waits, until `close`; `wake` is called when some are over."""
        loop, tiers = asyncio.get_running_loop(), self._tiers
        while not self._closed:
            if not tiers.waiting:
                self._work = loop.create_future()
                await self._work
                continue
            self.running = self._next()
            try:
                await self._run(self.running)
            except Exception:
                self._give_up()
            self.running = []
            wake()
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

    def _next(self) -> list[Move]:
        waiting = sorted(self._tiers.waiting, key=lambda move: move.out)
        count, pages = 0, 0
        while count < len(waiting) and (not count or pages + len(waiting[count].copies) <= MOVE_PAGES):
            pages += len(waiting[count].copies)
            count += 1
        self._tiers.waiting = waiting[count:]
        return waiting[:count]

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
            costs = self._tiers.arena.costs
            costs.page_seconds += 0.2 * ((self._clock() - start) / count - costs.page_seconds)
        for move in moves:
            valid = move.file.move is move
            self._tiers.finish(move, done)
            if not move.out:
                move.file.resident = self._clock()
                if valid and not move.done:
                    self._lost(move.file)

    def _give_up(self) -> None:
        """A bug of the host in the books of a move: its files are cut off from it, whoever waits tries again."""
        _log.exception("finishing a move of K/V failed; the host tier is not used any more")
        self._tiers.usable = False
        for move in self.running:
            if move.file.move is move:
                move.file.move = None
                self._tiers.kvfs.note(move.file)
