"""Crashes, full and failing disks, flipped bits, `kill -9`: what was acknowledged is there, and nothing is torn."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from store.store_disk import Call, MemoryDisk, crash
from store.store_work import FORMS, Picture, Work, look
from symphony.errors import InternalError, Invalid, NoSpace
from symphony.store import store as store_module
from symphony.store.disk import Folder
from symphony.store.journal import FRESH, NAME
from symphony.store.records import Named
from symphony.store.store import Store

STATES = 1_050


@pytest.fixture(autouse=True)
def _short_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "COMPACT_BYTES", 3000)


def record(seed: int, commits: int) -> tuple[MemoryDisk, Work]:
    """A run, whose log has a mark behind each acknowledgement."""
    disk = MemoryDisk()

    async def run() -> Work:
        store = Store(disk)
        work = Work(store, random.Random(seed), disk.mark)
        await work.run(commits)
        await store.close()
        return work

    return disk, asyncio.run(run())


def opened(disk: MemoryDisk) -> tuple[Picture, Store]:
    async def run() -> tuple[Picture, Store]:
        store = Store(disk)
        found = await look(store)
        await store.close()
        return found, store

    return asyncio.run(run())


def test_crash_states() -> None:
    rng = random.Random(5)
    seen, rewrites, torn = 0, 0, 0
    for seed in range(3):
        disk, work = record(seed, 25)
        rewrites += sum(call.kind == "rename" for call in disk.log)
        points = range(len(disk.log) + 1)
        for point in rng.choices(points, k=STATES // 3):
            log = disk.log[:point]
            acknowledged = max([int(call.data) for call in log if call.kind == "mark"], default=0)
            found, store = opened(crash(log, rng))
            allowed = work.pictures[acknowledged : acknowledged + 5]
            assert found in allowed, f"seed {seed}, call {point}: not the state after commit {acknowledged} or later"
            assert not store.recovery.damaged
            torn += store.recovery.torn > 0
            seen += 1
    assert seen == STATES
    assert rewrites > 3
    assert torn > 2, "commits of which a part was on the medium were among them"


def test_what_a_crash_left_is_gone_on_with() -> None:
    """Crash, go on, crash again: recovery itself may be interrupted, and leaves what can be recovered."""
    rng = random.Random(8)
    for seed in range(30):
        disk, _ = record(seed, 6)
        again = crash(disk.log[: rng.randint(0, len(disk.log))], rng)
        before, _ = opened(again)
        started = MemoryDisk(again.contents())

        async def go_on(started: MemoryDisk = started, before: Picture = before, seed: int = seed) -> None:
            store = Store(started)
            assert await look(store) == before
            await store.commit({FORMS[0]: {190: b"x" * 1536}}, [])
            await store.commit({}, [Named(10_000 + seed, 1, None, 1.0, [])])  # of no file: changes nothing
            assert await look(store) == before
            await store.close()

        asyncio.run(go_on())
        assert opened(started)[0] == before


def test_the_order_of_writes_and_syncs() -> None:
    disk, _ = record(1, 40)
    names: dict[int, str] = {}
    dirty: set[int] = set()
    renamed = False
    for call in disk.log:
        if call.kind == "create":
            names[call.file] = call.names[0]
            renamed = True  # a new name, not sure yet
        elif call.kind == "write":
            if names[call.file] == NAME:
                assert not dirty - {call.file}, "the journal is written when all pages are on the medium"
                assert not renamed or not call.offset, "and all names"
            dirty.add(call.file)
        elif call.kind == "sync":
            dirty.discard(call.file)
        elif call.kind == "rename":
            assert call.names == (FRESH, NAME)
            assert not dirty, "what takes another one's place is on the medium before"
            names = {file: NAME if name == FRESH else name for file, name in names.items() if name != NAME}
            renamed = True
        elif call.kind == "sync_names":
            renamed = False
        elif call.kind == "mark":
            assert not dirty, "nothing is acknowledged that is not on the medium"
            assert not renamed
    assert any(call.kind == "rename" for call in disk.log)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_call_fails_once(code: int) -> None:
    commits = 14
    calls = len([call for call in record(3, commits)[0].log if call.kind != "mark"])
    failed, apart = 0, 0
    for k in range(calls):
        disk = MemoryDisk()
        count = 0

        def fault(call: Call, k: int = k, disk: MemoryDisk = disk) -> int | None:
            nonlocal count
            count += 1
            if count - 1 != k:
                return 1 + count * 7 % 900 if call.kind == "write" and len(call.data) > 900 else None  # short writes
            if call.kind == "write":
                half = call._replace(data=call.data[: len(call.data) // 2])
                disk.log.append(half)  # what the disk took before it failed
                disk.files[call.file][half.offset : half.offset + len(half.data)] = half.data
            raise OSError(code, os.strerror(code))

        async def run(k: int = k, disk: MemoryDisk = disk, fault: Callable[[Call], int | None] = fault) -> Work:
            disk.fault = fault
            try:
                store = Store(disk)
            except OSError:
                store = Store(disk)  # the host says so and does not start; the next time it does
            work = Work(store, random.Random(3), disk.mark)
            await work.run(commits)
            found = await look(store)
            assert found == work.pictures[-1], f"call {k}: {work.failures}"
            await store.close()
            return work

        work = asyncio.run(run())
        kinds = {type(error) for error in work.failures}
        assert kinds <= {NoSpace if code == errno.ENOSPC else InternalError}
        failed, apart = failed + bool(kinds), apart + work.apart
        found, store = opened(MemoryDisk(disk.contents()))
        assert found == work.pictures[-1], f"call {k}"
        assert store.recovery.damaged == 0
    assert apart, "one failed, and what was written beside it did not"
    assert failed > calls / 2, "the others were of recovery and of rewrites, which go on without"


def test_flipped_bits() -> None:
    disk, work = record(2, 30)
    contents, last = disk.contents(), work.pictures[-1]
    history: dict[int, list[tuple[Any, ...]]] = {}
    for old in work.pictures:
        for number, (names, mode, tokens, pages) in old.items():
            history.setdefault(number, []).append((names, mode, tokens, pages))
    rng = random.Random(4)
    noticed = 0
    for _ in range(500):
        name = rng.choice([NAME, *contents])
        data = bytearray(contents[name])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            found, store = opened(MemoryDisk({**contents, name: bytes(data)}))
        except Invalid:
            noticed += 1
            continue
        report = store.recovery
        for number, (names, mode, tokens, pages) in found.items():
            good = [h for h in history[number] if (h[0], h[1], h[2]) == (names, mode, tokens)]
            assert good, "what is served was synced once"
            noticed += None in pages
            assert any(all(page in (None, known) for page, known in zip(pages, old[3], strict=True)) for old in good), (
                "no page is another file's or of another time"
            )
            if None not in pages and not (report.damaged or report.torn):
                assert (names, mode, tokens, pages) in good
        if found.keys() != last.keys() or any(found[n][:3] != last[n][:3] for n in found):
            assert report.damaged or report.torn, "what is missing or old is reported"
            noticed += 1
    assert noticed > 150


def test_another_version_is_refused() -> None:
    disk = MemoryDisk({NAME: b"symphony-kv 2\n".ljust(16, b"\0") + b"whatever it has"})
    with pytest.raises(Invalid, match="format 'symphony-kv 2'"):
        Store(disk)


def test_kill_9(tmp_path: Path) -> None:
    """A hundred times, one life after the other on the same files; in a process of its own, which is quick to fork."""
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "kv")], env=_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[1], *sys.path)))}


def _lives(home: Path) -> None:
    rng = random.Random(6)
    for life in range(100):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _live(home, life, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            os.read(told.fileno(), 1) if rng.random() < 0.8 else None
            time.sleep(rng.random() * 0.01)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            acknowledged = told.read().count(b"\n")
        found, store = opened_folder(home)
        assert not store.recovery.damaged
        mine = {number: file for number, file in found.items() if number > life * 1000}
        assert len(mine) >= min(acknowledged, 1)
        for number, (_, _, tokens, pages) in mine.items():
            assert tokens == number.to_bytes(4, "little") * 3
            assert pages == [bytes([number % 251]) * 1536]
        assert len(mine) >= acknowledged, "each life acknowledges what it wrote, one after the other"


def _live(home: Path, life: int, told: int) -> None:
    """The child: writes one file after the other, and says so when it is sure. Never returns."""
    from symphony.store.records import Dropped, Put

    async def run() -> None:
        store = Store(Folder(home))
        old = [file.id for file in store.files()]
        await store.commit({}, [Dropped(number) for number in old])
        os.write(told, b"-")
        for i in range(1, 1000):
            number = life * 1000 + i
            tokens = number.to_bytes(4, "little") * 3
            slots = [i % 150]
            drop = [Dropped(number - 100)] if i > 100 else []
            put = Put(number, "t", "o", 7, None, 1, 2, 3, [(False, f"f{i}")], FORMS[0], tokens, 3, None, None, slots)
            await store.commit({FORMS[0]: {slots[0]: bytes([number % 251]) * 1536}}, [put, *drop])
            if i <= 100:
                os.write(told, b"\n")

    try:
        asyncio.run(run())
    finally:
        os._exit(0)


def opened_folder(home: Path) -> tuple[Picture, Store]:
    async def run() -> tuple[Picture, Store]:
        store = Store(Folder(home))
        found = await look(store)
        await store.close()
        return found, store

    return asyncio.run(run())


if __name__ == "__main__":
    store_module.COMPACT_BYTES = 3000
    _lives(Path(sys.argv[1]))
