"""What is left of the store when something goes wrong that should not, and what it leaves alone."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from store.store_disk import Call, MemoryDisk, crash
from store.store_work import FORMS
from symphony.errors import InternalError, NoSpace
from symphony.store import disk as disk_module
from symphony.store import store as store_module
from symphony.store.disk import Folder, make_directory
from symphony.store.journal import NAME
from symphony.store.records import Put
from symphony.store.store import Store


def put(number: int) -> Put:
    return Put(number, "t", "o", 7, None, 1, 2, 3, [(False, f"f{number}")], FORMS[0], b"1234", 0, None, None, [])


def test_a_bug_in_the_writer_fails_its_commits_and_no_others(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        store = Store(MemoryDisk())
        write: Any = store._write

        def bad(jobs: Any) -> Any:
            store._write = write
            raise ValueError("a bug")

        store._write = bad
        with pytest.raises(InternalError, match="a bug"):
            await asyncio.wait_for(store.commit({}, [put(1)]), 5)
        await asyncio.wait_for(store.commit({}, [put(2)]), 5)
        assert [file.id for file in store.files()] == [2]
        await asyncio.wait_for(store.close(), 5)
        await store.close()

    asyncio.run(work())
    assert "a commit of KV files failed" in caplog.text


def test_a_rewrite_that_fails_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "COMPACT_BYTES", 600)

    closed = list[int]()

    async def work(disk: MemoryDisk, fails: Any) -> None:
        store = Store(disk)
        fails(store)
        for _ in range(30):
            await asyncio.wait_for(store.commit({}, [put(1)]), 5)
        assert store._journal._handle == disk.by_name[NAME]
        disk.close = lambda handle: closed.append(handle)
        await store.close()
        assert [file.id for file in Store(MemoryDisk(disk.contents())).files()] == [1]

    def bug(store: Store) -> None:
        def rewrite(payloads: Any) -> None:
            raise ValueError("a bug")

        monkeypatch.setattr(store._journal, "rewrite", rewrite)

    asyncio.run(work(MemoryDisk(), bug))
    assert "could not be rewritten" in caplog.text
    disk = MemoryDisk()
    closed.clear()

    def close(handle: int) -> None:
        closed.append(handle)
        raise OSError(5, "EIO")

    def closing(store: Store) -> None:
        disk.close = close

    asyncio.run(work(disk, closing))
    assert len(closed) > 3
    assert len(set(closed)) == len(closed), "each descriptor once"


def test_a_start_keeps_no_copy_of_the_journal() -> None:
    disk = MemoryDisk()

    async def work(numbers: range) -> None:
        store = Store(disk)
        assert not store._journal.found.payloads
        for number in numbers:
            await store.commit({}, [put(number)])
        await store.close()

    asyncio.run(work(range(20)))
    asyncio.run(work(range(20, 21)))


def test_the_names_of_new_directories_are_made_sure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[int]()

    def fsync(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(disk_module.os, "fsync", fsync)
    make_directory(tmp_path / "a" / "b" / "c")
    assert set(synced) == {folder.stat().st_ino for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")}
    synced.clear()
    make_directory(tmp_path / "a" / "b" / "c")
    assert not synced


def test_a_start_leaves_a_long_journal_alone_that_is_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "COMPACT_BYTES", 600)
    disk = MemoryDisk()

    async def work(disk: MemoryDisk, numbers: range) -> None:
        store = Store(disk)
        for number in numbers:
            await store.commit({}, [put(number)])
        await store.close()

    asyncio.run(work(disk, range(40)))
    again = MemoryDisk(disk.contents())
    size = len(again.contents()[NAME])
    assert size > 2 * 600
    asyncio.run(work(again, range(40, 41)))
    assert not any(call.kind == "rename" for call in again.log), "forty files, one of them new"
    assert len(again.contents()[NAME]) > size
    failing, tries = MemoryDisk(again.contents()), list[Call]()

    def full(call: Call) -> None:
        if call.kind == "create" and call.names[0].endswith(".new"):
            tries.append(call)
            raise OSError(28, "No space left on device")

    failing.fault = full
    store = Store(failing)
    store._limit = 0

    async def go_on() -> None:
        for number in range(4):
            await store.commit({}, [put(number)])
        await store.close()

    asyncio.run(go_on())
    assert len(tries) == 1, "it is not tried with every commit"


def test_pages_that_a_sync_failed_for_are_written_again_before_anything_names_them() -> None:
    disk, form = MemoryDisk(), FORMS[0]
    page = bytes(range(256)) * 6

    def named(number: int, slots: list[int]) -> Put:
        record = put(number)
        record.entries, record.slots = 4 * len(slots), slots
        return record

    async def work() -> None:
        store = Store(disk)
        await store.commit({form: {0: page, 1: page[::-1]}}, [])

        def bad(call: Call) -> None:
            if call.kind == "sync":
                disk.fault = lambda call: None
                raise OSError(5, "Input/output error")

        disk.fault = bad
        with pytest.raises(InternalError, match="nothing of this write is kept"):
            await store.commit({form: {2: page}}, [named(1, [2])])
        await store.commit({}, [named(2, [0, 1])])

    asyncio.run(work())
    for seed in range(10):
        store = Store(crash(disk.log, random.Random(seed)))
        assert [file.id for file in store.files()] == [2]
        assert asyncio.run(store.read(form, [0, 1])) == [page, page[::-1]]


def test_a_commit_whose_pages_cannot_be_written_takes_no_other_along() -> None:
    disk, (one, two) = MemoryDisk(), FORMS
    bad, good = b"x" * one.page_bytes, b"y" * one.page_bytes

    def fault(call: Call) -> None:
        if call.kind == "write" and call.data == bad:
            raise OSError(28, "No space left on device")

    async def work() -> None:
        store = Store(disk)
        disk.fault = fault
        named = put(2)
        named.slots = [1]
        jobs: list[Any] = [({one: {0: bad}}, [put(1)]), ({one: {1: good}}, [named]), ({two: {0: bytes(700)}}, [])]
        done = await asyncio.gather(*[store.commit(*job) for job in jobs], return_exceptions=True)
        assert [type(error) for error in done] == [NoSpace, type(None), type(None)]
        journal = disk.by_name[NAME]

        def no_journal(call: Call) -> None:
            if call.file == journal and call.kind == "write":
                raise OSError(5, "Input/output error")

        disk.fault = no_journal
        done = await asyncio.gather(
            store.commit({}, [put(3)]), store.commit({two: {1: bytes(700)}}, []), return_exceptions=True
        )
        assert [type(error) for error in done] == [InternalError, type(None)]
        disk.fault = lambda call: None
        await store.close()

    asyncio.run(work())
    again = Store(MemoryDisk(disk.contents()))
    assert [file.id for file in again.files()] == [2]
    assert asyncio.run(again.read(one, [1])) == [good]


def test_a_full_disk_is_found_where_the_pool_grows_and_not_where_a_page_is_written() -> None:
    disk, form = MemoryDisk(), FORMS[0]
    room = 3 * form.page_bytes

    def full(call: Call) -> None:
        if call.kind == "truncate" and call.offset > room:
            raise OSError(28, "No space left on device")

    async def work() -> None:
        store = Store(disk)
        disk.fault = full
        await store.commit({form: {2: bytes(form.page_bytes)}}, [])
        before = len(disk.log)
        with pytest.raises(NoSpace):
            await store.commit({form: {3: bytes(form.page_bytes)}}, [])
        assert len(disk.log) == before, "nothing was written"
        await store.close()

    asyncio.run(work())


def test_room_is_taken_where_the_file_system_has_no_call_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = errno.EOPNOTSUPP

    def allocate(handle: int, start: int, size: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(disk_module.os, "posix_fallocate", allocate)
    folder = Folder(tmp_path / "kv")
    handle = folder.open("pages-x")
    folder.write(handle, b"abc", 0)
    folder.allocate(handle, 5000)
    assert folder.read(handle, 6000, 0) == b"abc".ljust(5000, b"\0")
    assert os.fstat(handle).st_blocks * 512 >= 5000
    code = errno.ENOSPC
    with pytest.raises(OSError, match="No space"):
        folder.allocate(handle, 6000)
    folder.close(handle)
