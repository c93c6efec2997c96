"""Debug mode: freed pages are poisoned before anybody can read them again, and the books are audited when idle."""

from __future__ import annotations

import pytest
from core_harness import Host, run

from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult


class Watched(FakeEngine):
    def __init__(self, pages: int, page_size: int) -> None:
        super().__init__(pages=pages, page_size=page_size)
        self.poisoned: list[int] = []

    async def step(self, batch: Batch) -> list[RowResult]:
        self.poisoned += batch.poison
        return await super().step(batch)


@run
async def test_pages_are_poisoned_when_nobody_has_them() -> None:
    engine = Watched(pages=12, page_size=4)
    async with Host(engine) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.pred(s, f, list(range(7)))
        [full, partial] = h.core._sessions[s].files[f].file.pages
        await h.core.close_file(s, f)
        other = await h.core.create(s, None)
        await h.pred(s, other, [1])
        assert engine.poisoned == [partial], "the full page is in the prefix cache still"
        assert full not in engine.poisoned


def test_the_audit_finds_wrong_books(caplog: pytest.LogCaptureFixture) -> None:
    @run
    async def lose_a_page() -> None:
        async with Host(pages=12, page_size=4) as h:
            s = h.core.open_session("t")
            f = await h.core.create(s, None)
            arena = h.core._kvfs.arenas["fake"]
            lost = arena.pool.free.pop(0)
            await h.pred(s, f, [1])
            await h.pred(s, f, [2])
            arena.pool.free.append(lost)

    lose_a_page()
    assert any("KVFS integrity" in str(record.exc_info) for record in caplog.records)
