"""Syncs beside one another, beside changes of names, and cancelled: what was acknowledged is what a crash leaves."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from core.core_harness import Host, run, settle
from store.store_disk import Call, MemoryDisk
from symphony.core import ledger
from symphony.core.config import CoreConfig
from symphony.core.depot import DiskLimits
from symphony.core.operator import Operator
from symphony.engine.fake import FakeEngine
from symphony.errors import InternalError, NoSpace, SymphonyError
from symphony.kvfs.modes import Principal
from symphony.store.records import Dropped
from symphony.store.store import Store

OLD, NEW = tuple(range(40, 90)), (1, 2, 3)


class Kept(Host):
    """A worker of a core whose store is on a disk in memory."""

    def __init__(self, disk: MemoryDisk, **config: Any) -> None:
        self.disk = disk
        self.store = Store(disk)
        limits = DiskLimits(1 << 20, 1.0)
        super().__init__(FakeEngine(pages=64, host_pages=32), CoreConfig(debug=True, disk=limits, **config), self.store)
        self.held: asyncio.Event | None = None

    async def __aenter__(self) -> Kept:
        await super().__aenter__()
        self.session = self.core.open_session("t")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.disk.fault = lambda call: None
        await super().__aexit__(*exc)
        await self.store.close()

    async def start_sync(self, file: int) -> int:
        op = next(self.ids)
        await self.core.sync(self.session, file, op)
        return op

    async def sync(self, file: int) -> None:
        await self.end_of(await self.start_sync(file))

    async def end_of(self, op: int) -> None:
        answer = await self.arrival(op)
        if isinstance(answer, SymphonyError):
            raise answer

    async def make(self, path: str, tokens: tuple[int, ...], sync: bool = True) -> int:
        file = await self.core.open(self.session, None, path, write=True, create=True)
        await self.pred(self.session, file, tokens)
        if sync:
            await self.sync(file)
        return file

    async def sync_that_waits(self, file: int) -> tuple[int, asyncio.Event]:
        """A sync that has its pages once the event is set."""
        gate, real = asyncio.Event(), self.engine.read

        async def read(pages: Sequence[int], slots: Sequence[int]) -> list[bytes]:
            self.engine.read = real
            await gate.wait()
            return await real(pages, slots)

        self.engine.read = read
        op = await self.start_sync(file)
        await settle()
        return op, gate

    def left(self) -> MemoryDisk:
        return MemoryDisk(self.disk.contents())


async def tree(disk: MemoryDisk) -> dict[str, tuple[int, ...]]:
    """What another life finds."""
    async with Kept(disk) as h:
        found: dict[str, tuple[int, ...]] = {}
        for path in await h.core.glob(h.session, "/**"):
            file = await h.core.open(h.session, None, path)
            found[path] = tuple(await h.contents(h.session, file))
            await h.core.close_file(h.session, file)
    return found


@run
async def test_a_name_is_of_who_was_synced_last_although_the_old_file_is_being_synced() -> None:
    async with Kept(MemoryDisk()) as h:
        old = await h.make("/x", OLD)
        await h.pred(h.session, old, OLD)
        op, gate = await h.sync_that_waits(old)
        await h.core.unlink(h.session, "/x")
        await h.make("/x", NEW)
        during = h.left()
        gate.set()
        await h.end_of(op)
        after = h.left()
    assert await tree(during) == await tree(after) == await tree(h.disk) == {"/x": NEW}


@run
async def test_a_renamed_file_that_is_being_synced_keeps_its_new_name_only() -> None:
    async with Kept(MemoryDisk()) as h:
        old = await h.make("/x", OLD)
        await h.pred(h.session, old, NEW)
        op, gate = await h.sync_that_waits(old)
        await h.core.rename(h.session, "/x", "/y")
        await h.make("/x", NEW)
        during = h.left()
        gate.set()
        await h.end_of(op)
        after = h.left()
    assert await tree(during) == {"/x": NEW, "/y": OLD}
    assert await tree(after) == {"/x": NEW, "/y": OLD + NEW}


@run
async def test_what_is_saved_over_a_file_that_is_being_synced_leaves_it_its_name() -> None:
    async with Kept(MemoryDisk()) as h:
        old = await h.make("/x", OLD)
        await h.pred(h.session, old, NEW)
        op, gate = await h.sync_that_waits(old)
        await h.core.save(h.session, await h.core.create(h.session, None), "/x", True)
        flush = h.core._durable.ledger.flush
        h.core._durable.ledger.flush = lambda store: asyncio.sleep(0)  # pyright: ignore[reportAttributeAccessIssue]
        gate.set()
        await h.end_of(op)
        left = h.left()
        h.core._durable.ledger.flush = flush
    assert await tree(left) == {"/x": OLD + NEW}, "until what was saved is synced"


@run
async def test_a_sync_is_not_acknowledged_if_the_end_of_the_old_file_cannot_be_recorded() -> None:
    for k in range(8):
        async with Kept(MemoryDisk()) as h:
            await h.make("/x", OLD)
            await h.core.unlink(h.session, "/x")
            new = await h.make("/x", NEW, sync=False)
            calls = 0

            def fault(call: Call, k: int = k) -> None:
                nonlocal calls
                calls += 1
                if calls - 1 == k:
                    raise OSError(28, "No space left on device")

            h.disk.fault = fault
            try:
                await h.sync(new)
                told = {"/x": NEW}
            except NoSpace:
                told = {"/x": OLD}
            left = h.left()
            h.disk.fault = lambda call: None
            if told == {"/x": OLD}:
                await h.sync(new)
        assert await tree(left) == told, f"call {k}"
        assert await tree(h.disk) == {"/x": NEW}


async def syncs_with_a_failure(code: int, k: int) -> bool:
    """Two syncs, during which the disk's call `k` fails; whether there were so many."""
    async with Kept(MemoryDisk()) as h:
        one, two = await h.make("/one", OLD), await h.make("/two", NEW, sync=False)
        await h.pred(h.session, one, NEW)
        left, told = k, list[bool]()

        def fault(call: Call) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise OSError(code, os.strerror(code))

        h.disk.fault = fault
        for file in (one, two):
            answer = await h.arrival(await h.start_sync(file))
            assert isinstance(answer, NoSpace if code == 28 else InternalError) or answer is None
            told.append(answer is None)
        h.disk.fault = lambda call: None
        h.core.check_integrity()
        verdict = await Operator(h.core, Principal("t", "t")).check("/")
        assert (verdict.files, verdict.damaged) == (1 + told[1], [])
        await h.sync(one)
        await h.sync(two)
    assert await tree(h.disk) == {"/one": OLD + NEW, "/two": NEW}
    return left < 0


