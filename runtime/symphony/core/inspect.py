"""What can be seen of a core from outside while it runs: gauges of its models, and what a session is doing.

Ids in, plain records out, nothing is changed: so it can cross a socket like the rest of the core (semantics 16).
Reads everybody's books and belongs to nobody's work; knows nothing of processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from symphony.core.files import Files
from symphony.core.generation import Generation
from symphony.core.loop import StepLoop
from symphony.core.operation import Operation, Prediction, Transfer
from symphony.core.session import Handle, Session
from symphony.kvfs.file import File
from symphony.kvfs.pages import PagePool
from symphony.param import MAX_SURVEY_PAGES

STEP = "step"
"""What an operation waits for: its row is in the step that runs, or..."""
NEXT_STEP = "next step"
"""...may be in the next one;"""
PAGES = "pages"
"""room on the device;"""
RECALL = "recall"
"""its keys and values, which come back from the host;"""
GUEST = "guest"
"""its guest, which has to take what was generated."""


@dataclass(slots=True)
class TierGauge:
    """Pages of the device, or slots of the host; `free` + `cached` + `used` = `capacity`."""

    capacity: int
    free: int
    cached: int
    """Kept by the prefix cache alone: they go when somebody needs them."""
    used: int
    tenants: dict[str, int]
    """Used ones by the tenant that they are charged to."""


@dataclass(slots=True)
class ModelGauge:
    """One model now."""

    model: str
    device: str
    page_size: int
    """Tokens."""
    page_bytes: int
    """0: unknown."""
    steps: int
    """So far; so are the others that say so."""
    rows: int
    """In the last step."""
    tokens: int
    """Likewise."""
    tokens_per_second: float
    """Lately, those of prompts and drawn ones."""
    computed_tokens: int
    """Likewise, so far..."""
    prompt_tokens: int
    """...of which programs gave so many."""
    generated_tokens: int
    """Drawn so far."""
    reused_tokens: int
    guesses: int
    """Predictions begun before anybody asked..."""
    guesses_right: int
    """...of which so many were asked for."""
    """Tokens whose keys and values were found, so far."""
    pages: TierGauge
    slots: TierGauge
    disk: TierGauge
    """Slots on disk."""
    moved_out: int
    """Pages copied to the host so far."""
    moved_back: int
    """Likewise to the device."""
    fetched: int
    """Pages read from disk so far..."""
    saved: int
    """...and written for want of room, not for a sync."""
    moving: int
    """Pages that move now."""
    dropped_tokens: int
    """Entries given up so far, to be computed again if somebody wants them."""
    preemptions: int
    """Operations that had to give up their pages so far."""
    active: int
    """Operations that have work for the model..."""
    starved: int
    """...of which so many wait for pages, or for K/V that comes back."""
    parked: int
    """Generations that wait for their guest."""
    files: int
    """Named, or open."""


@dataclass(slots=True)
class OperationView:
    """One operation in flight."""

    kind: str
    """'predict', 'generate' or 'transfer' (extract, append-from)."""
    file: int
    """The session's id of the file."""
    waits_for: str
    """One of the words above."""
    work: int
    """Tokens that it has for the model."""


@dataclass(slots=True)
class Activity:
    """What a session does and holds now."""

    operations: list[OperationView] = field(default_factory=list[OperationView])
    files: int = 0
    """Open ones..."""
    away: int = 0
    """...of which so many have their keys and values off the device, some in part."""
    on_device: int = 0
    """...and of so many some are there."""
    device_pages: int = 0
    host_pages: int = 0
    entries: int = 0
    """Of their page tables. Where that is more than was to be looked at, pages that files share count for each file."""
    locks: int = 0
    """Advisory locks that it holds..."""
    awaited_locks: int = 0
    """...and waits for."""

    @property
    def swapped(self) -> bool:
        """Nothing of its files is on the device, and there is something that was."""
        return bool(self.away) and not self.on_device


