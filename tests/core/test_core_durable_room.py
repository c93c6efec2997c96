"""Files on disk and those who want pages: what waits for what, and what is read how often."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from core.core_harness import run, settle
from core.durable_harness import life
from store.store_disk import MemoryDisk
from symphony.errors import InternalError, SymphonyError
from symphony.store.records import Format


@run
async def test_who_lacks_pages_waits_for_a_sync_to_let_them_go() -> None:
    async with life(MemoryDisk(), pages=9) as h:
        one = h.core.open_session("t")
        file = await h.make(one, "/x", sync=False)
        gate, read = asyncio.Event(), h.engine.read

        async def slow(pages: Sequence[int], slots: Sequence[int]) -> list[bytes]:
            await gate.wait()
            return await read(pages, slots)

        h.engine.read = slow
        syncing = await h.start_sync(one, file)
        await settle()
        other = await h.core.create(one, None)
        op = await h.start_pred(one, other, range(200, 240))
        await settle()
        assert not h.answers.get(op), "eight pages: seven are read from, three are needed"
        gate.set()
        assert await h.arrival(syncing) is None
        answer = await asyncio.wait_for(h.arrival(op), 5)
        assert not isinstance(answer, SymphonyError), answer


@run
async def test_a_write_that_fails_costs_one_try_where_the_rest_can_be_computed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = MemoryDisk()
    async with life(disk) as h:
        one = h.core.open_session("t")
        await h.make(one, "/x")
        part = await h.core.extract(one, await h.make(one, "/y"), [(5, 30)], True)
        await h.core.link(one, part, "/part")
        assert await h.arrival(await h.start_sync(one, part)) is None
    async with life(disk) as h:
        one, tries, write = h.core.open_session("t"), list[int](), h.engine.write

        async def bad(pages: Sequence[int], contents: Sequence[bytes]) -> None:
            tries.append(len(pages))
            raise MemoryError("no pinned memory")

        h.engine.write = bad
        file = await h.core.open(one, None, "/x", write=True)
        await asyncio.wait_for(h.pred(one, file, (7,)), 5)
        assert (tries, h.core.usage(one).reused_tokens) == ([7], 0)
        part = await h.core.open(one, None, "/part", write=True)
        with pytest.raises(InternalError, match="could not be brought back"):
            await h.pred(one, part, (7,))
        h.engine.write = write
        await h.pred(one, part, (7,))
        assert h.core.usage(one).reused_tokens == 25
    assert caplog.text.count("could not be put on the device") == 2


@run
async def test_large_files_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = MemoryDisk()
    async with life(disk) as h:
        one = h.core.open_session("t")
        part = await h.core.extract(one, await h.make(one, "/y"), [(5, 95)], True)
        await h.core.link(one, part, "/part")
        assert await h.arrival(await h.start_sync(one, part)) is None
    async with life(disk) as h:
        one, parts, write, read = h.core.open_session("t"), list[int](), h.engine.write, h.store.read
        for module in ("depot", "moves"):
            monkeypatch.setattr(f"symphony.core.{module}.PART_BYTES", 2 * h.engine.info.image_bytes)

        async def writing(pages: Sequence[int], contents: Sequence[bytes]) -> None:
            parts.append(len(pages))
            await write(pages, contents)

        async def reading(form: Format, slots: Sequence[int]) -> list[bytes | None]:
            parts.append(-len(slots))
            return await read(form, slots)

        h.engine.write, h.store.read = writing, reading
        file = await h.core.open(one, None, "/part")
        assert parts == [-2, -2, -2], "the check when it is opened"
        await h.pred(one, file, (7,))
        assert parts[3:] == [-2, 2, -2, 2, -2, 2]