@pytest.mark.parametrize("code", [28, 5])
def test_after_any_failure_of_the_disk_the_books_are_right_and_a_check_finds_nothing(code: int) -> None:
    calls = [k for k in range(20) if asyncio.run(syncs_with_a_failure(code, k))]
    assert 6 < len(calls) < 20, "of two syncs"


@run
async def test_a_failed_commit_takes_nothing_from_the_one_behind_it() -> None:
    """The end of the old file went into the first, and is in the second too."""
    async with Kept(MemoryDisk()) as h:
        await h.make("/x", OLD)
        await h.core.unlink(h.session, "/x")
        other, new = await h.make("/other", OLD, sync=False), await h.make("/x", NEW, sync=False)
        entered, go = threading.Event(), threading.Event()

        def fault(call: Call) -> None:
            if call.kind == "write":
                entered.set()
                go.wait(5)
                h.disk.fault = lambda call: None
                raise OSError(28, "No space left on device")

        h.disk.fault = fault
        first = await h.start_sync(other)
        await asyncio.to_thread(entered.wait, 5)
        second = await h.start_sync(new)
        await settle()
        go.set()
        with pytest.raises(NoSpace):
            await h.end_of(first)
        await h.end_of(second)
        left = h.left()
    assert await tree(left) == {"/x": NEW}


