"""K/V on its way between device and host: out under pressure and back on use, dropped where that is cheaper, pinned,
lost, cut off; and whose pages go when a tenant has its share. On a virtual clock. Semantics 5, 19, 20."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from core_harness import Gate, settle
from kv_shadows import Shadows

from symphony.core.config import CoreConfig
from symphony.core.victims import RoomLimits
from symphony.errors import InternalError, LimitExceeded, NoSpace
from symphony.sim import clock as virtual

MOVE, DROP = 1e9, 0.0
"""Seconds that computing a token is said to take."""


def now() -> float:
    return asyncio.get_running_loop().time()


def config(**options: Any) -> CoreConfig:
    return CoreConfig(debug=True, clock=now, timer_resolution=0.0, **({"kept_share": 1.0} | options))


AT_ONCE = RoomLimits(0.0, 0.0, 0.0)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A coroutine as a test, on a clock that jumps: who waits for ever is found at once."""

    def wrapper() -> None:
        virtual.run(test())

    wrapper.__name__, wrapper.__doc__ = test.__name__, test.__doc__
    return wrapper


def text(count: int, first: int = 0) -> list[int]:
    return [(first + i * 7) % 250 for i in range(count)]


class Tiers(Shadows):
    def __init__(self, token_seconds: float = MOVE, limits: RoomLimits | None = AT_ONCE, **options: Any) -> None:
        settings = {
            name: options.pop(name)
            for name in ("tenant_page_share", "tenant_slot_share", "kept_share")
            if name in options
        }
        more = {} if limits is None else {"room": limits}
        defaults: dict[str, Any] = {"pages": 17, "page_size": 4, "host_pages": 64, "move_seconds": 0.001}
        super().__init__(config(**settings, **more), **(defaults | options))
        self.core._loops["fake"]._prefilled = lambda seconds: None  # what is said, not what is measured
        self.arena.costs.token_seconds = token_seconds

    async def derived(self, session: int, length: int, first: int = 0) -> tuple[int, Any]:
        f, source = await self.make(session, text(length + 1, first))
        made = await self.extract(session, f, source, [(1, length + 1)])
        await self.core.close_file(session, f)
        return made

    async def stow(self, session: int, file: int) -> None:
        before, self.arena.costs.token_seconds = self.arena.costs.token_seconds, MOVE
        await self.core.advise(session, file, "dont-need")
        while self.room.moves():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        assert self.tier(session, file) == "host"
        self.arena.costs.token_seconds = before

    def fill(self, session: int) -> Any:
        """A file as large as the pool: everybody else has to leave."""
        return self.make(session, text(4 * self.arena.pool.capacity, 150))


