"""K/V on disk, by slots: of which models it is, who has slots there besides files, reading and writing them.

Joins arenas (which slots there are), engines (whose pages they hold) and the store (what is on the medium). It knows
neither files nor what a journal says of them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple, Protocol

from symphony.core.operation import Operation
from symphony.engine.engine import Engine
from symphony.kvfs.arena import Arena, Costs
from symphony.kvfs.image import unref_image
from symphony.kvfs.integrity import Holders
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.pages import PagePool
from symphony.param import MAX_DISK_PAGES
from symphony.store.records import Format, Put
from symphony.store.store import Store

PART_BYTES = 32 << 20
"""What is read or written at a time has so many bytes in memory."""
ASSUMED_DISK_BYTES = 500e6
"""A second, until pages have been written or read."""


class DiskLimits(NamedTuple):
    size: int
    """Bytes of K/V on disk, of each model."""
    tenant_share: float
    """Of them, what one tenant may have..."""
    tenant_shares: Mapping[str, float] = MappingProxyType({})
    """...and tenants with a share of their own."""


class Mounted(Protocol):
    """A model's engine and its books."""

    @property
    def engine(self) -> Engine: ...

    @property
    def arena(self) -> Arena: ...

    @property
    def clock(self) -> Callable[[], float]: ...

    def freed(self) -> None:
        """Somebody gave K/V up."""
        ...

    def submit(self, operation: Operation) -> None:
        """A new one."""
        ...


class Held(NamedTuple):
    """Slots of which somebody has references, who pays for them as a file of that tenant does."""

    arena: Arena
    tenant: str
    slots: tuple[int, ...]


class Depot:
    """All methods belong to the event-loop thread; `read`, `write` and `damaged` suspend."""

    def __init__(self, kvfs: Kvfs, loops: Mapping[str, Mounted], store: Store | None) -> None:
        """Without a store nothing goes to disk."""
        self.store = store
        self._kvfs = kvfs
        self._loops = loops
        self._formats: dict[Arena, Format] = {}
        self._used: dict[int, Held] = {}
        """For the moment: what a sync writes, a check reads, ..."""
        self._uses = itertools.count()

    def mount(self, files: Sequence[Put], limits: DiskLimits) -> Mapping[Format, Arena]:
        """Give each arena its slots, those of `files` among them, and make arenas for formats that no model of this
        host has. Returns where the formats of the files are."""
        for loop in self._loops.values():
            info = loop.engine.info
            if info.image_bytes:
                self._formats[loop.arena] = Format(info.name, info.digest, info.page_size, info.image_bytes)
        by_key = {_key(form): arena for arena, form in self._formats.items()}
        homes: dict[Format, Arena] = {}
        least: Counter[Arena] = Counter()
        for put in files:
            key = _key(put.format)
            if key not in by_key:
                by_key[key] = self._mount_foreign(put.format)
            arena = homes[put.format] = by_key[key]
            least[arena] = max(least[arena], *(slot + 1 for slot in put.slots), 0)
        for arena, form in self._formats.items():
            room = min(limits.size // form.page_bytes, MAX_DISK_PAGES)
            arena.disk = PagePool(max(room, least[arena]), first=0)
            arena.costs.disk_seconds = form.page_bytes / ASSUMED_DISK_BYTES
            arena.tenant_disk = int(arena.disk.capacity * limits.tenant_share)
            arena.own_disk = {name: int(arena.disk.capacity * share) for name, share in limits.tenant_shares.items()}
        return homes

    def _mount_foreign(self, form: Format) -> Arena:
        """Of a model that this host does not run: its files can be looked at and removed, nothing else."""
        facts = f"{form.model} (weights, dtype or RoPE of digest {form.digest[:12]}, {form.page_size} tokens a page)"
        arena = self._kvfs.mount(facts, form.digest, form.page_size, 1, 0, Costs(0.0))
        self._formats[arena] = form
        return arena

    # ---- looking -------------------------------------------------------------------------------------------------
    def keeps(self, arena: Arena) -> bool:
        """Whether anything can go to disk of it."""
        return self.store is not None and arena in self._formats

    def form(self, arena: Arena) -> Format:
        """Of an arena that can."""
        return self._formats[arena]

    @property
    def foreign(self) -> bool:
        """Whether there are files whose pages no model of this host has."""
        return len(self._formats) > len(self._loops)

    def sizes(self) -> dict[str, int]:
        """Bytes of a page on disk, by the name of the arena."""
        return {arena.model: form.page_bytes for arena, form in self._formats.items()}

    @property
    def lost_commits(self) -> int:
        """Commits that could not be read at the start."""
        return 0 if self.store is None else self.store.recovery.damaged

    def home(self, arena: Arena) -> Arena | None:
        """The arena of a model of this host whose K/V is the same, in pages of another size."""
        form = self._formats.get(arena)
        if form is None or arena.model in self._loops:
            return None
        for loop in self._loops.values():
            own = self._formats.get(loop.arena)
            if own is None or own.digest != form.digest or loop.engine.info.image_shape is None:
                continue
            if own.page_bytes * form.page_size == form.page_bytes * own.page_size:
                return loop.arena
        return None

    # ---- holding -------------------------------------------------------------------------------------------------
    @contextmanager
    def hold(self, arena: Arena, tenant: str, slots: Sequence[int]) -> Generator[None]:
        """Somebody has a reference on these slots, for the moment; nothing is done here but to know of it."""
        use = next(self._uses)
        self._used[use] = Held(arena, tenant, tuple(slots))
        try:
            yield
        finally:
            del self._used[use]

    @contextmanager
    def kept(self, arena: Arena, tenant: str, slots: Sequence[int]) -> Generator[None]:
        """These slots are nobody else's meanwhile, whatever becomes of the file whose they are."""
        arena.disk.ref(slots, tenant)
        try:
            with self.hold(arena, tenant, slots):
                yield
        finally:
            unref_image(arena, slots, tenant)

    def holders(self, others: Sequence[Held]) -> dict[Arena, Holders]:
        """Who holds slots on disk besides files and moves; `others` do, too."""
        found: dict[Arena, Holders] = {arena: Counter() for arena in self._formats}
        for held in (*others, *self._used.values()):
            found[held.arena].update((slot, held.tenant) for slot in held.slots)
        return found

    # ---- contents ------------------------------------------------------------------------------------------------
    async def read(self, arena: Arena, slots: Sequence[int]) -> list[bytes | None]:
        """What these slots hold; None where it is damaged."""
        if self.store is None or arena not in self._formats:
            return [None for _ in slots]
        return await self.store.read(self._formats[arena], slots)

    async def write(self, arena: Arena, pages: Mapping[int, bytes]) -> None:
        """Fill these slots, of which no journal knows: they may be lost with the host. Raises SymphonyError."""
        assert self.store is not None
        await self.store.commit({self._formats[arena]: pages}, [])

    async def damaged(self, arena: Arena, tenant: str, slots: Sequence[int]) -> list[int]:
        """Which of these pages are not what was written."""
        with self.kept(arena, tenant, slots):
            size = max(PART_BYTES // self._formats[arena].page_bytes, 1)
            bad: list[int] = []
            for start in range(0, len(slots), size):
                contents = await self.read(arena, slots[start : start + size])
                bad += [start + index for index, data in enumerate(contents) if data is None]
        return bad


def _key(form: Format) -> tuple[str, int, int]:
    return form.digest, form.page_size, form.page_bytes
