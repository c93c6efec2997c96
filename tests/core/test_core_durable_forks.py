"""Forks of a file that is on disk: it is read once for all of them."""

from __future__ import annotations

import asyncio

from core.core_harness import run
from core.durable_harness import WORDS, life
from store.store_disk import MemoryDisk
from symphony.engine.contents import computed, shifted

FORKS = 8


async def _pages_read(*, cut: int = 0, tenants: int = 1, derived: bool = False) -> int:
    """By forks that all ask the model something at once; `cut`: tokens that each of them gives up before."""
    disk, entries = MemoryDisk(), computed([], WORDS, 0)
    async with life(disk) as h:
        session = h.core.open_session("a", share=True)
        file = await h.make(session, "/shared/file", (9, *WORDS) if derived else WORDS, sync=not derived)
        if derived:
            part = await h.core.extract(session, file, [(1, 1 + len(WORDS))], True)
            await h.core.set_mode(session, part, (await h.core.stat(session, file)).mode)
            await h.core.unlink(session, "/shared/file")
            await h.core.link(session, part, "/shared/file")
            assert await h.arrival(await h.start_sync(session, part)) is None
            entries = shifted(computed([], (9, *WORDS), 0)[1:], -1)
    async with life(MemoryDisk(disk.contents())) as h:
        sessions = [h.core.open_session("ab"[i % tenants]) for i in range(FORKS)]
        files = [await h.core.open(session, None, "/shared/file") for session in sessions]
        for session, file in zip(sessions, files, strict=True):
            await h.core.truncate(session, file, len(WORDS) - cut)
        works = [h.pred(session, file, (i,)) for i, (session, file) in enumerate(zip(sessions, files, strict=True))]
        for i, (reading,) in enumerate(await asyncio.gather(*works)):
            kept = entries[: len(WORDS) - cut]
            assert reading.sampled == h.engine.greedy_after(computed(kept, (i,), len(kept)))
        assert h.engine.tokens == FORKS, "nothing was computed that was there"
        read = h.tiers.fetched_pages
        late = await h.core.open(sessions[0], None, "/shared/file")
        await h.core.truncate(sessions[0], late, len(WORDS) - 1)
        await h.pred(sessions[0], late, (7,))
        assert h.tiers.fetched_pages - read <= 1, "what is in memory is not read again"
        return read


@run
async def test_forks_of_a_file_on_disk_read_it_once() -> None:
    full = len(WORDS) // 16
    assert await _pages_read(cut=len(WORDS) % 16) == full
    assert await _pages_read() <= full + FORKS, "the last page, which each of them goes on in, is read for each"
    assert await _pages_read(cut=len(WORDS) % 16, tenants=2) == full, "who opens a shared file has its pages"


@run
async def test_derived_forks_of_a_file_on_disk_read_it_once() -> None:
    full = len(WORDS) // 16
    assert await _pages_read(cut=len(WORDS) % 16, derived=True) == full
    assert await _pages_read(derived=True, tenants=2) <= full + FORKS


@run
async def test_a_page_that_was_read_is_not_shared_once_somebody_goes_on_in_it() -> None:
    disk = MemoryDisk()
    async with life(disk) as h:
        one = h.core.open_session("t")
        part = await h.core.extract(one, await h.make(one, "/y", (9, *WORDS[:64])), [(1, 65)], True)
        await h.core.link(one, part, "/x")
        assert await h.arrival(await h.start_sync(one, part)) is None
    entries = shifted(computed([], (9, *WORDS[:64]), 0)[1:], -1)
    async with life(MemoryDisk(disk.contents())) as h:
        one = h.core.open_session("t")
        first, second = [await h.core.open(one, None, "/x") for _ in range(2)]
        await h.pred(one, first, (1,))
        await h.core.truncate(one, first, 20)
        for token in range(3):
            await h.pred(one, first, (token,))
        (reading,) = await h.pred(one, second, (1,))
        assert reading.sampled == h.engine.greedy_after(computed(entries, (1,), 64))
