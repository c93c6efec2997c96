"""Advisory locks through the core: who hears what, and what the end of a session releases."""

from __future__ import annotations

import pytest
from core_harness import Host, run, settle

from symphony.core.config import CoreConfig
from symphony.errors import Busy, Invalid, LimitExceeded


async def sessions(h: Host, count: int) -> list[tuple[int, int]]:
    """So many sessions of one principal, each with a handle on the same file."""
    first = h.core.open_session("t")
    await h.core.link(first, await h.core.create(first, None), "/f")
    opened = []
    for _ in range(count):
        s = h.core.open_session("t")
        opened.append((s, await h.core.open(s, None, "/f", write=True)))
    return opened


@run
async def test_waiters_hear_of_their_turn_in_order() -> None:
    async with Host() as h:
        (a, fa), (b, fb), (c, fc) = await sessions(h, 3)
        first = await h.core.lock(a, fa, 101, False)
        assert h.answers[101] == [None], "at once"
        second = await h.core.lock(b, fb, 102, True)
        await h.core.lock(c, fc, 103, True)
        assert 102 not in h.answers
        with pytest.raises(Busy):
            await h.core.try_lock(b, fb, True)
        await h.core.unlock(a, first)
        assert (h.answers[102], h.answers[103]) == ([None], [None])
        await h.core.unlock(a, first)
        await h.core.unlock(b, second)
        with pytest.raises(Busy):
            await h.core.try_lock(a, fa, False)
        assert await h.core.try_lock(a, fa, True)


@run
async def test_the_end_of_a_session_releases_what_it_holds_and_waits_for() -> None:
    async with Host() as h:
        (a, fa), (b, fb), (c, fc) = await sessions(h, 3)
        await h.core.lock(a, fa, 101, False)
        await h.core.lock(b, fb, 102, False)
        await h.core.lock(c, fc, 103, False)
        await h.core.close_session(b)
        await h.core.close_session(a)
        assert h.answers[103] == [None]
        assert 102 not in h.answers
        await h.core.close_session(c)
        assert len(h.core._locks) == 0
        assert not h.core._awaited


@run
async def test_a_lock_outlives_its_handle_and_is_not_forked() -> None:
    async with Host() as h:
        (a, fa), (b, fb) = await sessions(h, 2)
        lock = await h.core.lock(a, fa, 101, False)
        fork = await h.core.fork(a, fa)
        assert await h.core.try_lock(a, fork, False), "another file"
        await h.core.close_file(a, fa)
        with pytest.raises(Busy):
            await h.core.try_lock(b, fb, False)
        await h.core.unlock(a, lock)
        assert await h.core.try_lock(b, fb, False)


@run
async def test_a_lock_is_on_the_file_whatever_its_names() -> None:
    async with Host() as h:
        [(a, fa)] = await sessions(h, 1)
        await h.core.link(a, fa, "/g")
        await h.core.rename(a, "/f", "/h")
        await h.core.lock(a, fa, 101, False)
        s = h.core.open_session("t")
        for path in ("/g", "/h"):
            with pytest.raises(Busy, match="is locked"):
                await h.core.try_lock(s, await h.core.open(s, None, path, write=True), True)
        await h.core.save(a, fa, "/g", True)
        assert await h.core.try_lock(s, await h.core.open(s, None, "/g", write=True), True), "another file by now"


@run
async def test_locks_bar_nobody_from_the_file() -> None:
    async with Host() as h:
        (a, fa), (b, fb) = await sessions(h, 2)
        await h.core.lock(a, fa, 101, False)
        await h.pred(b, fb, [1, 2])
        assert await h.contents(a, fa) == [1, 2]


@run
async def test_circles_are_refused_across_sessions() -> None:
    async with Host() as h:
        (a, fa), (b, fb) = await sessions(h, 2)
        await h.core.link(a, await h.core.create(a, None), "/g")
        ga, gb = [await h.core.open(s, None, "/g", write=True) for s in (a, b)]
        await h.core.lock(a, fa, 101, False)
        held = await h.core.lock(b, gb, 102, False)
        await h.core.lock(a, ga, 103, False)
        with pytest.raises(Busy, match="never end"):
            await h.core.lock(b, fb, 104, True)
        await h.core.unlock(b, held)
        assert h.answers[103] == [None]
        with pytest.raises(Busy, match="never end"):
            await h.core.lock(a, fa, 105, True)


@run
async def test_limits_and_foreign_ids() -> None:
    async with Host(config=CoreConfig(max_locks=2)) as h:
        (a, fa), (b, fb) = await sessions(h, 2)
        lock = await h.core.lock(a, fa, 101, True)
        await h.core.try_lock(a, fa, True)
        with pytest.raises(LimitExceeded, match="2 locks"):
            await h.core.lock(a, fa, 102, True)
        await h.core.unlock(b, lock)
        with pytest.raises(Busy):
            await h.core.try_lock(b, fb, False)
        with pytest.raises(Invalid, match="no open file"):
            await h.core.lock(b, fa, 103, True)


@run
async def test_a_lock_does_not_wait_for_an_operation() -> None:
    async with Host() as h:
        [(a, fa)] = await sessions(h, 1)
        op = await h.start_pred(a, fa, [1])
        await h.core.lock(a, fa, 101, False)
        assert h.answers[101] == [None]
        await h.arrival(op)
        await settle()
