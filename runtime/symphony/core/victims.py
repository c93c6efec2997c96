"""Whose K/V leaves the device when somebody lacks pages, in which order, and whether that suffices (semantics 19).

    1. idle files that nobody has used for a while (their process waits for something else than the model), oldest first
    2. generations that wait for their guest
    3. idle files in use, and then younger operations, the youngest first; each only after it has been on the device for
       a *residence* that its way out and back is small against, so that a crowd takes turns instead of thrashing

There may be thousands of the first kind, so they are kept in order and counted (`kvfs.standby`); the others are as many
as there are operations, and files used within the last moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Protocol

from symphony.core.operation import Operation, Transfer
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Shortage
from symphony.kvfs.tiers import Tiers
from symphony.param import IDLE_SECONDS, RESIDENCE_FACTOR, RESIDENCE_SECONDS

Victim = tuple[File, "Operation | None"]
"""A file, and the operation that is preempted with it."""

_ROUNDS = 256
"""After so many rounds without a shortage nobody keeps count any more."""


@dataclass(slots=True, frozen=True)
class RoomLimits:
    """When K/V may leave the device for others."""

    idle_seconds: float = IDLE_SECONDS
    residence_seconds: float = RESIDENCE_SECONDS
    residence_factor: float = RESIDENCE_FACTOR


class Crowd(Protocol):
    """Operations in flight."""

    active: dict[Operation, None]
    """Oldest first."""
    parked: dict[Operation, None]


class Victims:
    """Nobody is taken here, only chosen."""

    def __init__(self, tiers: Tiers, crowd: Crowd, clock: Callable[[], float], limits: RoomLimits) -> None:
        self.due = inf
        """When the next one becomes due; of this round."""
        self._round: float | None = None
        """When somebody asked first in this round: so late it is for all of it."""
        self._tiers = tiers
        self._pool = tiers.arena.pool
        self._standby = tiers.standby
        self._crowd = crowd
        self._clock = clock
        self._limits = limits
        self._rounds = 0
        """Since somebody asked."""
        self._most: dict[str | None, int] = {}
        """What all victims together were found to give, of all or of one tenant; as long as nothing changed."""
        self._state = (0, 0, 0)
        """How many operations there were then, and how often pages and slots had been given back."""

    def begin(self) -> None:
        """Another round: operations are looked at from the oldest on."""
        self.due = inf
        self._round = None
        if self._standby.on:
            self._most.clear()
            self._rounds = 0 if self._standby.asked else self._rounds + 1
            self._standby.asked = False
            if self._rounds > _ROUNDS:
                self._standby.stop()

    def choose(self, favoured: Operation, shortage: Shortage) -> list[Victim] | None:
        """Files that together give the pages, with their operations; None: there are not enough."""
        now = self.now()
        pages, tenant = shortage
        changed = self._standby.ripen(now - self._limits.idle_seconds, self._tiers.attainable)
        state = len(self._crowd.active), self._pool.released, self._tiers.arena.host.released
        if changed or state != self._state:
            self._most.clear()
            self._state = state
        shared = self.next_page(favoured)
        most = self._most.get(tenant)
        if most is not None and most + (shared > 0) < pages:
            return None  # who is younger than one for whom there was not enough has no more to choose from
        return self._ripe(shared, shortage) or self._all(favoured, shared, shortage, now)

    def next(self, count: int) -> list[File]:
        """The first of the first kind, should somebody lack pages now. `standby` is on."""
        standby, asked = self._standby, self._standby.asked
        if standby.ripen(self._clock() - self._limits.idle_seconds, self._tiers.attainable):
            self._most.clear()
        standby.asked = asked  # nobody did
        with closing(standby.ripe(None).in_order()) as files:
            return list(islice(files, count))

    def now(self) -> float:
        if self._round is None:
            self._round = self._clock()
        return self._round

    def _ripe(self, shared: int, shortage: Shortage) -> list[Victim] | None:
        """The first kind alone."""
        pages, tenant = shortage
        ripe = self._standby.ripe(tenant)
        if ripe.counting and ripe.gain + self._sole(shared, ripe.holds, tenant) < pages:
            return None
        victims: list[Victim] = []
        tally = _Tally(lambda page: self._references(page, tenant), shared)
        for file in ripe.in_order():
            if self._is_stuck(file):
                continue
            victims.append((file, None))
            if tally.add(file.pages) >= pages:
                return victims
        return None

    def _all(self, favoured: Operation, shared: int, shortage: Shortage, now: float) -> list[Victim] | None:
        """The first kind and as many of the others as it takes."""
        pages, tenant = shortage
        ripe = self._standby.ripe(tenant)
        gain = ripe.gain
        holds = ripe.holds
        tally = _Tally(lambda page: self._references(page, tenant) - holds.get(page, 0), shared)
        tally.gain = gain + self._sole(shared, holds, tenant)
        victims: list[Victim] = []
        for victim in self._others(favoured, tenant, now):
            victims.append(victim)
            if tally.add(victim[0].pages) >= pages:
                first: list[Victim] = [(file, None) for file in ripe.in_order() if not self._is_stuck(file)]
                return first + victims if ripe.gain == gain else self._all(favoured, shared, shortage, now)
        self._most[tenant] = tally.gain
        return None

    def _is_stuck(self, file: File) -> bool:
        """The ripe file cannot go now, and is put aside."""
        stuck = file.derived is not None and not self._tiers.can_discard(file)
        if stuck:
            self._standby.stick(file, self._tiers.needs(file))
        return stuck

    def _others(self, favoured: Operation, tenant: str | None, now: float) -> Iterator[Victim]:
        """The second and third kind, in that order."""
        for operation in self._crowd.parked:
            for file in operation.files:
                if not operation.running and self._movable(file, tenant):
                    yield file, operation
        for file, _ in sorted(self._standby.young.items(), key=_number):
            if self._movable(file, tenant):
                due = min(file.touched + self._limits.idle_seconds, file.resident + self._residence(file))
                if due <= now:
                    yield file, None
                else:
                    self.due = min(self.due, due)
        for operation in reversed(self._crowd.active):
            if operation is favoured:
                return
            for file in operation.files:
                if not operation.running and self._movable(file, tenant):
                    due = file.resident + self._residence(file)
                    if due <= now:
                        yield file, operation
                    else:
                        self.due = min(self.due, due)

    def _movable(self, file: File, tenant: str | None) -> bool:
        return (
            bool(file.pages)
            and not file.pins
            and file.arena is self._tiers.arena
            and (tenant is None or file.tenant == tenant)
            and self._tiers.can_discard(file)
        )

    def _residence(self, file: File) -> float:
        return max(self._limits.residence_seconds, self._limits.residence_factor * self._tiers.cost(file))

    def _references(self, page: int, tenant: str | None) -> int:
        return self._pool.refs[page] if tenant is None else self._pool.held(page, tenant)

    def _sole(self, shared: int, holds: dict[int, int], tenant: str | None) -> int:
        """1 if the page need not be copied once the ripe files are gone."""
        return int(holds.get(shared, 0) > 0 and self._references(shared, tenant) - holds[shared] == 1)

    def next_page(self, operation: Operation) -> int:
        """The page that it will go on writing in and that others hold too: it need not be copied once nobody shares it.
        0: there is none."""
        file = operation.target if isinstance(operation, Transfer) and operation.present else operation.file
        index, offset = divmod(file.computed, file.arena.page_size)
        page = file.pages[index] if offset and file.pages else 0
        return page if self._pool.refs[page] > 1 else 0


class _Tally:
    """Counts what files give up together."""

    def __init__(self, references: Callable[[int], int], shared: int) -> None:
        """`references`: of a page, those that count; `shared`: the page that is free once one is left."""
        self.gain = 0
        self._references = references
        self._shared = shared
        self._left: dict[int, int] = {}

    def add(self, pages: list[int]) -> int:
        """One more file; what they give now."""
        left = self._left
        for page in pages:
            if page not in left:
                left[page] = self._references(page)
            left[page] -= 1
            self.gain += left[page] == (page == self._shared)
        return self.gain


def _number(entry: tuple[File, int]) -> int:
    return entry[1]
