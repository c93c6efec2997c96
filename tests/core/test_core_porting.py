"""KV files that leave a host, come to another one with pages of another size, or come from nobody knows where."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from safetensors import safe_open

from core.core_harness import run, settle
from core.durable_harness import WORDS, Bytes, Durable, life
from store.store_disk import MemoryDisk
from symphony.core.operator import Operator
from symphony.engine.contents import computed, shifted
from symphony.errors import Exists, Invalid, NoSpace, NotFound, PermissionDenied, Unavailable
from symphony.kvfs.modes import Principal
from symphony.store.layout import Layout, Repager, is_sound, leading

WHO = Principal("t", "t")
SIZES = (4, 16, 24)


async def sent(host: Durable, path: str) -> bytes:
    async with Operator(host.core, WHO).send(path) as parcel:
        data = b"".join([part async for part in parcel.parts])
        assert len(data) == parcel.size
    return data


async def receive(host: Durable, path: str, data: bytes, **options: bool) -> None:
    await Operator(host.core, WHO).receive(path, Bytes(data), **options)


async def part_of(host: Durable, session: int, path: str) -> list[Any]:
    """A derived file of that name; its entries."""
    source = await host.core.create(session, None)
    await host.pred(session, source, WORDS)
    part = await host.core.extract(session, source, [(5, 30), (33, 60)], True)
    await host.core.link(session, part, path)
    whole = computed([], WORDS, 0)
    return shifted(whole[5:30], -5) + shifted(whole[33:60], -8)


@asynccontextmanager
async def lives(disk: MemoryDisk, **options: Any) -> AsyncGenerator[tuple[Durable, int]]:
    async with life(disk, **options) as host:
        yield host, host.core.open_session("t")


@pytest.mark.parametrize("size", SIZES)
def test_a_file_goes_to_another_host(size: int, tmp_path: Path) -> None:
    @run
    async def scenario() -> None:
        async with lives(MemoryDisk()) as (h, one):
            await h.make(one, "/plain", sync=False)
            entries = await part_of(h, one, "/part")
            before = h.pages_used
            plain, part = await sent(h, "/plain"), await sent(h, "/part")
            assert h.pages_used == before
            assert not h.tiers.arena.disk.used, "nothing is left of it on disk either"
        (tmp_path / "file").write_bytes(part)
        with safe_open(tmp_path / "file", "numpy") as file:
            assert file.get_tensor("tokens").tolist() == [*WORDS[5:30], *WORDS[33:60]]
            assert file.get_tensor("kv.0").shape == (52, 24), "not one byte of what else the last page may have"
            assert file.metadata()["symphony"].startswith('{"version":1,"model":"fake"')
        disk = MemoryDisk()
        async with lives(disk, page_size=size) as (h, one):
            await receive(h, "/a/plain", plain, trust=True)
            await receive(h, "/a/part", part, trust=True)
            stat = await h.core.stat_path(one, "/a/plain")
            assert (stat.tier, stat.length, stat.plain) == ("disk", len(WORDS), len(WORDS))
            crashed = MemoryDisk(disk.contents())  # it is durable
        async with lives(crashed, page_size=size) as (h, one):
            file = await h.core.open(one, None, "/a/plain")
            before = h.engine.tokens
            assert (await h.generate(one, file, (7,), max_tokens=3)).tokens == h.expect([*WORDS, 7], 3)
            assert h.engine.tokens - before == 3, "only what is new was computed"
            file = await h.core.open(one, None, "/a/part")
            (reading,) = await h.pred(one, file, (3,))
            assert reading.sampled == h.engine.greedy_after(computed(entries, (3,), len(entries)))
            assert await sent(h, "/a/part") == part, "and it can go on from there"

    scenario()


@run
async def test_what_comes_from_nobody_knows_where_serves_its_own_file_only() -> None:
    async with lives(MemoryDisk()) as (h, one):
        await h.make(one, "/a")
        data = await sent(h, "/a")
    for trust, plain in ((False, 0), (True, len(WORDS))):
        async with lives(MemoryDisk()) as (h, one):
            await receive(h, "/b", data, trust=trust)
            assert (await h.core.stat_path(one, "/b")).plain == plain
            file = await h.core.open(one, None, "/b")
            assert (await h.generate(one, file, (7,), max_tokens=2)).tokens == h.expect([*WORDS, 7], 2)
            before, other = h.engine.tokens, await h.core.create(one, None)
            await h.pred(one, other, WORDS)
            assert (h.engine.tokens - before < len(WORDS)) == trust


@run
async def test_only_whom_it_concerns() -> None:
    async with lives(MemoryDisk()) as (h, one):
        await h.make(one, "/a")
        data = await sent(h, "/a")
        with pytest.raises(Exists):
            await receive(h, "/a", data)
        await receive(h, "/a", data, overwrite=True)
        with pytest.raises(NotFound):
            async with Operator(h.core, Principal("stranger", "s")).send("/a"):
                raise AssertionError
        with pytest.raises(PermissionDenied):
            await receive(h, "/shared/a", data)
        with pytest.raises(Invalid, match="is a directory"):
            async with Operator(h.core, WHO).send("/"):
                raise AssertionError
    async with lives(MemoryDisk(), name="other") as (h, one):
        with pytest.raises(Invalid, match=r"made by the model 'fake'.* than the models of this host have: other"):
            await receive(h, "/a", data)
    async with lives(MemoryDisk(), context_limit=64) as (h, one):
        with pytest.raises(Invalid, match="do not fit into the context"):
            await receive(h, "/a", data)
    async with lives(MemoryDisk(), disk_bytes=3 * 16 * 24) as (h, one):
        with pytest.raises(NoSpace):
            await receive(h, "/a", data)
        assert not h.core._kvfs.files
        await h.make(one, "/b", sync=False)
        with pytest.raises(NoSpace):
            await sent(h, "/b")


@run
async def test_who_takes_a_file_pays_for_it() -> None:
    other = Principal("other", "o")
    async with lives(MemoryDisk()) as (h, one):
        await h.make(one, "/a", sync=False)
        sharer = h.core.open_session("t", share=True)
        await h.core.save(sharer, await h.core.open(sharer, None, "/a"), "/shared/a", False)
        disk = h.tiers.arena.disk
        async with Operator(h.core, other).send("/shared/a") as parcel:
            assert disk.used == {"other": 7}, "whose file it is does not"
            data = b"".join([part async for part in parcel.parts])
            h.core.check_integrity()
        assert not disk.used
        assert data == await sent(h, "/a")


@run
async def test_an_import_over_a_file_that_is_being_synced_waits_for_it() -> None:
    async with lives(MemoryDisk()) as (h, one):
        await h.make(one, "/a")
        data = await sent(h, "/a")
        old = await h.make(one, "/b", (1, 2, 3))
        await h.pred(one, old, (4,))
        gate, read = asyncio.Event(), h.engine.read

        async def slow(pages: Sequence[int], slots: Sequence[int]) -> list[bytes]:
            await gate.wait()
            return await read(pages, slots)

        h.engine.read = slow
        syncing = await h.start_sync(one, old)
        importing = asyncio.ensure_future(receive(h, "/b", data, overwrite=True))
        while sum(file.image is not None for file in h.core._kvfs.files) < 4 and not importing.done():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        await settle()
        assert not importing.done()
        gate.set()
        assert await h.arrival(syncing) is None
        await importing
        assert Operator(h.core, WHO).tokens("/b") == list(WORDS)


@run
async def test_a_host_without_a_disk_says_so() -> None:
    async with lives(MemoryDisk()) as (h, one):
        await h.make(one, "/a")
        data = await sent(h, "/a")
    h = Durable(MemoryDisk())
    h.core._durable.depot.store = None
    async with h:
        with pytest.raises(Unavailable, match="keeps nothing on disk"):
            await receive(h, "/b", data)


def edited(data: bytes, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> bytes:
    """The file with another header: `change` gets its tensors, and the description."""
    size = int.from_bytes(data[:8], "little")
    tensors = msgspec.json.decode(data[8 : 8 + size])
    notes = msgspec.json.decode(tensors["__metadata__"]["symphony"])
    change(tensors, notes)
    if "__metadata__" in tensors:
        tensors["__metadata__"]["symphony"] = msgspec.json.encode(notes).decode()
    text = msgspec.json.encode(tensors)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


HEADERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "no description": lambda tensors, _: tensors.pop("__metadata__"),
    "version": lambda _, notes: notes.update(version=2),
    "unknown field": lambda _, notes: notes.update(wat=1),
    "derived behind the end": lambda _, notes: notes.update(derived=100),
    "derived is no number": lambda _, notes: notes.update(derived="x"),
    "negative": lambda tensors, _: tensors["tokens"].update(shape=[-100]),
    "no tokens": lambda tensors, _: tensors.pop("tokens"),
    "scalar": lambda tensors, _: tensors["tokens"].update(shape=[]),
    "dtype": lambda tensors, _: tensors["kv.0"].update(dtype="F64"),
    "another dtype": lambda tensors, _: tensors["kv.0"].update(dtype="F16", shape=[100, 12]),
    "gigantic": lambda tensors, _: tensors["kv.0"].update(shape=[1 << 47, 24]),
    "too large for a number": lambda tensors, _: tensors["kv.0"].update(shape=[1 << 70, 24]),
    "zero": lambda tensors, _: tensors["kv.0"].update(shape=[0, 24], data_offsets=[400, 400]),
    "flat": lambda tensors, _: tensors["kv.0"].update(shape=[2400]),
    "more dimensions": lambda tensors, _: tensors["kv.0"].update(shape=[1, 1, 100, 24]),
    "many dimensions": lambda tensors, _: tensors["kv.0"].update(shape=[1] * 90),
    "more K/V than tokens": lambda tensors, _: tensors["tokens"].update(shape=[99], data_offsets=[0, 396]),
    "overlap": lambda tensors, _: tensors["checks"].update(data_offsets=[0, 32]),
    "backwards": lambda tensors, _: tensors["checks"].update(data_offsets=[2832, 2800]),
    "one too many": lambda tensors, _: tensors.update(more={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}),
    "a gap": lambda tensors, _: tensors.update({"kv.2": tensors["kv.0"]}),
    "not a tensor": lambda tensors, _: tensors.update({"kv.0": [1, 2]}),
    "plain, with positions": lambda tensors, _: tensors.update(
        positions={"dtype": "U32", "shape": [0], "data_offsets": [400, 400]}
    ),
}


@run
async def test_hostile_files_are_refused() -> None:
    rng = random.Random(7)
    async with lives(MemoryDisk()) as (h, one):
        await h.make(one, "/a", sync=False)
        data = await sent(h, "/a")
    bad = {name: edited(data, change) for name, change in HEADERS.items()}
    assert edited(data, lambda _, __: None)[8:40] == data[8:40]
    for size in (0, 7, 8, 9, 300, len(data) - 33, len(data) - 1):
        bad[f"cut at {size}"] = data[:size]
    bad["longer"] = data + b"\0"
    bad["a header without end"] = b"\xff" * 8 + data
    bad["a large header"] = (1 << 20).to_bytes(8, "little") + b"[" * (1 << 20)
    bad["no header"] = bytes(8) + data
    bad["not JSON"] = (4).to_bytes(8, "little") + b"\xff\xfe{}"
    bad["a list"] = (2).to_bytes(8, "little") + b"[]"
    bad["noise"] = rng.randbytes(5000)
    for _ in range(150):
        place = rng.randrange(len(data))
        flipped = bytes([data[place] ^ 1 << rng.randrange(8)])
        bad[f"a bit in byte {place}"] = data[:place] + flipped + data[place + 1 :]
    async with lives(MemoryDisk()) as (h, one):
        for name, content in bad.items():
            with pytest.raises(Invalid) as caught:
                await receive(h, "/b", content)
            assert str(caught.value), name
        assert not h.core._kvfs.files
        assert not h.tiers.arena.disk.used
        await receive(h, "/b", data)
        assert h.core._kvfs.files


def test_numbers_that_would_spread_are_found() -> None:
    for dtype, size in (("F32", 4), ("F16", 2), ("BF16", 2)):
        good = bytes(16 * size)
        assert is_sound(good, dtype)
        for bad in (b"\xff\xff", b"\x80\x7f" if dtype != "F16" else b"\x00\x7c"):  # NaN, infinity
            assert not is_sound(good + bytes(size - 2) + bad, dtype)
    assert not is_sound(b"\xff\xff\x7f\x7f", "F32"), "the largest there is"
    assert is_sound(b"\xff\xff\xff\xff", "U8")
    assert is_sound(b"", "F32")


@pytest.mark.parametrize("sizes", [(1, 2, 3, 10), (16,), (5, 30, 1)])
def test_images_of_any_size_become_images_of_another(sizes: Sequence[int]) -> None:
    layout = Layout(3, 2)

    def image(start: int, count: int, filled: int) -> bytes:
        entries = [*range(start, start + count), *[0] * (filled - count)]
        return bytes([x for group in range(3) for entry in entries for x in ((entry and group), entry)])

    repager, at, made = Repager(layout, 8), 1, list[bytes]()
    for count in sizes:
        made += repager.add(leading(layout, image(at, count, count + 2), count + 2, count), count)
        at += count
    made += repager.rest()
    assert made == [image(start, min(8, at - start), 8) for start in range(1, at, 8)]


# ---- another page size -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_paged_anew_when_it_is_opened(size: int) -> None:
    @run
    async def scenario() -> None:
        disk = MemoryDisk()
        async with lives(disk, page_size=8) as (h, one):
            await h.make(one, "/plain")
            await h.make(one, "/untouched")
            entries = await part_of(h, one, "/part")
            assert await h.arrival(await h.start_sync(one, await h.core.open(one, None, "/part", write=True))) is None
        disk = MemoryDisk(disk.contents())
        async with lives(disk, page_size=size) as (h, one):
            with pytest.raises(Invalid, match="does not run"):
                await sent(h, "/untouched")
            Operator(h.core, WHO).copy("/part", "/copy")
            files = await asyncio.gather(*[h.core.open(one, None, "/plain") for _ in range(3)])
            before = h.engine.tokens
            for file in files:
                assert (await h.generate(one, file, (7,), max_tokens=3)).tokens == h.expect([*WORDS, 7], 3)
            assert h.engine.tokens - before <= 3 * 3, "only what is new was computed"
            for path in ("/part", "/copy"):
                file = await h.core.open(one, None, path)
                (reading,) = await h.pred(one, file, (3,))
                assert reading.sampled == h.engine.greedy_after(computed(entries, (3,), len(entries)))
        async with lives(MemoryDisk(disk.contents()), page_size=size) as (h, one):
            assert len([file for file in h.core._kvfs.files if file.arena is h.tiers.arena]) == 3, "as they are now"
            assert (await h.core.stat_path(one, "/plain")).tier == "disk"

    scenario()


@run
async def test_the_end_of_a_host_waits_for_what_is_paged_anew() -> None:
    disk = MemoryDisk()
    async with lives(disk, page_size=8) as (h, one):
        await h.make(one, "/plain")
    disk = MemoryDisk(disk.contents())
    async with lives(disk, page_size=16) as (h, one):
        opening = asyncio.ensure_future(h.core.open(one, None, "/plain"))
        await asyncio.sleep(0)
        assert h.core._repaging._adapting
    assert not h.core._repaging._adapting
    with pytest.raises(Invalid, match="no session"):
        await opening
    async with lives(MemoryDisk(disk.contents()), page_size=16) as (h, one):
        assert [file.arena for file in h.core._kvfs.files] == [h.tiers.arena]


async def opened_while_unlinked(disk: MemoryDisk, path: str, at: int) -> bool:
    """Opens a file that has pages of another size, and is unlinked at the store's call of that number; whether it was
    there in the end."""
    async with lives(disk, page_size=16) as (h, one):
        calls, numbers = (h.store.read, h.store.commit), itertools.count(1)

        async def unlinking(work: Callable[..., Any], *args: Any) -> Any:
            if next(numbers) == at:
                await h.core.unlink(one, path)
                h.core.check_integrity()
            return await work(*args)

        h.store.read, h.store.commit = (partial(unlinking, call) for call in calls)
        try:
            await h.core.open(one, None, path)
        except NotFound:
            return False
        finally:
            h.core.check_integrity()
        return True


@run
async def test_a_file_may_be_unlinked_while_it_is_paged_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.core.repaging.PART_BYTES", 1)
    before = MemoryDisk()
    async with lives(before, page_size=8) as (h, one):
        await part_of(h, one, "/part")
        assert await h.arrival(await h.start_sync(one, await h.core.open(one, None, "/part", write=True))) is None
    found: list[bool] = []
    for at in range(1, 16, 2):
        disk = MemoryDisk(before.contents())
        found.append(await opened_while_unlinked(disk, "/part", at))
        async with lives(MemoryDisk(disk.contents())) as (h, one):
            assert bool(await h.core.glob(one, "/*")) == found[-1]
    assert not found[0]
    assert found[-1]


def damage(disk: MemoryDisk, page: int, page_bytes: int) -> MemoryDisk:
    """The medium with one byte of that page changed."""
    contents = {name: bytearray(data) for name, data in disk.contents().items()}
    (pool,) = [data for name, data in contents.items() if name.startswith("pages-")]
    pool[page * page_bytes] ^= 0xFF
    return MemoryDisk({name: bytes(data) for name, data in contents.items()})


@run
async def test_what_is_damaged_is_computed_or_refused() -> None:
    disk = MemoryDisk()
    async with lives(disk, page_size=8) as (h, one):
        await h.make(one, "/plain")
    async with lives(damage(disk, 5, 8 * 24), page_size=16) as (h, one):
        file = await h.core.open(one, None, "/plain")
        before = h.engine.tokens
        assert (await h.generate(one, file, (7,), max_tokens=3)).tokens == h.expect([*WORDS, 7], 3)
        assert h.engine.tokens - before == 3 + len(WORDS) - 40
    disk = MemoryDisk()
    async with lives(disk, page_size=8) as (h, one):
        await part_of(h, one, "/part")
        assert await h.arrival(await h.start_sync(one, await h.core.open(one, None, "/part", write=True))) is None
    async with lives(damage(disk, 2, 8 * 24), page_size=16) as (h, one):
        with pytest.raises(Invalid, match="on disk is damaged"):
            await h.core.open(one, None, "/part")
        assert Operator(h.core, WHO).tokens("/part")


@run
async def test_where_there_is_no_room_on_disk_plain_files_are_computed() -> None:
    disk = MemoryDisk()
    async with lives(disk, page_size=8) as (h, one):
        await h.make(one, "/plain")
        await part_of(h, one, "/part")
        assert await h.arrival(await h.start_sync(one, await h.core.open(one, None, "/part", write=True))) is None
    async with lives(MemoryDisk(disk.contents()), page_size=16, disk_bytes=2 * 16 * 24) as (h, one):
        file = await h.core.open(one, None, "/plain")
        assert (await h.generate(one, file, (7,), max_tokens=3)).tokens == h.expect([*WORDS, 7], 3)
        with pytest.raises(NoSpace):
            await h.core.open(one, None, "/part")
