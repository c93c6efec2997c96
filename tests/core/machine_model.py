"""The plain model behind `test_core_machine`: what files hold, said in lists; and an engine that goes wrong on demand.

A file is a list of entries (token, position, content), of which the first `plain` are plain (semantics 5). It knows no
pages, tiers, prefix cache or batches: whatever those do must not show.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from symphony.engine.contents import Entry, computed, shifted
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import InternalError
from symphony.store.records import Format, Put, Record
from symphony.store.store import Recovery

Range = tuple[int, int]


@dataclass(slots=True, eq=False)
class Shadow:
    """One file as it should be."""

    tenant: str
    real: Any
    entries: list[Entry] = field(default_factory=list[Entry])
    plain: int = 0
    opens: int = 0
    names: int = 0
    everybody: bool = False
    """Whether other tenants may read it."""
    mixed: bool = False
    """Whether pages of another tenant may be in it."""
    job: Any = None
    """The operation in flight."""
    locks: dict[int, bool] = field(default_factory=dict[int, bool])
    """Lock id -> shared."""
    resident: int = 0
    """Entries that a pin keeps on the device."""

    @property
    def tokens(self) -> list[int]:
        return [entry.token for entry in self.entries]

    @property
    def position(self) -> int:
        """Of the entry to come."""
        return self.entries[-1].position + 1 if self.entries else 0

    @property
    def derived(self) -> bool:
        return self.plain < len(self.entries)

    def clone(self, tenant: str, real: Any) -> Shadow:
        mixed = self.mixed or tenant != self.tenant
        return Shadow(tenant, real, list(self.entries), self.plain, mixed=mixed)

    def after(self, tokens: Sequence[int]) -> list[Entry]:
        """Its entries once `tokens` have been computed behind them."""
        return computed(self.entries, tokens, self.position)

    def become(self, entries: list[Entry]) -> None:
        """Entries were computed behind its own."""
        if not self.derived:
            self.plain = len(entries)
        self.entries = entries

    def cut(self, length: int) -> None:
        del self.entries[length:]
        self.plain = min(self.plain, length)

    def parts(self, ranges: Sequence[Range], rebase: bool) -> list[Entry] | None:
        """What an extract gives; None: kept positions would not ascend."""
        found = [self.entries[i] for start, end in ranges for i in range(start, end)]
        if rebase:
            return [shifted([entry], i - entry.position)[0] for i, entry in enumerate(found)]
        ascending = all(a.position < b.position for a, b in itertools.pairwise(found))
        return found if ascending else None

    def renumbered(self, start: int, end: int, position: int) -> list[Entry]:
        """A range of its entries as another file gets it, from `position` on."""
        return [shifted([e], position + i - e.position)[0] for i, e in enumerate(self.entries[start:end])]

    def graft(self, source: Shadow, indexes: Sequence[int], entries: Sequence[Entry]) -> None:
        """`entries`, which were copied from these of `source`, come behind its own. Plain is what the source has
        plain, at the same place, behind the same tokens."""
        self.mixed |= source.mixed
        theirs, before, plain = source.tokens, source.plain, not self.derived
        same = self.tokens == theirs[: len(self.entries)]
        for index, entry in zip(indexes, list(entries), strict=True):
            at = len(self.entries)
            plain = plain and same and index == at and index < before and entry.position == at
            self.entries.append(entry)
            self.plain += plain


class Fault(Exception):
    """Injected."""


class FaultyEngine(FakeEngine):
    """Loses steps, rows and moves on demand, with everything that they were to write; keeps what it complains about
    by itself, which is somebody's bug."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lose_steps = self.lose_rows = self.lose_moves = 0
        """How many of the next ones."""
        self.faults = 0
        self.ahead = 0
        """Steps launched before the ones before them were over."""
        self.bugs: list[str] = []

    def launch(self, batch: Batch) -> Awaitable[list[RowResult]]:
        self.ahead += self._flying
        try:
            return super().launch(batch)
        except ValueError as e:
            self.bugs.append(str(e))
            raise

    async def step(self, batch: Batch) -> list[RowResult]:
        if self.lose_steps:
            self.lose_steps -= 1
            self.faults += 1
            self._undefine(batch)
            raise Fault("a lost step")
        try:
            results = await super().step(batch)
        except ValueError as e:
            self.bugs.append(str(e))
            raise
        self.bugs += [result.error for result in results if result.error]
        if self.lose_rows and results:
            self.lose_rows -= 1
            self.faults += 1
            self._undefine(Batch(batch.rows[:1]))
            results[0] = RowResult(error="NaN")
        return results

    async def move(self, out: Any, back: Any) -> None:
        try:
            await super().move(out, back)
        except ValueError as e:
            self.bugs.append(str(e))
            raise
        if self.lose_moves:
            self.lose_moves -= 1
            self.faults += 1
            for _, slot in out:
                self._memory.host[slot] = [None] * self.info.page_size
            for _, page in back:
                self._memory.pages[page] = [None] * self.info.page_size
            raise Fault("a lost move")

    def entry(self, place: int, index: int, on_host: bool) -> Entry | None:
        """What a page or slot really holds."""
        return (self._memory.host if on_host else self._memory.pages)[place][index]

    def _undefine(self, batch: Batch) -> None:
        pages, size = self._memory.pages, self.info.page_size
        for page in [*batch.poison, *[target for _, target in batch.copies]]:
            pages[page] = [None] * size
        for copy in batch.entries:
            for i in range(copy.count):
                pages[copy.target][copy.target_offset + i] = None
        for row in batch.rows:
            for i in range(row.start, row.start + len(row.tokens) if row.write else row.start):
                pages[row.block_table[i // size]][i % size] = None


class VirtualStore:
    """A `store.Store` on virtual time, for pages only: it forgets none, and loses writes on demand."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.recovery = Recovery(0, 0, 0, 0)
        self.lose_writes = 0
        self._pages: dict[int, bytes] = {}
        self._seconds = seconds

    def files(self) -> list[Put]:
        return []

    async def commit(self, pages: Mapping[Format, Mapping[int, bytes]], records: Sequence[Record]) -> None:
        assert not records
        for some in pages.values():
            for slot in some:
                self._pages.pop(slot, None)
        await asyncio.sleep(self._seconds())
        if self.lose_writes:
            self.lose_writes -= 1
            raise InternalError("a lost write")
        for some in pages.values():
            self._pages.update(some)

    async def read(self, form: Format, slots: Sequence[int]) -> list[bytes | None]:
        await asyncio.sleep(self._seconds())
        return [self._pages.get(slot) for slot in slots]
