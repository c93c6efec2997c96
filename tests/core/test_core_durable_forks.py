"""Forks of a file that is on disk: it is read once for all of them."""

from __future__ import annotations

import asyncio

from core.core_harness import run
from core.durable_harness import WORDS, life
from store.store_disk import MemoryDisk

FORKS = 8


async def _pages_read(*, cut: int = 0, tenants: int = 1) -> int:
    """By forks that all ask the model something at once; `cut`: tokens that each of them gives up before."""
    disk = MemoryDisk()
    async with life(disk) as h:
        session = h.core.open_session("a", share=True)
        await h.make(session, "/shared/file")
    async with life(MemoryDisk(disk.contents())) as h:
        sessions = [h.core.open_session("ab"[i % tenants]) for i in range(FORKS)]
        files = [await h.core.open(session, None, "/shared/file") for session in sessions]
        for session, file in zip(sessions, files, strict=True):
            await h.core.truncate(session, file, len(WORDS) - cut)
        works = [h.pred(session, file, (i,)) for i, (session, file) in enumerate(zip(sessions, files, strict=True))]
        for i, (reading,) in enumerate(await asyncio.gather(*works)):
            assert reading.sampled == h.engine.greedy([*WORDS[: len(WORDS) - cut], i])
        assert h.engine.tokens == FORKS, "nothing was computed that was there"
        return h.tiers.fetched_pages


@run
async def test_forks_of_a_file_on_disk_read_it_once() -> None:
    full = len(WORDS) // 16
    assert await _pages_read(cut=len(WORDS) % 16) == full
    assert await _pages_read() <= full + FORKS, "the last page, which each of them goes on in, is read for each"
    assert await _pages_read(cut=len(WORDS) % 16, tenants=2) == 2 * full, "tenants share no cache"