@run
async def test_a_cancelled_sync_keeps_its_slots_until_its_commit_is_over() -> None:
    async with Kept(MemoryDisk()) as h:
        one, two = await h.make("/one", OLD, sync=False), await h.make("/two", tuple(range(140, 190)), sync=False)
        entered, go = threading.Event(), threading.Event()

        def fault(call: Call) -> None:
            if call.kind == "write":
                entered.set()
                go.wait(5)

        h.disk.fault = fault
        file = h.core._handle(h.core._session(h.session), one).file
        waiter = asyncio.create_task(h.core._durable.sync(file))
        await asyncio.to_thread(entered.wait, 5)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        second = await h.start_sync(two)
        await settle()
        go.set()
        await h.end_of(second)
        named = [slot for put in h.store.files() for slot in put.slots]
        assert len(named) == len(set(named)) == 8
        left = h.left()
    assert set(await tree(left)) == {"/one", "/two"}


@run
async def test_a_cancelled_flush_loses_nothing() -> None:
    async with Kept(MemoryDisk()) as h:
        await h.core.close_file(h.session, await h.make("/x", OLD))
        await h.core.unlink(h.session, "/x")
        entered, go = threading.Event(), threading.Event()

        def fault(call: Call) -> None:
            entered.set()
            go.wait(5)

        h.disk.fault = fault
        waiter = asyncio.create_task(h.core._durable.flush())
        await asyncio.to_thread(entered.wait, 5)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        go.set()
        await h.make("/y", NEW)
        arena = h.core._loops["fake"].arena
        assert arena.disk.used == {"t": 1}, "the old slots are free"
    assert await tree(h.disk) == {"/y": NEW}


@run
async def test_many_ended_files_are_recorded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "DROPS", 10)
    async with Kept(MemoryDisk()) as h:
        for i in range(25):
            await h.core.close_file(h.session, await h.make(f"/d/{i}", NEW))
        for i in range(25):
            await h.core.unlink(h.session, f"/d/{i}")
        sizes: list[int] = []
        real = h.store.commit

        async def commit(pages: Any, records: Any) -> None:
            sizes.append(sum(isinstance(record, Dropped) for record in records))
            await real(pages, records)

        h.store.commit = commit
        await h.core._durable.flush()
        assert sizes == [10, 10, 5]
        assert not h.store.files()
        assert not h.core._loops["fake"].arena.disk.used.get("t")


@run
async def test_a_time_to_live_counts_from_the_last_use_also_after_a_restart() -> None:
    now = 1000.0
    async with Kept(MemoryDisk(), wall_clock=lambda: now) as h:
        for path in ("/read", "/written", "/idle"):
            file = await h.make(path, NEW)
            await h.core.set_ttl(h.session, file, 5000.0)
            await h.sync(file)
            await h.core.close_file(h.session, file)
        for _ in range(3):
            now += 3000
            await h.core.close_file(h.session, await h.core.open(h.session, None, "/read"))
            await h.core.close_file(h.session, await h.core.open(h.session, None, "/written", write=True))
            if now == 4000:
                await h.core.open(h.session, None, "/idle", write=True)  # and has it open
        await h.core._durable.flush()
        left = h.left()
    now += 4500
    async with Kept(left, wall_clock=lambda: now) as h:
        assert await h.core.glob(h.session, "/**") == ["/idle", "/read", "/written"]
        now += ledger.GRACE_SECONDS - 1  # for /idle, none of whose use was recorded while it was open
        assert "/idle" in await h.core.glob(h.session, "/**")
        now += 2
        assert await h.core.glob(h.session, "/**") == []


@run
async def test_what_was_rebuilt_during_its_sync_is_not_taken_for_what_was_synced() -> None:
    async with Kept(MemoryDisk()) as h:
        one, two = await h.core.create(h.session, None), await h.core.create(h.session, None)
        await h.pred(h.session, one, (7, *OLD))
        await h.pred(h.session, two, (8, *OLD))
        part = await h.core.extract(h.session, one, [(1, 21)], True)
        same = await h.core.extract(h.session, two, [(1, 21)], True)
        await h.core.link(h.session, part, "/part")
        op, gate = await h.sync_that_waits(part)
        await h.core.truncate(h.session, part, 0)
        await h.core.append_from(h.session, part, two, 1, 21)
        gate.set()
        await h.end_of(op)
        assert await h.contents(h.session, part) == await h.contents(h.session, same) == list(OLD[:20])
        file = h.core._handle(h.core._session(h.session), part).file
        assert file.image is None
        await h.sync(part)
        assert file.image is not None
        assert file.image.entries == 20
