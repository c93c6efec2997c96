"""Files beside their models: what several tests of tiers and transfers do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from core_harness import Host
from machine_model import FaultyEngine, Range, Shadow

from symphony.core.config import CoreConfig
from symphony.engine.contents import Entry


class Shadows(Host):
    """A host whose files are compared with models: entries, plain ones, and what comes after them."""

    engine: FaultyEngine

    def __init__(self, config: CoreConfig | None = None, **options: Any) -> None:
        super().__init__(FaultyEngine(**options), config or CoreConfig(debug=True))
        self.arena = self.core._kvfs.arenas["fake"]
        self.room = self.core._loops["fake"].room

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        assert not self.engine.bugs
        assert not self.core._kvfs.files
        assert self.arena.available == self.arena.pool.capacity
        assert self.arena.free_slots == self.arena.host.capacity

    def session(self, tenant: str = "t") -> int:
        return self.core.open_session(tenant, share=True)

    def real(self, session: int, file: int) -> Any:
        return self.core._sessions[session].files[file].file

    async def make(self, session: int, tokens: Sequence[int]) -> tuple[int, Shadow]:
        """A file of these tokens, computed."""
        file = await self.core.create(session, None)
        shadow = Shadow(self.core._sessions[session].tenant, self.real(session, file))
        if tokens:
            await self.feed(session, file, shadow, tokens)
        return file, shadow

    async def feed(self, session: int, file: int, shadow: Shadow, tokens: Sequence[int]) -> None:
        """A prediction over `tokens`: must draw what the model says."""
        entries = shadow.after(tokens)
        [reading] = await self.pred(session, file, tokens)
        assert reading.sampled == self.engine.greedy_after(entries)
        shadow.become(entries)
        await self.agree(session, file, shadow)

    async def ask(self, session: int, file: int, shadow: Shadow) -> None:
        """Asks again about the last entry."""
        [reading] = await self.pred(session, file, [])
        assert reading.sampled == self.engine.greedy_after(shadow.entries)
        await self.agree(session, file, shadow)

    async def extract(
        self, session: int, file: int, shadow: Shadow, ranges: Sequence[Range], rebase: bool = False
    ) -> tuple[int, Shadow]:
        entries = shadow.parts(ranges, rebase)
        assert entries is not None
        number = await self.core.extract(session, file, ranges, rebase)
        made = Shadow(shadow.tenant, self.real(session, number))
        made.graft(shadow, [i for a, b in ranges for i in range(a, b)], entries)
        await self.agree(session, number, made)
        return number, made

    async def append(
        self, session: int, file: int, shadow: Shadow, other: int, source: Shadow, start: int, end: int
    ) -> None:
        entries = source.renumbered(start, end, shadow.position)
        await self.core.append_from(session, file, other, start, end)
        shadow.graft(source, range(start, end), entries)
        await self.agree(session, file, shadow)

    async def agree(self, session: int, file: int, shadow: Shadow) -> None:
        stat = await self.core.stat(session, file)
        assert stat.length == len(shadow.entries)
        assert stat.plain == shadow.plain
        assert await self.contents(session, file) == shadow.tokens
        held = self.held(session, file)
        assert held == shadow.entries[: len(held)]
        self.core.check_integrity()

    def held(self, session: int, file: int) -> list[Entry | None]:
        """The entries that the file's pages or slots really hold."""
        real, size = self.real(session, file), self.engine.info.page_size
        places = real.slots or real.pages
        return [self.engine.entry(places[i // size], i % size, bool(real.slots)) for i in range(real.computed)]

    async def stow(self, session: int, file: int) -> None:
        """Have it moved to the host, now."""
        self.arena.costs.token_seconds = 1e9
        await self.core.advise(session, file, "dont-need")
        while self.room.moves():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        assert self.tier(session, file) == "host"

    def tier(self, session: int, file: int) -> str:
        return self.real(session, file).tier
