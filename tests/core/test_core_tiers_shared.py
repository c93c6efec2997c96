"""Files that share pages still share after they left the device together and came back together."""

from __future__ import annotations

import asyncio

import pytest
from core_harness import Host, run

from symphony.engine.fake import FakeEngine


async def settle(h: Host) -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def shares(h: Host) -> tuple[int, int]:
    """Device pages and host slots in use."""
    arena = h.core._kvfs.arenas["fake"]
    return sum(map(bool, arena.pool.refs)), sum(map(bool, arena.host.refs))


@pytest.mark.parametrize("length", [64, 70])
@run
async def test_forks_leave_and_come_back_as_one(length: int) -> None:
    async with Host(pages=600, host_pages=600) as h:
        s = h.core.open_session("t")
        base = await h.core.create(s, None)
        prompt = list(range(length))
        await h.pred(s, base, prompt)
        forks = [await h.core.fork(s, base) for _ in range(10)]
        pages, _ = shares(h)
        for f in (base, *forks):
            await h.core.advise(s, f, "dont-need")
        await settle(h)
        cached = length // 16
        assert shares(h) == (0, pages), f"{cached} pages are cached, nobody holds one"
        for f in (base, *forks):
            await h.core.advise(s, f, "will-need")
        await settle(h)
        own = 11 if length % 16 else 0
        assert shares(h) == (cached + own, 0), "the page that each will write is its own"
        for f in forks:
            assert (await h.pred(s, f, [5]))[0].sampled == h.engine.greedy([*prompt, 5])


@run
async def test_who_shares_a_lost_copy_has_lost_it_too() -> None:
    lost = FakeEngine(pages=40, host_pages=40, move_seconds=_fail)
    async with Host(lost) as h:
        s = h.core.open_session("t")
        base = await h.core.create(s, None)
        await h.pred(s, base, list(range(40)))
        fork = await h.core.fork(s, base)
        for f in (base, fork):
            await h.core.advise(s, f, "dont-need")
        await settle(h)
        assert [(await h.core.stat(s, f)).tier for f in (base, fork)] == ["device", "device"]
        assert shares(h) == (3, 0)
        assert (await h.pred(s, fork, [5]))[0].sampled == h.engine.greedy([*range(40), 5])


@run
async def test_a_bug_in_a_moves_books_does_not_end_the_mover() -> None:
    async with Host(pages=40, host_pages=40) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.pred(s, f, list(range(40)))
        tiers = h.core._loops["fake"].room.tiers
        finish, tiers.finish = tiers.finish, _bug
        await h.core.advise(s, f, "dont-need")
        moves = list(tiers.waiting)
        await settle(h)
        tiers.finish = finish
        assert not tiers.usable
        assert (await h.pred(s, f, [5]))[0].sampled == h.engine.greedy([*range(40), 5])
        for move in moves:
            tiers.finish(move, False)  # what the bug left behind


def _bug(move: object, done: bool) -> bool:
    raise KeyError("a bug")


def _fail(out: object, back: object) -> float:
    raise OSError("lost")
