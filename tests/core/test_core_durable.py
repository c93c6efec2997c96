"""Files that survive: a core is left as `kill -9` leaves it, another one opens what was synced."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.core_harness import Host, run
from symphony import Runtime
from symphony.core.config import CoreConfig
from symphony.core.depot import DiskLimits
from symphony.core.messages import Principal
from symphony.core.operator import Operator
from symphony.engine.contents import computed, shifted
from symphony.engine.fake import FakeEngine
from symphony.errors import Busy, Exists, Invalid, NoSpace, NotFound, SymphonyError, Unavailable
from symphony.store.disk import Folder
from symphony.store.store import Store

WORDS = tuple(range(40, 90))


class Counted(Folder):
    """Counts writes by their sizes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.written: Counter[int] = Counter()

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        self.written[len(data)] += 1
        return super().write(handle, data, offset)


class Durable(Host):
    """A worker of a core with a store."""

    def __init__(self, home: Path | None, limits: DiskLimits | None = None, **options: Any) -> None:
        engine = FakeEngine(**{"pages": 64, "host_pages": 32, **options})
        config = CoreConfig(debug=True, disk=limits or DiskLimits(1 << 20, 1.0))
        self.disk = Counted(home or Path())
        self.store = None if home is None else Store(self.disk)
        super().__init__(engine, config, self.store)

    async def sync(self, session: int, file: int) -> None:
        op = next(self.ids)
        await self.core.sync(session, file, op)
        answer = await self.arrival(op)
        if isinstance(answer, SymphonyError):
            raise answer

    async def make(self, session: int, path: str, tokens: tuple[int, ...] = WORDS) -> int:
        """A named file, computed and synced."""
        file = await self.core.open(session, None, path, write=True, create=True)
        await self.pred(session, file, tokens)
        await self.sync(session, file)
        return file

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        if self.store is not None:
            await self.store.close()


@asynccontextmanager
async def life(home: Path, **options: Any) -> AsyncIterator[Durable]:
    async with Durable(home, **options) as host:
        yield host


def remains(home: Path, to: Path) -> Path:
    """What a host that is killed now leaves: the files as they are, nothing said good-bye."""
    shutil.copytree(home, to, dirs_exist_ok=True)
    return to


async def comes_to(h: Durable, session: int, file: int, tier: str) -> None:
    for _ in range(10_000):
        if (await h.core.stat(session, file)).tier == tier:
            return
        await asyncio.sleep(0.001)  # a thread reads the disk meanwhile
    raise AssertionError(f"the file never came to the tier {tier}")