class Inspector:
    """All methods return at once."""

    def __init__(self, core: Files) -> None:
        self._core = core

    def gauges(self) -> list[ModelGauge]:
        """One a model, the default one first."""
        return [self._gauge(loop) for loop in self._core._loops.values()]

    def swapped(self, session: int) -> bool:
        """`Activity.swapped`, for less."""
        found = self._core._sessions.get(session)
        files = [handle.file for handle in found.files.values()] if found is not None else []
        return any(file.tier != "device" for file in files) and not any(file.pages for file in files)

    def activity(self, session: int, most: int = MAX_SURVEY_PAGES) -> Activity:
        """Of a session that has ended: nothing. `most`: entries of page tables to look at."""
        found = self._core._sessions.get(session)
        if found is None:
            return Activity()
        ids = {handle: number for number, handle in found.files.items()}
        files = list(dict.fromkeys(handle.file for handle in found.files.values()))
        held = sum([lock.held for lock in found.locks.values()])
        return Activity(
            operations=[_view(operation, ids) for operation in found.operations.values()],
            files=len(found.files),
            away=sum([file.tier != "device" for file in files]),
            on_device=sum([bool(file.pages) for file in files]),
            device_pages=count_pages([(file, file.pages) for file in files], most),
            host_pages=count_pages([(file, file.slots) for file in files], most),
            entries=sum([len(file.pages) + len(file.slots) for file in files]),
            locks=held,
            awaited_locks=len(found.locks) - held,
        )

    def _gauge(self, loop: StepLoop) -> ModelGauge:
        arena, room, tiers = loop.arena, loop.room, loop.room.tiers
        cached = len(arena.cache.idle)
        return ModelGauge(
            model=arena.model,
            device=loop.info.device,
            page_size=arena.page_size,
            page_bytes=loop.info.bytes_per_page,
            steps=loop.steps,
            rows=loop.meter.rows,
            tokens=loop.meter.tokens,
            tokens_per_second=loop.meter.per_second(loop.clock()),
            computed_tokens=loop.meter.total,
            prompt_tokens=loop.meter.prompt,
            generated_tokens=loop.meter.generated,
            reused_tokens=loop.meter.reused,
            guesses=loop.guessed,
            guesses_right=loop.guessed_right,
            pages=_tier(arena.pool, cached),
            slots=_tier(arena.host, len(arena.idle_slots)),
            disk=_tier(arena.disk, 0),
            moved_out=tiers.stowed_pages,
            moved_back=tiers.recalled_pages,
            fetched=tiers.fetched_pages,
            saved=tiers.saved_pages,
            moving=sum([len(move.copies) + len(move.loads) for move in room.moves()]),
            dropped_tokens=tiers.dropped_tokens,
            preemptions=room.preemptions,
            active=len(loop.active),
            starved=sum([_waits_for(operation) in (PAGES, RECALL) for operation in loop.active]),
            parked=len(loop.parked),
            files=sum([file.arena is arena for file in self._core._kvfs.files]),
        )


def count_pages(tables: Sequence[tuple[File, Sequence[int]]], most: int) -> int:
    """Pages in these tables of files, each once; in tables of more than `most` entries together, as often as they are
    there: who has a thousand forks of a long file must not hold up the event loop."""
    if not tables:
        return 0
    entries = sum([len(table) for _, table in tables])
    if entries > most:
        return entries
    return len({(file.arena.model, page) for file, table in tables for page in table})


def holders(sessions: Iterable[tuple[int, Session]]) -> dict[object, list[int]]:
    """Which sessions have each file open."""
    found: dict[object, list[int]] = {}
    for number, session in sessions:
        for file in dict.fromkeys(handle.file for handle in session.files.values()):
            found.setdefault(file, []).append(number)
    return found


def _tier(pool: PagePool, cached: int) -> TierGauge:
    free = len(pool.free)
    return TierGauge(pool.capacity, free, cached, pool.capacity - free - cached, dict(pool.used))


def _view(operation: Operation, ids: dict[Handle, int]) -> OperationView:
    if isinstance(operation, Prediction):
        kind = "predict"
    else:
        kind = "generate" if isinstance(operation, Generation) else "transfer"
    return OperationView(kind, ids.get(operation.handle, 0), _waits_for(operation), operation.work)


def _waits_for(operation: Operation) -> str:
    file = operation.file
    if operation.running:
        return STEP
    if operation in operation.handle.loop.parked or (isinstance(operation, Generation) and operation.error is not None):
        return GUEST
    if isinstance(operation, Transfer) and operation.present:
        return NEXT_STEP
    if file.move is not None and not file.move.out:
        return RECALL
    if operation.reserved >= len(file.tokens):
        return NEXT_STEP
    return PAGES
