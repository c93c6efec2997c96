"""The disk as a tier: files that nobody synced go there when memory is full, and come back with their K/V."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.core_harness import run, settle
from core.durable_harness import Durable, life
from store.store_disk import Call, MemoryDisk, crash
from symphony.core import core, moves
from symphony.engine.contents import Entry, computed, shifted
from symphony.errors import NoSpace
from symphony.store.records import Format, Record

PAGE_BYTES = 16 * 24


@asynccontextmanager
async def small(disk: MemoryDisk, **options: Any) -> AsyncGenerator[Durable]:
    """Seven pages on the device, three on the host; K/V is moved whatever computing it is found to take."""
    async with life(disk, **{"pages": 8, "host_pages": 3, **options}) as host:
        host.core._loops["fake"]._prefilled = lambda seconds: None
        yield host


def words(n: int) -> list[int]:
    """Of two pages and a half, other ones for each `n`."""
    return [40 + n, *range(41, 80)]


async def fill(h: Durable, session: int, count: int) -> list[int]:
    files: list[int] = []
    for n in range(count):
        files.append(await h.core.create(session, None))
        await h.pred(session, files[-1], words(n))
    return files


async def tiers(h: Durable, session: int, files: list[int]) -> list[str]:
    return [(await h.core.stat(session, file)).tier for file in files]


@run
async def test_what_memory_has_no_room_for_comes_back_from_disk() -> None:
    async with small(MemoryDisk()) as h:
        one = h.core.open_session("t")
        files = await fill(h, one, 6)
        assert {"disk", "device"} <= set(await tiers(h, one, files)) <= {"disk", "host", "device"}
        before = h.engine.tokens
        for n, file in enumerate(files):
            assert (await h.generate(one, file, (7,), max_tokens=3)).tokens == h.expect([*words(n), 7], 3)
        assert h.engine.tokens - before == 3 * len(files), "nothing was computed a second time"
        assert h.tiers.dropped_tokens == 0
        assert h.tiers.fetched_pages >= 6
        assert h.core.usage(one).reused_tokens == 0, "its own K/V that was away is not what it found"
        for file in files:
            await h.core.close_file(one, file)
        arena = h.core._loops["fake"].arena
        await asyncio.sleep(0.01)
        assert len(arena.disk.free) == arena.disk.capacity


@run
async def test_what_cannot_be_computed_again_goes_there_too() -> None:
    async with small(MemoryDisk(), pages=16) as h:
        one = h.core.open_session("t")
        parts: list[tuple[int, list[Entry]]] = []
        for n in range(8):
            source = await h.core.create(one, None)
            await h.pred(one, source, words(n))
            part = await h.core.extract(one, source, [(3, 38)], True)
            parts.append((part, shifted(computed([], words(n), 0)[3:38], -3)))
            await h.core.close_file(one, source)
        for file, entries in parts:
            (reading,) = await h.pred(one, file, (7,))
            assert reading.sampled == h.engine.greedy_after(computed(entries, (7,), 35))
        assert h.tiers.saved_pages >= 6


@run
async def test_one_that_takes_its_time_to_disk_holds_nobody_up() -> None:
    async with small(MemoryDisk(), host_pages=0) as h:
        one = h.core.open_session("t")
        gate, commit = asyncio.Event(), h.store.commit

        async def slow(pages: Mapping[Format, Mapping[int, bytes]], records: Sequence[Record]) -> None:
            await gate.wait()
            await commit(pages, records)

        h.store.commit = slow
        files = await fill(h, one, 2)
        op = await h.start_pred(one, await h.core.create(one, None), words(2))
        await settle()
        assert not h.answers.get(op), "three pages of seven are wanted, one is free"
        assert (await tiers(h, one, files)) == ["device", "device"]
        await h.pred(one, files[1], (7,))
        back = await h.start_pred(one, files[0], (7,))
        await settle()
        assert not h.answers.get(back), "it is on its way"
        gate.set()
        await h.arrival(op)
        (reading,) = await h.arrival(back)
        assert reading.sampled == h.expect([*words(0), 7], 1)[0]


@run
async def test_what_was_read_longest_ago_gives_way_and_what_was_synced_does_not() -> None:
    async with small(MemoryDisk(), host_pages=0, disk_bytes=9 * PAGE_BYTES) as h:
        one = h.core.open_session("t")
        kept = await h.make(one, "/kept", words(0))
        files = await fill(h, one, 5)
        assert (await tiers(h, one, [kept, *files[:3]])) == ["disk", "evicted", "disk", "disk"]
        assert h.tiers.dropped_tokens == 0, "it was there, and gave way"
        other = await h.core.open(one, None, "/other", write=True, create=True)
        await h.pred(one, other, words(9))
        assert await h.arrival(await h.start_sync(one, other)) is None, "a sync has room that others hold"
        assert (await h.core.stat(one, kept)).tier == "disk"
        for n, file in enumerate(files):
            assert (await h.generate(one, file, (7,), max_tokens=2)).tokens == h.expect([*words(n), 7], 2)
        third = await h.core.open(one, None, "/third", write=True, create=True)
        await h.pred(one, third, words(10))
        assert await h.arrival(await h.start_sync(one, third)) is None
        fourth = await h.core.open(one, None, "/fourth", write=True, create=True)
        await h.pred(one, fourth, words(11))
        assert isinstance(await h.arrival(await h.start_sync(one, fourth)), NoSpace), "nine pages are synced"


@run
async def test_a_sync_of_what_is_there_writes_no_page_again_and_is_sure() -> None:
    disk = MemoryDisk()
    async with small(disk, host_pages=0) as h:
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/x", write=True, create=True)
        await h.pred(one, file, words(9))
        await fill(h, one, 2)
        assert (await h.core.stat(one, file)).tier == "disk"
        written = sum(call.kind == "write" and len(call.data) == PAGE_BYTES for call in disk.log)
        before = len(disk.log)
        assert await h.arrival(await h.start_sync(one, file)) is None
        assert written == sum(call.kind == "write" and len(call.data) == PAGE_BYTES for call in disk.log)
        assert [call.kind for call in disk.log[before:]] == ["sync", "write", "sync"], "pages, journal"
        left = [crash(disk.log, random.Random(seed)) for seed in range(20)]
    for remains in left:
        async with small(MemoryDisk(remains.contents())) as h:
            file = await h.core.open(h.core.open_session("t"), None, "/x")
            found = (await h.generate(1, file, (7,), max_tokens=2)).tokens
            assert (found, h.engine.tokens) == (h.expect([*words(9), 7], 2), 2)


@run
async def test_a_disk_that_refuses_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk, wanted = MemoryDisk(), True

    def full(call: Call) -> None:
        if wanted and call.kind == "write":
            raise OSError(28, "No space left on device")

    async with small(disk, host_pages=0) as h:
        disk.fault = full
        one = h.core.open_session("t")
        await fill(h, one, 4)
        assert caplog.text.count("could not go to disk") == 1
        assert h.tiers.saved_pages == 0
        wanted = False
        monkeypatch.setattr(h.core._loops["fake"].room._mover, "_again", 0.0)
        await fill(h, one, 4)
        assert h.tiers.saved_pages > 0
    assert moves.RETRY_SECONDS >= 1


@run
async def test_what_comes_from_disk_takes_no_more_pages_than_it_has_asked_for() -> None:
    async with small(MemoryDisk(), host_pages=0) as h:
        one = h.core.open_session("t")
        files = await fill(h, one, 3)
        kvfs, arena = h.core._kvfs, h.tiers.arena
        (file,) = [f for f in kvfs.files if f.tokens[0] == 40]
        assert file.tier == "disk"
        await h.core.close_file(one, files[2])
        kvfs.begin(file, ())
        assert kvfs.reserve(file, 48) == []
        assert len(arena.pool.free) + len(arena.cache.idle) < 3, "they would not suffice for three more"
        assert h.tiers.fetch(file, 48) is None
        assert len(file.move.pages) == 3
        h.core._loops["fake"].room._mover.start()
        while file.move is not None:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        kvfs.settle(file, file.length)


@run
async def test_a_sync_computes_the_token_that_was_drawn_last_and_the_file_is_free_meanwhile() -> None:
    disk = MemoryDisk()
    async with small(disk, pages=20) as h:
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/x", write=True, create=True)
        written = (await h.generate(one, file, words(0), max_tokens=3)).tokens
        (kept,) = h.core._kvfs.files
        assert kept.computed == len(kept.tokens) - 1 == 42
        syncing = await h.start_sync(one, file)
        await h.pred(one, file, (7,))
        assert await h.arrival(syncing) is None
        before = h.engine.tokens
        await h.pred(one, file, (8,))
        assert (h.engine.tokens - before, h.tiers.fetched_pages) == (1, 0), "it has no use for what is on disk"
    async with small(MemoryDisk(disk.contents()), pages=20) as h:
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/x", write=True)
        text = [*words(0), *written]
        assert await h.contents(one, file) == text
        assert (await h.pred(one, file, (9,)))[0].sampled == h.expect([*text, 9], 1)[0]
        assert (h.engine.tokens, h.core.usage(one).reused_tokens) == (1, len(text))


@run
async def test_a_sync_for_which_others_give_way_keeps_what_it_needs_of_its_own() -> None:
    async with small(MemoryDisk(), host_pages=0, disk_bytes=5 * PAGE_BYTES) as h:
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/x", write=True, create=True)
        await h.pred(one, file, words(9))
        await fill(h, one, 2)
        assert (await h.core.stat(one, file)).tier == "disk"
        await h.pred(one, file, tuple(range(90, 110)))
        assert await h.arrival(await h.start_sync(one, file)) is None
        arena = h.tiers.arena
        (kept,) = [f for f in h.core._kvfs.files if f.record is not None]
        assert kept.image is not None
        assert (len(set(kept.image.slots)), kept.image.entries, arena.disk.used) == (4, 60, {"t": 4})


@run
async def test_who_goes_on_has_its_file_read_before_it_asks() -> None:
    async with small(MemoryDisk(), host_pages=0) as h:
        one = h.core.open_session("t")
        files = await fill(h, one, 3)
        assert (await h.core.stat(one, files[0])).tier == "disk"
        await h.core.close_file(one, files[2])
        assert not h.core._kvfs.stowed
        h.core.resume(one)
        (file,) = [f for f in h.core._kvfs.files if f.tokens[0] == 40]
        assert file.move is not None
        await h.pred(one, files[0], (7,))


@run
async def test_a_sync_that_ends_late_leaves_alone_what_went_to_disk_meanwhile() -> None:
    async with small(MemoryDisk(), host_pages=0, pages=20) as h:
        one = h.core.open_session("t")
        other = await h.core.create(one, None)
        await h.pred(one, other, words(0))
        file = await h.make(one, "/x", words(1), sync=False)
        await h.core.append_from(one, file, other, 0, 2)
        commit, gate = h.store.commit, asyncio.Event()

        async def slow(pages: Mapping[Format, Mapping[int, bytes]], records: Sequence[Record]) -> None:
            if records:
                await gate.wait()
            await commit(pages, records)

        h.store.commit = slow
        syncing = await h.start_sync(one, file)
        await settle()
        await h.core.append_from(one, file, other, 3, 38)
        parts = computed([], words(0), 0)
        entries = [*computed([], words(1), 0), *shifted(parts[:2], 40), *shifted(parts[3:38], 39)]
        await h.core.advise(one, file, "dont-need")
        (kept,) = [f for f in h.core._kvfs.files if f.names]
        while kept.pages:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        gate.set()
        assert await h.arrival(syncing) is None
        assert kept.computed == 0
        (reading,) = await h.pred(one, file, (7,))
        assert reading.sampled == h.engine.greedy_after(computed(entries, (7,), 77)), "it cannot be computed again"
        assert h.core._kvfs.loose.synced == {kept: 2}, "the pages of the sync stay, the others give way"


@run
async def test_what_went_to_disk_beside_a_sync_gives_way_all_the_same() -> None:
    async with small(MemoryDisk(), host_pages=0, pages=20) as h:
        one = h.core.open_session("t")
        file = await h.make(one, "/x", words(1), sync=False)
        commit, gate = h.store.commit, asyncio.Event()

        async def slow(pages: Mapping[Format, Mapping[int, bytes]], records: Sequence[Record]) -> None:
            if not records and not gate.is_set():
                await gate.wait()
            await commit(pages, records)

        h.store.commit = slow
        await h.core.advise(one, file, "dont-need")
        await settle()
        assert await h.arrival(await h.start_sync(one, file)) is None
        (kept,) = [f for f in h.core._kvfs.files if f.names]
        assert kept.image is not None
        synced = kept.image.slots
        assert kept.pages
        gate.set()
        while kept.pages:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        assert kept.image.slots == synced
        assert h.tiers.arena.disk.used == {"t": 3}, "once, not twice"


@run
async def test_syncs_that_wait_for_pages_do_not_wait_for_each_other() -> None:
    async with small(MemoryDisk(), host_pages=0, pages=20) as h:
        one = h.core.open_session("t")
        files: list[int] = []
        for n in range(19):
            files.append(await h.core.open(one, None, f"/{n}", write=True, create=True))
            await h.generate(one, files[-1], (n, 41, 42), max_tokens=2)
            if n < 9:
                await h.core.pin(one, files[-1])
        assert not h.tiers.arena.available, "each has a page, and each sync wants one more"
        syncs = [await h.start_sync(one, file) for file in files]
        for sync in syncs:
            assert await asyncio.wait_for(h.arrival(sync), 10) is None


@run
async def test_a_bug_in_the_books_of_a_move_leaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with small(MemoryDisk(), host_pages=0) as h:
        one = h.core.open_session("t")
        files = await fill(h, one, 1)
        land, bugs = h.tiers._land, 0

        def bad(move: Any, valid: bool) -> None:
            nonlocal bugs
            bugs += 1
            h.tiers._land = land
            raise ValueError("a bug")

        async def leave() -> None:
            await h.core.advise(one, files[0], "dont-need")
            while h.core._loops["fake"].room.moves():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)

        h.tiers._land = bad
        await leave()
        assert await tiers(h, one, files) == ["device"]
        h.core.check_integrity()
        await leave()
        assert await tiers(h, one, files) == ["disk"]
        h.tiers._land = bad
        assert (await h.generate(one, files[0], (7,), max_tokens=1)).tokens == h.expect([*words(0), 7], 1)
        assert bugs == 2
        h.core.check_integrity()
    assert caplog.text.count("finishing a move of K/V failed") == 2


@run
async def test_who_goes_on_with_many_files_has_the_last_ones_brought_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "RESUMED_FILES", 2)
    async with small(MemoryDisk(), host_pages=0) as h:
        one = h.core.open_session("t")
        files = await fill(h, one, 4)
        for file in files:
            await h.core.advise(one, file, "dont-need")
        while h.core._loops["fake"].room.moves():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        assert await tiers(h, one, files) == ["disk"] * 4
        h.core.resume(one)
        while h.core._loops["fake"].room.moves():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        assert await tiers(h, one, files) == ["disk", "disk", "device", "device"]