# ---- out and back --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("token_seconds", [MOVE, DROP])
@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("length", [3, 4, 15, 16, 17])
def test_out_under_pressure_and_back_on_use(token_seconds: float, derived: bool, length: int) -> None:
    @run
    async def test() -> None:
        async with Tiers(token_seconds) as h:
            s = h.session()
            f, shadow = await (h.derived(s, length) if derived else h.make(s, text(length)))
            big, other = await h.fill(s)
            moves = derived or token_seconds == MOVE
            assert h.tier(s, f) == ("host" if moves else "evicted")
            assert h.room.tiers.stowed_pages == (-(-length // 4) if moves else 0)
            before = h.engine.tokens
            await h.ask(s, f, shadow)
            assert h.engine.tokens == before + (1 if moves else length)
            await h.feed(s, f, shadow, text(9, 3))
            await h.ask(s, big, other)

    test()


@run
async def test_generations_go_on_after_preemption_by_moves() -> None:
    """Together they need four times the pool; each draws what it would have drawn alone."""
    async with Tiers(limits=None, step_seconds=0.001) as h:
        s = h.session()
        sources = [await h.derived(s, 9, i) for i in range(3)]

        async def guest(i: int) -> None:
            f = await h.core.create(s, None)
            whole = await h.generate(s, f, text(5, i), max_tokens=40, chunk_tokens=7)
            assert whole.tokens == h.expect(text(5, i), 40)

        async def derived(f: int, shadow: Any) -> None:
            for i in range(20):
                await h.feed(s, f, shadow, [i])

        await asyncio.gather(*(guest(i) for i in range(6)), *(derived(*source) for source in sources))
        assert h.room.preemptions
        assert h.room.tiers.stowed_pages
        assert h.room.tiers.recalled_pages


@run
async def test_the_cheaper_way_is_taken() -> None:
    async with Tiers() as h:
        s = h.session()
        h.arena.costs.moved(1, 0.01)
        f, _ = await h.make(s, text(16))  # four pages there and back: 0.08 s
        h.arena.costs.token_seconds = 0.0049
        await h.core.advise(s, f, "dont-need")
        assert h.tier(s, f) == "evicted"
        g, _ = await h.make(s, text(16, 1))
        h.arena.costs.token_seconds = 0.0051
        await h.core.advise(s, g, "dont-need")
        await asyncio.sleep(1)
        assert h.tier(s, g) == "host"


@run
async def test_prefill_speed_is_measured() -> None:
    async with Shadows(
        config(), pages=33, page_size=4, step_seconds=lambda b: 0.5 * sum(len(row.tokens) for row in b.rows)
    ) as h:
        s = h.session()
        assert h.arena.costs.token_seconds is None
        await h.make(s, text(2))
        assert h.arena.costs.token_seconds is None, "too few tokens to tell"
        await h.make(s, text(16))
        assert h.arena.costs.token_seconds == pytest.approx(0.5)


@run
async def test_move_speed_is_measured() -> None:
    async with Tiers(move_seconds=lambda out, back: 0.25 * (len(out) + len(back))) as h:
        s = h.session()
        for first in range(30):
            f, _ = await h.make(s, text(16, first))
            await h.stow(s, f)
            await h.core.advise(s, f, "will-need")
            await asyncio.sleep(10)
            assert h.tier(s, f) == "device"
            await h.core.close_file(s, f)
        assert h.arena.costs.page_seconds == pytest.approx(0.25, rel=0.01)


@run
async def test_the_first_move_replaces_what_was_assumed_and_slow_ones_are_tried_again() -> None:
    async with Tiers() as h:
        s, costs = h.session(), h.arena.costs
        costs.page_seconds, costs.token_seconds = 0.01, 0.1
        f, _ = await h.make(s, text(16))
        await h.stow(s, f)
        assert costs.page_seconds == pytest.approx(0.001 / 4), "four pages in a millisecond"
        costs.page_seconds, dropped = 0.3, 0
        for first in range(1, 100):
            g, _ = await h.make(s, text(16, first))
            await h.core.advise(s, g, "dont-need")
            dropped += h.tier(s, g) == "evicted"
            await asyncio.sleep(1)
            await h.core.close_file(s, g)
        assert 10 < dropped < 30


@run
async def test_derived_files_are_never_dropped() -> None:
    """The host is full: the newcomer is refused, whoever is there stays."""
    async with Tiers(host_pages=3) as h:
        s = h.session()
        f, one = await h.derived(s, 20)  # 5 pages, of which the host could take 3
        g, two = await h.make(s, text(20, 1))
        with pytest.raises(NoSpace, match="missing"):
            await h.fill(s)
        assert h.tier(s, f) == "device"
        await h.feed(s, f, one, [1])
        await h.feed(s, g, two, [1])


@run
async def test_a_full_host_is_looked_at_once_for_all_victims() -> None:
    """Not once for each file that could go: a crowd of small files must not hold up everybody."""
    async with Tiers(pages=33, host_pages=32) as h:
        s = h.core.open_session("a")
        made = [await h.derived(s, 4, i) for i in range(61)]  # of a page each; its source needs two for a moment
        looks = 0
        tiers = h.core._loops["fake"].room.tiers
        slots_for = tiers.slots_for

        def counted(file: Any) -> int:
            nonlocal looks
            looks += 1
            return slots_for(file)

        tiers.slots_for = counted
        stranger = h.core.open_session("b")
        with pytest.raises(NoSpace):
            await h.make(stranger, text(40))
        assert 0 < looks <= 10 * len(made)  # it asks a few times
        for f, shadow in made[:3] + made[-3:]:
            await h.agree(s, f, shadow)


@run
async def test_plain_files_give_way_to_derived_ones_on_the_host() -> None:
    async with Tiers(host_pages=6) as h:
        s = h.session()
        f, plain = await h.make(s, text(16, 1))
        g, derived = await h.derived(s, 20)
        await h.stow(s, f)
        await h.stow(s, g)
        assert h.tier(s, f) == "evicted"
        await h.feed(s, f, plain, [1])
        await h.feed(s, g, derived, [1])


@run
async def test_what_the_host_cannot_take_empties_nobody() -> None:
    async with Tiers(host_pages=6) as h:
        s = h.session()
        f, plain = await h.make(s, text(16, 1))
        await h.stow(s, f)
        g, _ = await h.make(s, text(28, 2))
        await h.core.advise(s, g, "dont-need")
        assert h.tier(s, g) == "evicted"
        assert h.tier(s, f) == "host"
        await h.feed(s, f, plain, [1])


# ---- sharing -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("derived", [False, True])
def test_forks_share_slots_and_pages(derived: bool) -> None:
    @run
    async def test() -> None:
        async with Tiers(pages=33) as h:
            s = h.session()
            f, shadow = await (h.derived(s, 18) if derived else h.make(s, text(18)))
            g = await h.core.fork(s, f)
            twin = shadow.clone("t", h.real(s, g))
            await h.stow(s, f)
            assert h.tier(s, g) == "device"
            moved = h.engine.moved
            await h.stow(s, g)
            assert h.engine.moved == moved, "its twins are there"
            assert h.real(s, f).slots == h.real(s, g).slots
            k = await h.core.fork(s, f)
            third = shadow.clone("t", h.real(s, k))
            assert h.real(s, k).slots == h.real(s, f).slots, "a fork on the host shares slots"
            await h.feed(s, f, shadow, [1])
            moved = h.engine.moved
            await h.ask(s, g, twin)
            assert h.engine.moved == moved + 1, "full pages have twins on the device; the last one is being written"
            assert h.real(s, g).pages[:4] == h.real(s, f).pages[:4]
            await h.feed(s, g, twin, [2])
            await h.stow(s, g)
            await h.feed(s, k, third, [3])
            for file, model in ((f, shadow), (g, twin), (k, third)):
                await h.feed(s, file, model, [4, 5])

    test()


@pytest.mark.parametrize("count", [1, 6])
def test_a_page_that_is_written_has_no_twin_any_more(count: int) -> None:
    """One fork is stowed, the other goes on in the page that both had, and is stowed too."""

    @run
    async def test() -> None:
        async with Tiers(pages=33) as h:
            s = h.session()
            f, shadow = await h.derived(s, 18)
            g = await h.core.fork(s, f)
            twin = shadow.clone("t", h.real(s, g))
            await h.stow(s, f)
            await h.feed(s, g, twin, text(count, 7))
            await h.stow(s, g)
            assert h.real(s, g).slots[:4] == h.real(s, f).slots[:4]
            assert h.real(s, g).slots[4] != h.real(s, f).slots[4]
            await h.feed(s, f, shadow, [8])
            await h.feed(s, g, twin, [9])

    test()


@run
async def test_a_page_that_is_copied_into_has_no_twin_any_more() -> None:
    async with Tiers(pages=33) as h:
        s = h.session()
        f, shadow = await h.derived(s, 18)
        g = await h.core.fork(s, f)
        twin = shadow.clone("t", h.real(s, g))
        other, source = await h.make(s, text(9, 5))
        await h.stow(s, f)
        await h.append(s, g, twin, other, source, 3, 5)
        assert h.real(s, g).slots == []
        await h.stow(s, g)
        await h.ask(s, f, shadow)
        await h.ask(s, g, twin)


@run
async def test_a_cut_page_that_is_written_has_no_twin_any_more() -> None:
    async with Tiers(pages=33) as h:
        s = h.session()
        f, shadow = await h.derived(s, 16)
        g = await h.core.fork(s, f)
        twin = shadow.clone("t", h.real(s, g))
        await h.stow(s, f)
        await h.core.truncate(s, g, 14)
        twin.cut(14)
        await h.feed(s, g, twin, [7, 8])
        await h.stow(s, g)
        await h.ask(s, f, shadow)
        await h.ask(s, g, twin)
        await h.feed(s, f, shadow, [9])
        await h.feed(s, g, twin, [9])


@run
async def test_the_prefix_cache_keeps_what_was_stowed() -> None:
    async with Tiers(pages=33) as h:
        s = h.session()
        f, shadow = await h.make(s, text(18))
        await h.stow(s, f)
        before = h.core.usage(s).reused_tokens
        await h.make(s, text(18))
        assert h.core.usage(s).reused_tokens == before + 16
        moved = h.engine.moved
        await h.ask(s, f, shadow)
        assert h.engine.moved == moved + 1, "all but the last page are there"


# ---- copied ahead of need ------------------------------------------------------------------------------------------
async def crowded(h: Tiers, session: int) -> list[tuple[int, Any]]:
    """Three files, of which the first is on the host; the others are clean but for their last pages."""
    files = [await h.derived(session, 30, first) for first in (0, 1)]
    files.append(await h.make(session, text(10, 2)))
    await asyncio.sleep(1)
    assert h.real(session, files[0][0]).tier == "host"
    assert h.room.tiers.cleaned_pages == 7 + 2
    return files


@run
async def test_a_clean_file_leaves_at_once() -> None:
    async with Tiers() as h:
        s = h.session()
        [(a, first), (b, second), _] = await crowded(h, s)
        moved, begin = h.engine.moved, now()
        await h.ask(s, a, first)
        assert h.real(s, b).tier == "host"
        assert h.engine.moved == moved + 8 + 1, "one file comes back whole, of the other one only the last page goes"
        assert now() - begin == pytest.approx(0.002), "a way out and a way back, whatever they carry"
        await h.ask(s, b, second)


@run
async def test_what_came_back_stays_clean_until_it_is_written() -> None:
    async with Tiers() as h:
        s = h.session()
        [(a, first), (b, second), _] = await crowded(h, s)
        await h.ask(s, a, first)
        await asyncio.sleep(1)
        moved = h.engine.moved
        await h.ask(s, b, second)
        assert h.engine.moved == moved + 8 + 1
        await h.core.truncate(s, b, 15)
        second.cut(15)
        await h.feed(s, b, second, [1, 2, 3])
        await asyncio.sleep(1)
        await h.ask(s, a, first)
        await h.ask(s, b, second)


@run
async def test_clean_copies_give_way_to_files_that_have_to_leave() -> None:
    async with Tiers(host_pages=12) as h:
        s = h.session()
        files = [await h.make(s, text(30, first)) for first in (0, 1)]
        files += [await h.derived(s, 10)]
        await asyncio.sleep(1)
        assert 0 < h.room.tiers.cleaned_pages <= 4
        assert not h.arena.host.free, "what the first file left of the slots"
        for file, shadow in files * 2:
            await h.ask(s, file, shadow)
        assert h.arena.free_slots + sum(h.arena.host.used.values()) == 12


@run
async def test_a_file_is_used_and_cut_while_it_is_copied() -> None:
    async with Tiers() as h:
        s = h.session()
        a, first = await h.make(s, text(30))
        b, second = await h.make(s, text(30, 1))
        await h.make(s, text(10, 2))
        for _ in range(40):  # beginning and end of moves fall between any two of these
            await h.core.truncate(s, b, 21)
            second.cut(21)
            await h.feed(s, b, second, text(6, 3))
            await asyncio.sleep(0.0004)
        await h.ask(s, a, first)
        await h.ask(s, b, second)


# ---- while a move is in flight -------------------------------------------------------------------------------------
class Held(Tiers):
    """Moves wait for `gate`."""

    def __init__(self, **options: Any) -> None:
        self.gate = Gate()
        self.gate.open.set()
        super().__init__(move_seconds=1, sleep=self.gate.sleep, **options)

    async def leave(self, session: int, file: int) -> None:
        """It is on its way out, and stays so."""
        self.gate.open.clear()
        await self.core.advise(session, file, "dont-need")
        await settle()
        assert self.real(session, file).move is not None

    async def come(self, session: int, file: int) -> None:
        """It is on its way back, and stays so."""
        await self.stow(session, file)
        self.gate.open.clear()
        await self.core.advise(session, file, "will-need")
        await settle()
        assert self.real(session, file).move is not None

    async def arrive(self) -> None:
        self.gate.open.set()
        while self.room.moves():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        self.core.check_integrity()


WAYS = pytest.mark.parametrize("way", ["leave", "come"])
KINDS = pytest.mark.parametrize("derived", [False, True])


@WAYS
@KINDS
@pytest.mark.parametrize(
    "what", ["use", "cut", "empty", "append", "fork", "close", "kill", "cancel", "extract", "turn"]
)
def test_what_is_done_to_a_file_that_moves(way: str, derived: bool, what: str) -> None:
    @run
    async def test() -> None:
        async with Held(pages=33) as h:
            s = h.session()
            f, shadow = await (h.derived(s, 18) if derived else h.make(s, text(18)))
            await (h.leave(s, f) if way == "leave" else h.come(s, f))
            match what:
                case "use":
                    op = await h.start_pred(s, f, [1])
                    await settle()
                    assert not h.answers.get(op)
                    await h.arrive()
                    [reading] = await h.arrival(op)
                    shadow.become(shadow.after([1]))
                    assert reading.sampled == h.engine.greedy_after(shadow.entries)
                case "cut" | "empty":
                    await h.core.truncate(s, f, 9 if what == "cut" else 0)
                    shadow.cut(9 if what == "cut" else 0)
                    await h.agree(s, f, shadow)
                    await h.feed(s, f, shadow, [5, 6]) if way == "leave" else None
                case "append":
                    task = asyncio.create_task(h.append(s, f, shadow, f, shadow, 3, 13))
                    await settle()
                    await h.arrive()
                    await task
                case "extract":
                    task = asyncio.create_task(h.extract(s, f, shadow, [(3, 13)], True))
                    await settle()
                    await h.arrive()
                    await h.feed(s, *await task, [3])
                case "fork":
                    g = await h.core.fork(s, f)
                    twin = shadow.clone("t", h.real(s, g))
                    await h.agree(s, g, twin)
                    await h.feed(s, g, twin, [7]) if way == "leave" else None
                    await h.arrive()
                    await h.feed(s, g, twin, [8])
                case "close":
                    await h.core.close_file(s, f)
                    h.core.check_integrity()
                    await h.arrive()
                    return
                case "kill":
                    op = await h.start(s, f, [1], max_tokens=3)
                    await settle()
                    await h.core.close_session(s)
                    h.core.check_integrity()
                    await h.arrive()
                    return
                case "cancel":
                    op = await h.start_pred(s, f, text(30, 3))  # which wants many more pages
                    await settle()
                    await h.core.cancel(s, op)
                    await h.agree(s, f, shadow)
                case _:
                    await (h.core.advise(s, f, "will-need") if way == "leave" else h.core.advise(s, f, "dont-need"))
                    await h.arrive()
                    assert h.tier(s, f) == ("host" if way == "leave" else "device"), "moves are not turned round"
            await h.arrive()
            await h.agree(s, f, shadow)
            await h.feed(s, f, shadow, [2])

    test()


@KINDS
def test_a_waiting_operation_ends_while_its_file_comes_back(derived: bool) -> None:
    """The move brings pages for what it wanted to write; nobody wants that any more."""

    @run
    async def test() -> None:
        async with Held(pages=33) as h:
            s = h.session()
            f, shadow = await (h.derived(s, 6) if derived else h.make(s, text(6)))
            await h.stow(s, f)
            h.gate.open.clear()
            op = await h.start_pred(s, f, text(30, 3))
            await settle()
            assert len(h.real(s, f).move.pages) == 9
            await h.core.cancel(s, op)
            await h.arrive()
            assert len(h.real(s, f).pages) == 2
            await h.feed(s, f, shadow, [2])

    test()


@KINDS
def test_a_move_out_is_lost(derived: bool, caplog: pytest.LogCaptureFixture) -> None:
    @run
    async def test() -> None:
        async with Tiers() as h:
            s = h.session()
            f, shadow = await (h.derived(s, 18) if derived else h.make(s, text(18)))
            h.engine.lose_moves = 1
            await h.core.advise(s, f, "dont-need")
            await asyncio.sleep(1)
            assert h.tier(s, f) == "device"
            await h.feed(s, f, shadow, [1])
            stowed = h.engine.moved
            if derived:
                with pytest.raises(NoSpace):
                    await h.fill(s)
                assert h.tier(s, f) == "device"
            else:
                await h.fill(s)
                assert h.tier(s, f) == "evicted"
            assert h.engine.moved == stowed, "the host tier is not used any more"
            await h.feed(s, f, shadow, [1])

    test()
    assert "host tier is not used any more" in caplog.text


@KINDS
@pytest.mark.parametrize("how", ["use", "prefetch", "extract"])
def test_a_move_back_is_lost(derived: bool, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is plain is computed again; whoever needs a derived file hears of it, and may try again."""

    @run
    async def test() -> None:
        async with Tiers() as h:
            s = h.session()
            f, shadow = await (h.derived(s, 18) if derived else h.make(s, text(18)))
            await h.stow(s, f)
            h.engine.lose_moves = 1
            if how == "prefetch":
                await h.core.advise(s, f, "will-need")
                await asyncio.sleep(1)
            elif derived:
                with pytest.raises(InternalError, match="could not be brought back"):
                    await (h.pred(s, f, [1]) if how == "use" else h.core.extract(s, f, [(0, 3)], True))
            else:
                await (h.feed(s, f, shadow, [1]) if how == "use" else h.extract(s, f, shadow, [(0, 3)], True))
            await h.agree(s, f, shadow)
            await h.feed(s, f, shadow, [1])

    test()
    assert "host tier is not used any more" in caplog.text


@KINDS
def test_advice_on_a_busy_file_waits_for_nothing(derived: bool) -> None:
    """Its operation needs the K/V; the advice is lost."""

    @run
    async def test() -> None:
        async with Tiers(step_seconds=0.01) as h:
            s = h.session()
            f, shadow = await (h.derived(s, 18) if derived else h.make(s, text(18)))
            op = await h.start_pred(s, f, [1])
            for _ in range(4):
                await h.core.advise(s, f, "dont-need")
                await asyncio.sleep(0.003)
                h.core.check_integrity()
            [reading] = await h.arrival(op)
            shadow.become(shadow.after([1]))
            assert reading.sampled == h.engine.greedy_after(shadow.entries)
            await h.feed(s, f, shadow, [1])

    test()


@run
async def test_what_a_busy_file_was_moves_while_it_is_written() -> None:
    """A private fork, opened in the middle of a step, does without the page that the step writes."""
    async with Tiers(step_seconds=0.01) as h:
        s = h.session()
        f, shadow = await h.make(s, text(6))
        await h.core.link(s, f, "/f")
        op = await h.start_pred(s, f, [1])
        await asyncio.sleep(0.005)
        g = await h.core.open(s, None, "/f")
        before = shadow.clone("t", h.real(s, g))
        await h.core.advise(s, g, "dont-need")
        await h.arrival(op)
        shadow.become(shadow.after([1]))
        await h.stow(s, f)
        await h.feed(s, g, before, [2])
        await h.feed(s, f, shadow, [3])
        await h.core.unlink(s, "/f")


# ---- back before it is asked for -----------------------------------------------------------------------------------
@run
async def test_a_process_that_wakes_gets_its_files_back() -> None:
    async with Tiers() as h:
        s, other = h.session(), h.session()
        f, shadow = await h.make(s, text(18))
        g, theirs = await h.make(other, text(10, 1))
        await h.stow(s, f)
        await h.stow(other, g)
        h.core.resume(s)
        await asyncio.sleep(1)
        assert (h.tier(s, f), h.tier(other, g)) == ("device", "host")
        moved = h.engine.moved
        await h.feed(s, f, shadow, [1])
        assert h.engine.moved == moved
        await h.feed(other, g, theirs, [1])
        h.core.resume(12345)  # it has ended


@run
async def test_prefetching_takes_nobodys_pages() -> None:
    async with Tiers() as h:
        s = h.session()
        f, _ = await h.make(s, text(18))
        await h.stow(s, f)
        g, _ = await h.make(s, text(52, 1))
        h.core.resume(s)
        await asyncio.sleep(1)
        assert (h.tier(s, f), h.tier(s, g)) == ("host", "device")
        await h.core.close_file(s, g)
        h.core.resume(s)
        await asyncio.sleep(1)
        assert h.tier(s, f) == "device"


@run
async def test_a_wait_that_is_over_does_not_stop_prefetching() -> None:
    """Somebody waited for pages and was cancelled; nothing has run since."""
    async with Tiers(limits=RoomLimits(9.0, 9.0, 0.0)) as h:
        s = h.session()
        f, _ = await h.make(s, text(18))
        await h.stow(s, f)
        g, _ = await h.make(s, text(52, 1))
        op = await h.start_pred(s, await h.core.create(s, None), text(40, 2))
        await asyncio.sleep(1)
        assert not h.answers.get(op)
        await h.core.cancel(s, op)
        await h.core.close_file(s, g)
        h.core.resume(s)
        await asyncio.sleep(1)
        assert h.tier(s, f) == "device"


@run
async def test_no_move_takes_a_page_that_is_being_poisoned() -> None:
    """Prefetching while a step fills free pages: they are the step's."""
    async with Tiers(step_seconds=0.01) as h:
        s = h.session()
        f, shadow = await h.derived(s, 18)
        await h.stow(s, f)
        g, other = await h.make(s, text(6, 1))
        k, _ = await h.derived(s, 18, 2)
        await h.core.close_file(s, k)
        op = await h.start_pred(s, g, [1])
        await asyncio.sleep(0.005)
        h.core.resume(s)
        await asyncio.sleep(1)
        await h.arrival(op)
        other.become(other.after([1]))
        h.core.resume(s)
        await asyncio.sleep(1)
        assert h.tier(s, f) == "device"
        await h.feed(s, g, other, [2])
        await h.feed(s, f, shadow, [2])


# ---- pins ----------------------------------------------------------------------------------------------------------
@run
async def test_pinned_files_stay() -> None:
    async with Tiers() as h:
        s = h.session()
        f, shadow = await h.make(s, text(18))
        await h.core.pin(s, f)
        await h.core.pin(s, f)  # idempotent
        assert (await h.core.stat(s, f)).pinned
        with pytest.raises(NoSpace, match="pins leave 11"):
            await h.fill(s)
        g, other = await h.make(s, text(44, 1))
        await h.core.advise(s, f, "dont-need")
        await h.make(s, text(44, 2))
        assert (h.tier(s, f), h.tier(s, g)) == ("device", "host")
        await h.core.unpin(s, f)
        await h.core.unpin(s, f)
        assert not (await h.core.stat(s, f)).pinned
        await h.fill(s)
        assert h.tier(s, f) == "host"
        await h.feed(s, f, shadow, [1])
        await h.feed(s, g, other, [1])


@run
async def test_a_pin_ends_with_its_handle() -> None:
    async with Tiers() as h:
        s, other = h.session(), h.session()
        f, _ = await h.make(s, text(18))
        await h.core.link(s, f, "/f")
        g = await h.core.open(other, None, "/f", write=True)
        await h.core.pin(s, f)
        await h.core.pin(other, g)
        await h.core.close_file(s, f)
        assert (await h.core.stat(other, g)).pinned
        await h.core.close_session(other)
        assert not h.core._kvfs.pinned
        await h.fill(h.session())
        last = h.session()
        assert (await h.core.stat_path(last, "/f")).tier == "host"
        await h.core.unlink(last, "/f")


@run
async def test_at_most_half_of_the_pool_is_pinned() -> None:
    """However it comes about: by a pin, by growing, by coming back."""
    async with Tiers() as h:
        s = h.session()
        f, one = await h.make(s, text(18))
        g, _ = await h.make(s, text(18, 1))
        k, three = await h.make(s, [3])
        await h.core.pin(s, f)
        with pytest.raises(LimitExceeded, match="10 KV pages would be pinned, the limit is 8"):
            await h.core.pin(s, g)
        await h.core.pin(s, k)
        with pytest.raises(NoSpace, match="pins leave 3"):
            await h.pred(s, k, text(16))
        await h.feed(s, k, three, text(11))
        with pytest.raises(NoSpace, match="pins leave"):
            await h.pred(s, f, text(3))
        await h.feed(s, f, one, text(2))
        assert h.core._kvfs.pinned_pages(h.arena) == 8


@run
async def test_pins_on_the_host_count() -> None:
    async with Tiers() as h:
        s = h.session()
        f, one = await h.make(s, text(18))
        await h.stow(s, f)
        g, _ = await h.make(s, text(60, 1))
        await h.core.pin(s, f)  # there is no room for it now
        assert h.tier(s, f) == "host"
        k, _ = await h.make(s, text(16, 2))
        with pytest.raises(LimitExceeded, match="9 KV pages would be pinned"):
            await h.core.pin(s, k)
        await h.core.close_file(s, g)
        await h.feed(s, f, one, [1])
        assert h.tier(s, f) == "device"


@run
async def test_a_pin_brings_the_file_back() -> None:
    async with Tiers() as h:
        s = h.session()
        f, _ = await h.make(s, text(18))
        await h.stow(s, f)
        await h.core.pin(s, f)
        await asyncio.sleep(1)
        assert h.tier(s, f) == "device"


@run
async def test_a_pin_stops_a_file_that_is_leaving() -> None:
    async with Held() as h:
        s = h.session()
        f, shadow = await h.derived(s, 18)
        await h.leave(s, f)
        await h.core.pin(s, f)
        await h.arrive()
        assert h.tier(s, f) == "device"
        await h.feed(s, f, shadow, [1])


# ---- shares --------------------------------------------------------------------------------------------------------
@run
async def test_a_tenant_at_its_share_gives_way_itself() -> None:
    async with Tiers(tenant_page_share=0.5) as h:
        ann, bob = h.session("ann"), h.session("bob")
        b, theirs = await h.make(bob, text(24))
        files = [await h.make(ann, text(16, i)) for i in range(1, 4)]
        assert h.arena.pool.used == {"ann": 8, "bob": 6}
        assert [h.tier(ann, f) for f, _ in files] == ["host", "device", "device"]
        assert h.tier(bob, b) == "device"
        with pytest.raises(NoSpace, match="the tenant may hold 8"):
            await h.make(ann, text(33, 9))
        for f, shadow in files:
            await h.feed(ann, f, shadow, [1])
            assert h.arena.pool.used["ann"] <= 8
        await h.feed(bob, b, theirs, [1])


@run
async def test_moves_of_a_tenant_count_for_who_waits_for_them() -> None:
    """Whoever waits for two pages that are on their way out does not send out another file every step."""
    async with Tiers(tenant_page_share=0.5, move_seconds=1.0, step_seconds=0.01) as h:
        ann, bob = h.session("ann"), h.session("bob")
        files = [await h.make(ann, text(8, i)) for i in range(4)]
        b = await h.core.create(bob, None)
        steps = asyncio.create_task(h.generate(bob, b, [1], max_tokens=25))
        await h.make(ann, text(8, 9))
        await steps
        assert [h.tier(ann, f) for f, _ in files].count("host") == 1
        assert all(move.clean for move in h.room.moves())


@run
async def test_cached_pages_count_once_they_are_used() -> None:
    async with Tiers(tenant_page_share=0.5, token_seconds=DROP) as h:
        ann = h.session("ann")
        f, _ = await h.make(ann, text(32))
        await h.core.close_file(ann, f)
        _g, _ = await h.make(ann, text(16, 1))
        k, again = await h.make(ann, text(32))
        assert h.arena.pool.used["ann"] <= 8
        await h.ask(ann, k, again)


@run
async def test_the_share_of_the_host() -> None:
    async with Tiers(tenant_slot_share=0.1, host_pages=60) as h:
        ann, bob = h.session("ann"), h.session("bob")
        b, theirs = await h.make(bob, text(16, 9))
        await h.stow(bob, b)
        f, one = await h.make(ann, text(12))
        g, two = await h.derived(ann, 16, 1)
        await h.stow(ann, f)
        await h.stow(ann, g)
        assert (h.tier(ann, f), h.tier(bob, b)) == ("evicted", "host")
        assert h.arena.host.used == {"ann": 4, "bob": 4}
        k, three = await h.derived(ann, 12, 2)
        await h.core.advise(ann, k, "dont-need")
        await asyncio.sleep(1)
        assert h.tier(ann, k) == "device", "derived, and the share is used up"
        for session, file, shadow in ((ann, f, one), (ann, g, two), (ann, k, three), (bob, b, theirs)):
            await h.feed(session, file, shadow, [1])


@pytest.mark.parametrize("host_pages", [0, 16, 64])
@pytest.mark.parametrize("pins_first", [False, True])
def test_another_tenant_works_when_one_has_done_its_worst(host_pages: int, pins_first: bool) -> None:
    """It keeps as much as it can of what is never given up, in both tiers: derived files and pins."""

    @run
    async def test() -> None:
        async with Tiers(pages=33, host_pages=host_pages, kept_share=0.75, token_seconds=MOVE) as h:
            greedy, other = h.core.open_session("a"), h.core.open_session("b")

            async def hoard() -> None:
                refused = 0
                for i in range(60):
                    try:
                        await h.derived(greedy, 12, i)
                    except NoSpace:
                        refused += 1
                assert refused

            async def pin() -> None:
                for i in range(20):
                    f, _ = await h.make(greedy, text(8, 100 + i))
                    with suppress(LimitExceeded):
                        await h.core.pin(greedy, f)

            for worst in (pin, hoard) if pins_first else (hoard, pin):
                await worst()
            pool = h.arena.pool
            kept = [f for f in h.core._kvfs.files if f.pins or f.derived is not None]
            assert len({page for f in kept for page in f.pages}) <= 0.75 * pool.capacity
            assert len({slot for f in kept for slot in f.slots}) <= 0.75 * host_pages
            f, plain = await h.make(other, text(28, 7))
            for i in range(4):
                await h.feed(other, f, plain, [i])  # eight pages, a quarter of the pool
            await h.core.close_file(other, f)
            g, made = await h.derived(other, 8, 3)
            await h.feed(other, g, made, [1])

    test()


@run
async def test_the_charge_moves_to_who_still_holds_it() -> None:
    async with Tiers(pages=33) as h:
        ann, bob = h.session("ann"), h.session("bob")
        f, _ = await h.make(ann, text(18))
        await h.core.save(ann, f, "/shared/f", False)
        g = await h.core.open(bob, None, "/shared/f")
        shadow = (await h.make(ann, []))[1]
        shadow.become(shadow.after(text(18)))
        assert h.arena.pool.used == {"ann": 5}
        await h.core.close_file(ann, f)
        await h.core.unlink(ann, "/shared/f")
        assert h.arena.pool.used == {"bob": 5}
        await h.stow(bob, g)
        k = await h.core.fork(bob, g)
        assert h.arena.host.used == {"bob": 5}
        assert not h.arena.pool.used
        await h.core.close_file(bob, g)
        await h.feed(bob, k, shadow.clone("bob", h.real(bob, k)), [1])


# ---- waiting -------------------------------------------------------------------------------------------------------
@run
async def test_a_file_in_use_gives_way_after_its_residence() -> None:
    async with Tiers(limits=RoomLimits(1.0, 3.0, 0.0)) as h:
        s = h.session()
        start = now()
        f, shadow = await h.make(s, text(40))
        await h.fill(s)
        assert 1.0 <= now() - start < 1.1, "nobody has used it for a second"
        start = now()
        await h.make(s, text(40, 2))
        assert now() - start < 1.1
        await h.feed(s, f, shadow, [1])


@run
async def test_who_waits_for_moves_is_not_overtaken() -> None:
    """A large newcomer among small ones that come and go: its pages are not taken as they come free."""
    async with Tiers(move_seconds=0.02, step_seconds=0.01) as h:
        s = h.session()
        stop = False

        async def small(i: int) -> None:
            n = 0
            while not stop:
                f = await h.core.create(s, None)
                await h.generate(s, f, [i, n % 250], max_tokens=9)
                n += 1
                await h.core.close_file(s, f)

        guests = [asyncio.create_task(small(i)) for i in range(12)]
        await asyncio.sleep(1)
        start = now()
        await h.make(s, text(60))
        assert now() - start < 2
        stop = True
        await asyncio.gather(*guests)


@run
async def test_a_small_newcomer_leaves_what_is_free_to_who_waits_for_the_rest() -> None:
    async with Tiers(move_seconds=1.0, step_seconds=0.01) as h:
        s = h.session()
        await h.make(s, text(40))
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        large = await h.start_pred(s, f, text(64, 1))
        await asyncio.sleep(0.1)
        small = await h.start_pred(s, g, text(8, 2))
        await h.arrival(large)
        assert not h.answers.get(small)
        assert now() < 2
        await h.arrival(small)


@run
async def test_nobody_fails_for_pages_that_have_just_come_free() -> None:
    """The younger one can never fit, and what it had makes room for the older one."""
    async with Tiers(limits=RoomLimits(0.0, 100.0, 0.0), host_pages=0) as h:
        s = h.session()
        f, one = await h.make(s, text(4))
        g = await h.core.create(s, None)
        generation = await h.start(s, g, text(20, 1), max_tokens=44, chunk_tokens=1)
        await h.arrival(generation)
        task = asyncio.create_task(h.pred(s, f, text(50)))
        await settle()
        await h.core.cancel(s, generation)
        [reading] = await task
        assert reading.sampled == h.engine.greedy_after(one.after(text(50)))


@run
async def test_who_shares_the_page_to_be_written_gives_way() -> None:
    """All pages are needed, which is enough only if the last one need not be copied."""
    async with Tiers(pages=13, page_size=2, host_pages=6) as h:
        s = h.session()
        f, shadow = await h.make(s, text(19))
        g = await h.core.fork(s, f)
        twin = shadow.clone("t", h.real(s, g))
        await h.make(s, text(3, 3))
        await h.feed(s, f, shadow, text(5, 2))
        assert h.tier(s, g) == "evicted"
        await h.ask(s, g, twin)


@pytest.mark.parametrize("token_seconds", [MOVE, DROP])
@pytest.mark.parametrize("forks", [1, 2])
def test_who_shares_nothing_but_that_page_gives_way(token_seconds: float, forks: int) -> None:
    """The pool is full, no page comes free, and yet nothing has to be copied any more."""

    @run
    async def test() -> None:
        async with Tiers(token_seconds, pages=11, page_size=2) as h:
            s = h.session()
            f, shadow = await h.make(s, text(19))
            others = [await h.core.fork(s, f) for _ in range(forks)]
            await h.feed(s, f, shadow, [1])
            for g in others:
                twin = (await h.make(s, []))[1]
                twin.become(twin.after(text(19)))
                await h.feed(s, g, twin, [2])

    test()


@run
async def test_a_share_is_freed_where_another_tenant_takes_over_the_charge() -> None:
    async with Tiers(tenant_page_share=0.5) as h:
        ann, bob = h.session("ann"), h.session("bob")
        f, shadow = await h.make(ann, text(24))
        await h.core.save(ann, f, "/shared/f", False)
        g = await h.core.open(bob, None, "/shared/f")
        await h.make(ann, text(32, 1))
        assert h.arena.pool.used == {"ann": 8, "bob": 6}
        await h.core.close_file(bob, g)
        await h.feed(ann, f, shadow, [1])
        await h.core.unlink(ann, "/shared/f")


# ---- the end -------------------------------------------------------------------------------------------------------
@run
async def test_moves_that_wait_when_the_core_closes() -> None:
    async with Held(pages=65) as h:
        s = h.session()
        files = [await h.derived(s, 10, i) for i in range(3)]
        h.gate.open.clear()
        for f, _ in files:
            await h.core.advise(s, f, "dont-need")
            await settle()
        closing = asyncio.create_task(h.core.close())
        await settle()
        h.gate.open.set()
        await closing
