"""Damage that could do more damage: lost commits, commits that could not be taken back, newer formats."""

from __future__ import annotations

import asyncio

import pytest

from store.store_disk import Call, MemoryDisk
from symphony.errors import InternalError, Invalid
from symphony.store.journal import NAME
from symphony.store.pool import pool_name
from symphony.store.records import Dropped, Format, Put
from symphony.store.store import Store

FORM = Format("one", "d" * 64, 4, 64)
A, B, C = b"A" * 64, b"B" * 64, b"C" * 64


def put(number: int, slots: list[int], tenant: str = "t") -> Put:
    tokens = bytes(16 * len(slots))
    return Put(number, tenant, "o", 7, None, 1, 2, 3, [(False, f"f{number}")], FORM, tokens, 4, None, None, slots)


def flipped(disk: MemoryDisk, at: int) -> dict[str, bytes]:
    contents = disk.contents()
    journal = bytearray(contents[NAME])
    journal[at] ^= 1
    return {**contents, NAME: bytes(journal)}


async def pages(store: Store) -> dict[str, list[bytes | None]]:
    return {file.tenant: await store.read(FORM, file.slots) for file in store.files()}


def test_a_slot_that_changed_hands_in_a_lost_commit_is_the_newer_files() -> None:
    async def run() -> None:
        disk = MemoryDisk()
        store = Store(disk)
        await store.commit({FORM: {0: A, 1: C}}, [put(1, [0, 1], "alice")])
        await store.commit({FORM: {2: A}}, [put(2, [2], "bob")])
        end = len(disk.contents()[NAME])
        await store.commit({}, [Dropped(1)])
        await store.commit({FORM: {0: B}}, [put(2, [0], "bob")])
        await store.close()
        contents = flipped(disk, end + 40)
        for _ in range(2):
            disk = MemoryDisk(contents)
            store = Store(disk)
            assert store.recovery.damaged == 1
            assert await pages(store) == {"alice": [None, C], "bob": [B]}
            (alice,) = [file for file in store.files() if file.tenant == "alice"]
            await store.commit({}, [put(1, alice.slots, "alice")])  # as if it were synced again before it was read
            assert await pages(store) == {"alice": [None, C], "bob": [B]}
            await store.close()
            contents = disk.contents()

    asyncio.run(run())


def test_pages_of_a_commit_in_doubt_are_not_written_before_it_is_taken_back() -> None:
    async def run() -> None:
        disk = MemoryDisk()
        store = Store(disk)
        await store.commit({FORM: {0: A}}, [put(1, [0])])
        journal = disk.by_name[NAME]

        def fault(call: Call) -> None:
            if call.file == journal and call.kind in ("sync", "truncate"):
                raise OSError(5, "EIO")

        disk.fault = fault
        with pytest.raises(InternalError, match="whether this sync is kept"):
            await store.commit({FORM: {1: C}}, [put(1, [1])])
        with pytest.raises(InternalError, match="nothing of this write is kept"):
            await store.commit({FORM: {1: B}}, [])  # part of another sync: the slot is free again
        again = Store(MemoryDisk(disk.contents()))
        assert await pages(again) == {"t": [C]}, "as it would be found after a crash"
        await again.close()
        disk.fault = lambda call: None
        await store.commit({FORM: {1: B}}, [])
        again = Store(MemoryDisk(disk.contents()))
        assert await pages(again) == {"t": [A]}
        await again.close()
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("head", [b"symphony-kv 2\n", b"symphony-kv 10\n"])
def test_a_newer_version_of_the_same_framing_is_refused_and_left_alone(head: bytes) -> None:
    disk = MemoryDisk()

    async def run() -> None:
        store = Store(disk)
        await store.commit({FORM: {0: A}}, [put(1, [0])])
        await store.close()

    asyncio.run(run())
    contents = disk.contents()
    contents[NAME] = head.ljust(16, b"\0") + contents[NAME][16:]
    newer = MemoryDisk(contents)
    with pytest.raises(Invalid, match="is of format"):
        Store(newer)
    assert newer.contents() == contents


def test_nothing_is_removed_while_commits_are_missing() -> None:
    disk, other = MemoryDisk(), Format("two", "e" * 64, 4, 64)

    async def run() -> None:
        store = Store(disk)
        end = len(disk.contents()[NAME])
        lost = put(1, [0])
        lost.format = other
        await store.commit({other: {0: A}, FORM: {5: C}}, [lost])
        await store.commit({FORM: {0: A}}, [put(2, [0])])
        await store.close()
        damaged = MemoryDisk(flipped(disk, end + 40))
        before = damaged.contents()
        store = Store(damaged)
        assert (store.recovery.damaged, store.recovery.orphans) == (1, 0)
        assert pool_name(other) in before
        assert damaged.contents() == before
        await store.close()

    asyncio.run(run())
