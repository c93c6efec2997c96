"""Names through the core: times to live while it runs, quotas, and what a file's end does to its names."""

from __future__ import annotations

import asyncio

import pytest
from core_harness import Gate, Host, run

from symphony.core import files
from symphony.core.config import CoreConfig
from symphony.errors import Invalid, LimitExceeded, NotFound


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


async def named(h: Host, path: str, ttl: int | None = None) -> int:
    """A session, which made the file and closed it."""
    s = h.core.open_session("t")
    f = await h.core.create(s, None)
    await h.pred(s, f, [1, 2, 3])
    await h.core.link(s, f, path)
    await h.core.set_ttl(s, f, ttl)
    await h.core.close_file(s, f)
    return s


@run
async def test_a_name_that_outlived_its_time_is_not_found() -> None:
    clock = Clock()
    async with Host(config=CoreConfig(wall_clock=clock)) as h:
        s = await named(h, "/f", 10)
        clock.now += 9
        copy = await h.core.open(s, None, "/f")
        clock.now += 9
        assert (await h.core.stat_path(s, "/f")).used == int(clock.now - 9)
        clock.now += 1
        for call in (h.core.open(s, None, "/f"), h.core.stat_path(s, "/f"), h.core.unlink(s, "/f")):
            with pytest.raises(NotFound):
                await call
        assert await h.core.list(s, "/") == []
        assert await h.contents(s, copy) == [1, 2, 3]


@run
async def test_the_core_sweeps_while_nobody_looks() -> None:
    clock = Clock()
    seconds, files.SWEEP_SECONDS = files.SWEEP_SECONDS, 0.001
    try:
        async with Host(config=CoreConfig(wall_clock=clock)) as h:
            await named(h, "/f", 10)
            await named(h, "/stays")
            clock.now += 10
            async with asyncio.timeout(30):
                while len(h.core._kvfs.files) > 1:  # noqa: ASYNC110 - nobody is told
                    await asyncio.sleep(0.001)
            assert h.core._tree.counts == {"t": 1}
    finally:
        files.SWEEP_SECONDS = seconds


@run
async def test_the_sweeper_goes_on_after_a_bug() -> None:
    clock = Clock()
    seconds, files.SWEEP_SECONDS = files.SWEEP_SECONDS, 0.001
    try:
        async with Host(config=CoreConfig(wall_clock=clock)) as h:
            await named(h, "/f", 10)
            sweep, failures = h.core._tree.sweep, 0

            def broken() -> float | None:
                nonlocal failures
                failures += 1
                h.core._tree.sweep = sweep
                raise KeyError("a bug")

            h.core._tree.sweep = broken
            async with asyncio.timeout(30):
                while not failures:  # noqa: ASYNC110 - nobody is told
                    await asyncio.sleep(0.001)
                clock.now += 10
                while h.core._tree.counts.total():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
    finally:
        files.SWEEP_SECONDS = seconds


@run
async def test_a_pinned_file_keeps_its_names() -> None:
    clock = Clock()
    async with Host(config=CoreConfig(wall_clock=clock)) as h:
        s = await named(h, "/f", 10)
        f = await h.core.open(s, None, "/f", write=True)
        await h.core.pin(s, f)
        clock.now += 100
        assert (await h.core.stat_path(s, "/f")).pinned
        await h.core.unpin(s, f)
        await h.core.close_file(s, f)
        clock.now += 10
        with pytest.raises(NotFound):
            await h.core.stat_path(s, "/f")


@run
async def test_a_name_ends_under_an_operation() -> None:
    """The handle is closed, so the operation is cancelled; the name goes while the step is still on the device."""
    gate, clock = Gate(), Clock()
    async with Host(config=CoreConfig(wall_clock=clock), sleep=gate.sleep, step_seconds=1) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.core.link(s, f, "/f")
        await h.core.set_ttl(s, f, 0)
        await h.start_pred(s, f, [1, 2, 3])
        await gate.entered.wait()
        await h.core.close_file(s, f)
        clock.now += 1
        assert await h.core.list(s, "/") == []
        assert len(h.core._kvfs.files) == 1, "busy"
        gate.open.set()
        other = await h.core.create(s, None)
        await h.pred(s, other, [1])
        assert len(h.core._kvfs.files) == 1


@run
async def test_quotas_of_a_tenant() -> None:
    async with Host(config=CoreConfig(max_names=2, max_files=3)) as h:
        s, other = h.core.open_session("t"), h.core.open_session("u")
        f = await h.core.create(s, None)
        await h.core.save(s, f, "/a", False)
        await h.core.mkdir(s, "/d")
        for call in (h.core.link(s, f, "/b"), h.core.mkdir(s, "/e"), h.core.save(s, f, "/b", False)):
            with pytest.raises(LimitExceeded, match="2 names"):
                await call
        await h.core.fork(s, f)
        full = h.core.fork(s, f), h.core.create(s, None), h.core.open(s, None, "/a"), h.core.extract(s, f, [], True)
        for call in full:
            with pytest.raises(LimitExceeded, match="3 KV files"):
                await call
        await h.core.save(other, await h.core.create(other, None), "/a", False)
        await h.core.close_session(s)
        s = h.core.open_session("t")
        await h.core.open(s, None, "/a")


@run
async def test_a_closed_session_names_nothing() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.core.close_session(s)
        for call in (
            h.core.link(s, f, "/x"),
            h.core.set_mode(s, f, 0),
            h.core.set_ttl(s, f, None),
            h.core.mkdir(s, "/x"),
            h.core.glob(s, "/*"),
            h.core.lock(s, f, 1, True),
            h.core.try_lock(s, f, True),
            h.core.unlock(s, 1),
        ):
            with pytest.raises(Invalid, match="no session"):
                await call


@run
async def test_a_file_that_is_closed_while_a_call_waits_for_it() -> None:
    """`save` waits until a cancelled operation has let go; meanwhile the handle is closed and the file ends."""
    gate = Gate()
    async with Host(sleep=gate.sleep, step_seconds=1) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start_pred(s, f, [1, 2, 3])
        await gate.entered.wait()
        await h.core.cancel(s, op)
        saving = asyncio.create_task(h.core.save(s, f, "/x", False))
        await asyncio.sleep(0)
        await h.core.close_file(s, f)
        gate.open.set()
        with pytest.raises(Invalid, match="no open file"):
            await saving
        assert await h.core.list(s, "/") == []