@run
async def test_a_synced_file_survives_with_its_keys_and_values(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        one = h.core.open_session("t")
        file = await h.make(one, "/notes/today")
        await h.core.create(one, None)
        home = remains(tmp_path / "a", tmp_path / "b")
        await h.pred(one, file, (1, 2))  # not synced
    async with life(home) as h:
        one = h.core.open_session("t")
        assert (await h.core.stat_path(one, "/notes/today")).tier == "disk"
        file = await h.core.open(one, None, "/notes/today")
        assert await h.contents(one, file) == list(WORDS)
        before = h.engine.tokens
        assert (await h.generate(one, file, (7,), max_tokens=9)).tokens == h.expect([*WORDS, 7], 9)
        assert h.engine.tokens - before == 9, "only what is new was computed"
        assert h.core.usage(one).reused_tokens == len(WORDS)
        assert (await h.core.stat_path(one, "/notes/today")).tier == "disk", "the fork has pages, the file has none yet"


@run
async def test_derived_keys_and_values_survive_too(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        one = h.core.open_session("t")
        source = await h.core.create(one, None)
        await h.pred(one, source, WORDS)
        part = await h.core.extract(one, source, [(5, 30), (33, 50)], True)
        await h.core.link(one, part, "/part")
        await h.sync(one, part)
        home = remains(tmp_path / "a", tmp_path / "b")
    async with life(home) as h:
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/part")
        (reading,) = await h.pred(one, file, (3,))
        whole = computed([], WORDS, 0)
        entries = computed(shifted(whole[5:30], -5) + shifted(whole[33:50], -8), (3,), 42)
        assert reading.sampled == h.engine.greedy_after(entries)
        assert (await h.core.stat(one, file)).plain == 0


@run
async def test_names_modes_and_ends_are_kept(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        one = h.core.open_session("t", share=True)
        file = await h.make(one, "/a/x")
        await h.core.link(one, file, "/a/y")
        await h.make(one, "/shared/z")
        await h.make(one, "/gone")
        await h.core.set_mode(one, file, 0b000011)
        await h.core.rename(one, "/a", "/b")
        await h.core.unlink(one, "/gone")
        await h.core._durable.flush()
        home = remains(tmp_path / "a", tmp_path / "b")
    async with life(home) as h:
        one, other = h.core.open_session("t"), h.core.open_session("u")
        assert await h.core.glob(one, "/**") == ["/b/x", "/b/y"]
        assert (await h.core.stat_path(one, "/b/x")).names == 2
        assert (await h.core.stat_path(one, "/b/y")).mode == 0b000011
        assert (await h.core.stat_path(other, "/shared/z")).tenant == "t"
        with pytest.raises(NotFound):
            await h.core.open(other, None, "/b/x")
        arena = h.core._loops["fake"].arena
        assert arena.disk.used == {"t": 8}, "two files of four pages"


@run
async def test_what_was_synced_stays_until_something_newer_is(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        one = h.core.open_session("t")
        file = await h.make(one, "/x")
        await h.core.truncate(one, file, 20)
        await h.pred(one, file, (1, 2, 3))
        new = await h.core.create(one, None)
        await h.pred(one, new, (9, 9, 9))
        home = remains(tmp_path / "a", tmp_path / "edited")
        await h.sync(one, file)
        await h.core.save(one, new, "/x", True)
        await h.core._durable.flush()
        replaced = remains(tmp_path / "a", tmp_path / "replaced")
        again = await h.core.open(one, None, "/x", write=True)
        await h.sync(one, again)
        newest = remains(tmp_path / "a", tmp_path / "newest")
        await h.core.unlink(one, "/x")
    for where, tokens in ((home, list(WORDS)), (replaced, [*WORDS[:20], 1, 2, 3]), (newest, [9, 9, 9])):
        async with life(where) as h:
            one = h.core.open_session("t")
            file = await h.core.open(one, None, "/x")
            assert await h.contents(one, file) == tokens
            assert (await h.generate(one, file, (), max_tokens=3)).tokens == h.expect(tokens, 3)
    async with life(tmp_path / "a") as h:
        with pytest.raises(NotFound):
            await h.core.open(h.core.open_session("t"), None, "/x")


@run
async def test_pages_that_are_on_disk_are_not_written_again(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        assert h.store is not None
        one = h.core.open_session("t")
        file = await h.make(one, "/x")
        disk, journal, size = h.disk, h.store._journal, h.engine.info.image_bytes
        assert disk.written[size] == 4
        await h.pred(one, file, tuple(range(100, 120)))
        await h.sync(one, file)
        assert disk.written[size] == 6, "three full pages stay, two are new"
        await h.sync(one, file)
        assert disk.written[size] == 6
        before = journal._number
        await asyncio.gather(*[h.make(one, f"/y{i}") for i in range(6)])
        assert journal._number < before + 6, "syncs at the same time share a commit"


@run
async def test_a_file_on_the_host_tier_is_synced_from_there(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/x", write=True, create=True)
        await h.pred(one, file, WORDS)
        await h.core.advise(one, file, "dont-need")
        await comes_to(h, one, file, "host")
        await h.sync(one, file)
        assert (await h.core.stat(one, file)).tier == "host"
        home = remains(tmp_path / "a", tmp_path / "b")
    async with life(home) as h:
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/x", write=True)
        await h.core.advise(one, file, "will-need")
        await comes_to(h, one, file, "device")
        assert (await h.generate(one, file, (), max_tokens=3)).tokens == h.expect(list(WORDS), 3)
        assert h.engine.tokens == 3


@run
async def test_refusals(tmp_path: Path) -> None:
    async with Durable(None) as h:
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/x", write=True, create=True)
        with pytest.raises(Unavailable, match="keeps nothing on disk"):
            await h.sync(one, file)
    async with life(tmp_path / "a", limits=DiskLimits(24 * 16 * 5, 0.8), step_seconds=0.01) as h:
        one = h.core.open_session("t")
        bare = await h.core.create(one, None)
        with pytest.raises(Invalid, match="no name"):
            await h.sync(one, bare)
        file = await h.make(one, "/x")
        op = await h.start_pred(one, file, (1,))
        with pytest.raises(Busy):
            await h.sync(one, file)
        await h.arrival(op)
        other = await h.core.open(one, None, "/y", write=True, create=True)
        await h.pred(one, other, WORDS)
        with pytest.raises(NoSpace, match="4 KV pages would go to disk"):
            await h.sync(one, other)
        home = remains(tmp_path / "a", tmp_path / "b")
    async with life(home, name="other") as h:
        one = h.core.open_session("t")
        assert await h.core.glob(one, "/*") == ["/x"]
        looked = Operator(h.core, Principal("t", "t"))
        assert looked.tokens("/x") == list(WORDS)
        with pytest.raises(Invalid, match="which this host does not run"):
            await looked.text("/x")
        with pytest.raises(Invalid, match="which this host does not run"):
            looked.pin("/x")
        assert not h.core._kvfs.pinned
        with pytest.raises(Invalid, match="which this host does not run"):
            await h.core._durable.sync(h.core._tree.file(Principal("t", "t"), "/x"))
        with pytest.raises(Invalid, match=r"made by the model fake \(weights, dtype or RoPE"):
            await h.core.open(one, None, "/x")
        with pytest.raises(Exists):
            await h.core.save(one, await h.core.create(one, None), "/x", False)
        await h.core.unlink(one, "/x")
    async with life(home) as h:
        assert await h.core.glob(h.core.open_session("t"), "/*") == []


def flip(home: Path, at: int) -> None:
    (pool,) = home.glob("pages-*")
    data = bytearray(pool.read_bytes())
    data[at] ^= 16
    pool.write_bytes(data)


@run
async def test_a_damaged_plain_page_is_computed_again(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        await h.make(h.core.open_session("t"), "/x")
    size = (tmp_path / "a" / "journal").stat().st_size
    flip(tmp_path / "a", 24 * 16 * 2 + 7)  # of the third page taken
    async with life(tmp_path / "a") as h:
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/x")
        assert (await h.generate(one, file, (), max_tokens=4)).tokens == h.expect(list(WORDS), 4)
        assert h.engine.tokens > 4
        assert await h.core.list(one, "/")
    assert size > 100


async def sync_part(h: Durable) -> None:
    """A derived file of two pages, as /part."""
    one = h.core.open_session("t")
    source = await h.core.create(one, None)
    await h.pred(one, source, WORDS)
    part = await h.core.extract(one, source, [(5, 30)], True)
    await h.core.link(one, part, "/part")
    await h.sync(one, part)


@run
async def test_damaged_derived_keys_and_values_are_refused(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        await sync_part(h)
    flip(tmp_path / "a", 3)
    async with life(tmp_path / "a") as h:
        one = h.core.open_session("t")
        with pytest.raises(Invalid, match="is damaged"):
            await h.core.open(one, None, "/part")
        await h.core.unlink(one, "/part")


@run
async def test_a_check_finds_damage_and_repairs_what_can_be(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        one = h.core.open_session("t")
        source = await h.make(one, "/plain")
        part = await h.core.extract(one, source, [(5, 30)], True)
        await h.core.link(one, part, "/d/part")
        await h.sync(one, part)
        looked = Operator(h.core, Principal("t", "t"))
        good = await looked.check("/")
        assert (good.files, good.pages, good.damaged, good.lost_commits) == (2, 6, [], 0)
        assert (looked.space("/")[-1].disk_pages, looked.space("/d")[-1].disk_pages) == (6, 2)
        flip(tmp_path / "a", 24 * 16 * 5 + 3)
        (bad,) = (await looked.check("/")).damaged
        assert (bad.path, bad.repaired, "still in memory" in bad.what) == ("/d/part", False, True)
        assert (await looked.check("/d", repair=True)).damaged[0].repaired
        assert not (await looked.check("/")).damaged
        assert not (await Operator(h.core, Principal("u", "u")).check("/")).files
    flip(tmp_path / "a", 24 * 16 * 1 + 3)
    async with life(tmp_path / "a") as h:
        looked = Operator(h.core, Principal("t", "t"))
        found = await looked.check("/", repair=True)
        assert [(one.path, one.page, one.repaired) for one in found.damaged] == [("/plain", 1, True)]
    async with life(tmp_path / "a") as h:
        looked = Operator(h.core, Principal("t", "t"))
        found = await looked.check("/")
        assert (found.files, found.pages, found.damaged) == (2, 3, [])
        one = h.core.open_session("t")
        file = await h.core.open(one, None, "/plain")
        assert (await h.generate(one, file, (), max_tokens=3)).tokens == h.expect(list(WORDS), 3)


@run
async def test_damage_that_cannot_be_repaired_is_told(tmp_path: Path) -> None:
    async with life(tmp_path / "a") as h:
        await sync_part(h)
    flip(tmp_path / "a", 3)
    async with life(tmp_path / "a") as h:
        (bad,) = (await Operator(h.core, Principal("t", "t")).check("/", repair=True)).damaged
        assert (bad.page, bad.pages, bad.repaired) == (0, 2, False)
        assert "remove the file" in bad.what


@run
async def test_a_store_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("not a folder")
    with pytest.raises(Unavailable, match="kv cannot be opened: File exists"):
        await Runtime([FakeEngine()], home=tmp_path).__aenter__()
    (tmp_path / "kv").unlink()
    async with Runtime([FakeEngine()], home=tmp_path) as runtime:
        assert runtime.describe()["durable"] == "0 durable files"
