"""Extract and append-from through a core: entries keep what they were computed from. Semantics 5 and 6."""

from __future__ import annotations

import asyncio

import pytest
from core_harness import Gate, Host, run, settle
from kv_shadows import Shadows

from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import (
    Busy,
    Cancelled,
    InternalError,
    Invalid,
    LimitExceeded,
    NoSpace,
    PermissionDenied,
    SymphonyError,
)
from symphony.kvfs.modes import Principal

SIZES = (4, 16)
LENGTHS = (15, 16, 17, 31, 33)


def text(count: int, first: int = 0) -> list[int]:
    return [(first + i * 7) % 250 for i in range(count)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("rebase", [False, True])
def test_extract_goes_on_from_what_it_kept(size: int, length: int, rebase: bool) -> None:
    @run
    async def test() -> None:
        async with Shadows(pages=64, page_size=size) as h:
            s = h.session()
            f, source = await h.make(s, text(length))
            cuts = [
                [(0, length)],
                [(0, 5), (9, length)],
                [(3, length - 2)],
                [(2, 3), (4, 4), (8, 13)],
                [(0, 8), (8, 15)],
            ]
            for ranges in cuts:
                part, shadow = await h.extract(s, f, source, ranges, rebase)
                for i in range(3):
                    await h.feed(s, part, shadow, [i])
                await h.ask(s, part, shadow)
            await h.feed(s, f, source, [1])  # the source is as before

    test()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("before", [0, 1, 15, 16, 17])
def test_append_goes_on_from_both(size: int, length: int, before: int) -> None:
    @run
    async def test() -> None:
        async with Shadows(pages=64, page_size=size) as h:
            s = h.session()
            f, target = await h.make(s, text(before, 3))
            g, source = await h.make(s, text(length))
            await h.append(s, f, target, g, source, 0, length)
            await h.feed(s, f, target, [1, 2])
            await h.append(s, f, target, g, source, 4, length)
            await h.feed(s, f, target, [3])
            await h.feed(s, g, source, [4])

    test()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", LENGTHS)
def test_append_from_itself(size: int, length: int) -> None:
    @run
    async def test() -> None:
        async with Shadows(pages=64, page_size=size) as h:
            s = h.session()
            f, shadow = await h.make(s, text(length))
            for start, end in ((0, length), (3, length - 1), (length - 1, length + 2)):
                await h.append(s, f, shadow, f, shadow, start, end)
                await h.feed(s, f, shadow, [5])

    test()


@run
async def test_whole_pages_are_shared_where_nothing_shifts() -> None:
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(14))
        pages = h.real(s, f).pages
        a, _ = await h.extract(s, f, source, [(0, 14)])
        assert h.real(s, a).pages[:3] == pages[:3]
        assert h.real(s, a).pages[3] != pages[3], "a part of a page is copied"
        b, _ = await h.extract(s, f, source, [(4, 12)])
        assert h.real(s, b).pages == pages[1:3], "positions are kept, pages lie alike"
        c, _ = await h.extract(s, f, source, [(4, 12)], rebase=True)
        assert not set(h.real(s, c).pages) & set(pages), "keys are rotated"
        d, _ = await h.extract(s, f, source, [(3, 11)])
        assert not set(h.real(s, d).pages) & set(pages), "not aligned"
        e, _ = await h.extract(s, f, source, [(0, 4), (8, 12)])
        assert h.real(s, e).pages == [pages[0], pages[2]]


@run
async def test_a_shared_page_is_copied_before_entries_come_into_it() -> None:
    """Both forks get entries behind what they share."""
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, one = await h.make(s, text(6))
        g = await h.core.fork(s, f)
        two = one.clone("t", h.real(s, g))
        k, source = await h.make(s, text(9, 5))
        await h.append(s, f, one, k, source, 0, 2)
        await h.append(s, g, two, k, source, 4, 6)
        await h.agree(s, f, one)
        assert h.real(s, f).pages[0] == h.real(s, g).pages[0]
        await h.feed(s, f, one, [1])
        await h.feed(s, g, two, [1])


@run
async def test_what_is_plain() -> None:
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(14))
        for ranges, rebase, plain in [
            ([(0, 14)], False, 14),
            ([(0, 14)], True, 14),
            ([(0, 4), (4, 10)], False, 10),
            ([(0, 4), (5, 10)], False, 4),
            ([(0, 4), (5, 10)], True, 4),
            ([(4, 8)], False, 0),
            ([(4, 8)], True, 0),
        ]:
            part, shadow = await h.extract(s, f, source, ranges, rebase)
            assert shadow.plain == (await h.core.stat(s, part)).plain == plain
            await h.feed(s, part, shadow, [1])
            assert (await h.core.stat(s, part)).plain == (plain if plain < len(shadow.entries) - 1 else plain + 1)


@run
async def test_the_same_place_behind_other_tokens_is_derived() -> None:
    """Entry 8 of one file behind 8 other tokens: the same position, another context."""
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, target = await h.make(s, text(8, 3))
        g, source = await h.make(s, text(16))
        await h.append(s, f, target, g, source, 8, 16)
        assert target.plain == (await h.core.stat(s, f)).plain == 8
        k, same = await h.make(s, text(8))
        await h.append(s, k, same, g, source, 8, 16)
        assert same.plain == (await h.core.stat(s, k)).plain == 16
        _, fresh = await h.make(s, [*text(8, 3), *text(16)[8:]])
        assert fresh.entries[:8] == target.entries[:8]
        assert fresh.entries[8] != target.entries[8]
        assert h.core.usage(s).reused_tokens == 16, "of both texts, the first half"


@run
async def test_derived_pages_are_no_hits() -> None:
    """A file of the same tokens, computed from the beginning, is something else."""
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(14))
        for ranges, plain in ([(4, 14)], 0), ([(0, 4), (5, 14)], 4):
            part, shadow = await h.extract(s, f, source, ranges, rebase=True)
            await h.feed(s, part, shadow, text(9, 3))
            before = h.core.usage(s).reused_tokens
            await h.make(s, shadow.tokens)
            assert h.core.usage(s).reused_tokens == before + plain


@run
async def test_truncation_makes_it_plain_again() -> None:
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(14))
        part, shadow = await h.extract(s, f, source, [(0, 6), (8, 14)])
        await h.feed(s, part, shadow, [1])
        for length in (11, 7, 6):
            await h.core.truncate(s, part, length)
            shadow.cut(length)
            await h.agree(s, part, shadow)
        assert h.real(s, part).derived is None
        await h.core.advise(s, part, "dont-need")
        await h.feed(s, part, shadow, text(20))
        assert shadow.plain == 26


@run
async def test_extracts_of_extracts() -> None:
    async with Shadows(pages=99, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(30))
        a, one = await h.extract(s, f, source, [(0, 5), (9, 20), (25, 30)])
        b, two = await h.extract(s, a, one, [(2, 18)], rebase=True)
        c, three = await h.extract(s, a, one, [(3, 17)])
        await h.append(s, b, two, a, one, 4, 21)
        await h.append(s, c, three, b, two, 0, len(two.entries))
        for file, shadow in ((a, one), (b, two), (c, three)):
            await h.feed(s, file, shadow, [1, 2, 3])


@run
async def test_positions_count_for_the_context() -> None:
    async with Shadows(pages=64, page_size=4, context_limit=40) as h:
        s = h.session()
        f, source = await h.make(s, text(30))
        part, shadow = await h.extract(s, f, source, [(28, 30)])
        with pytest.raises(Invalid, match="context of 40"):
            await h.pred(s, part, text(11))
        await h.feed(s, part, shadow, text(10))
        whole = await h.generate(s, f, [], max_tokens=50)
        assert whole.finish == ("context-limit", None)
        other, _ = await h.make(s, text(10))
        with pytest.raises(Invalid, match="context of 40"):
            await h.core.append_from(s, other, f, 0, 31)


@run
async def test_pending_tokens_are_computed_first() -> None:
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f = await h.core.create(s, None)
        whole = await h.generate(s, f, text(5), max_tokens=4)
        _, source = await h.make(s, [])
        source.become(source.after(text(5) + whole.tokens))
        assert h.real(s, f).computed == 8
        part, shadow = await h.extract(s, f, source, [(2, 9)], rebase=True)
        await h.feed(s, part, shadow, [1])
        g = await h.core.create(s, None)
        await h.generate(s, g, text(3), max_tokens=2)
        _, target = await h.make(s, [])
        target.become(target.after(await h.contents(s, g)))
        await h.append(s, g, target, f, source, 0, 9)
        await h.feed(s, g, target, [1])


@run
async def test_only_what_is_taken_is_computed() -> None:
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(30))
        h.arena.costs.token_seconds = 0.0
        await h.core.advise(s, f, "dont-need")
        for page in list(h.arena.cache.idle):
            h.arena.cache.forget(page)
            h.arena._free(page)
        before = h.engine.tokens
        await h.extract(s, f, source, [(2, 7)])
        assert h.engine.tokens == before + 7


@run
async def test_a_dropped_source_is_found_in_the_prefix_cache() -> None:
    """All of it: nothing is left to compute, and the copy goes on at once."""
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(16))
        g, target = await h.make(s, text(16, 1))
        h.arena.costs.token_seconds = 0.0
        await h.core.advise(s, f, "dont-need")
        await h.core.advise(s, g, "dont-need")
        assert h.tier(s, f) == h.tier(s, g) == "evicted"
        before = h.engine.tokens
        part, shadow = await h.extract(s, f, source, [(1, 16)])
        await h.core.advise(s, f, "dont-need")
        await h.append(s, g, target, f, source, 1, 16)
        assert h.engine.tokens == before
        await h.feed(s, part, shadow, [1])
        await h.feed(s, g, target, [1])


@run
async def test_sources_and_targets_come_back_from_the_host() -> None:
    async with Shadows(pages=64, page_size=4, host_pages=64) as h:
        s = h.session()
        f, source = await h.make(s, text(17))
        g, target = await h.make(s, text(6, 1))
        await h.append(s, g, target, f, source, 3, 9)
        await h.stow(s, f)
        await h.stow(s, g)
        await h.append(s, g, target, f, source, 0, 17)
        await h.stow(s, g)
        part, shadow = await h.extract(s, g, target, [(4, 20)], rebase=True)
        await h.feed(s, part, shadow, [1])
        await h.feed(s, g, target, [1])


@run
async def test_another_tenants_entries_are_copied_under_ones_own_name() -> None:
    async with Shadows(pages=64, page_size=4) as h:
        ann, bob = h.session("ann"), h.session("bob")
        f, source = await h.make(ann, text(14))
        await h.core.save(ann, f, "/shared/f", False)
        opened = await h.core.open(bob, None, "/shared/f")
        theirs = source.clone("bob", h.real(bob, opened))
        part, shadow = await h.extract(bob, opened, theirs, [(0, 12)])
        assert h.real(bob, part).tenant == "bob"
        await h.feed(bob, part, shadow, [1])
        _own, again = await h.make(bob, text(14))
        assert h.core.usage(bob).reused_tokens == 0, "pages of ann are no hits for bob"
        assert again.entries == source.entries
        await h.core.close_session(ann)
        await h.feed(bob, part, shadow, [2])
        other = h.session("ann")
        await h.core.unlink(other, "/shared/f")


# ---- what is refused ---------------------------------------------------------------------------------------------
async def refused(h: Host, kind: type[SymphonyError], match: str, coroutine) -> None:
    files = len(h.core._kvfs.files)
    with pytest.raises(kind, match=match):
        await coroutine
    assert len(h.core._kvfs.files) == files, "nothing is left of it"
    h.core.check_integrity()


@run
async def test_ranges_outside_or_out_of_order() -> None:
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(10))
        extract, append = h.core.extract, h.core.append_from
        for bad in [(0, 11), (-1, 3), (5, 4), (11, 11)]:
            await refused(h, Invalid, "outside the file", extract(s, f, [(0, 2), bad], False))
            await refused(h, Invalid, "outside the file", append(s, f, f, *bad))
        await refused(h, Invalid, "ascend", extract(s, f, [(5, 8), (2, 4)], False))
        await refused(h, Invalid, "ascend", extract(s, f, [(0, 5), (4, 8)], False))
        part, shadow = await h.extract(s, f, source, [(5, 8), (2, 4), (0, 10)], rebase=True)
        await h.feed(s, part, shadow, [1])


@run
async def test_an_extract_longer_than_the_context_is_refused() -> None:
    """It used to reach the engine, where it failed the step of everybody."""
    async with Host(pages=64, page_size=4, context_limit=40) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.pred(s, f, text(3))
        whole = await h.core.extract(s, f, [(0, 1)] * 40, True)
        assert await h.core.length(s, whole) == 40
        with pytest.raises(Invalid, match="41 tokens do not fit into the context of 40"):
            await h.core.extract(s, f, [(0, 1)] * 41, True)
        await h.pred(s, f, [1])


@run
async def test_nothing_at_all() -> None:
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(10))
        steps = h.engine.steps
        for ranges in ([], [(3, 3)], [(0, 0), (10, 10)]):
            part, shadow = await h.extract(s, f, source, ranges)
            assert shadow.entries == []
        await h.append(s, f, source, f, source, 4, 4)
        assert h.engine.steps == steps
        await h.feed(s, part, shadow, [1, 2])


@run
async def test_busy_files() -> None:
    gate = Gate()
    async with Shadows(pages=64, page_size=4, step_seconds=1, sleep=gate.sleep) as h:
        gate.open.set()
        s = h.session()
        f, _ = await h.make(s, text(10))
        g, _ = await h.make(s, text(5))
        gate.open.clear()
        op = await h.start_pred(s, f, [1])
        await settle()
        await refused(h, Busy, "in flight", h.core.extract(s, f, [(0, 2)], False))
        await refused(h, Busy, "in flight", h.core.append_from(s, g, f, 0, 2))
        await refused(h, Busy, "in flight", h.core.append_from(s, f, g, 0, 2))
        gate.open.set()
        await h.arrival(op)
        gate.open.clear()
        transfer = asyncio.create_task(h.core.append_from(s, g, f, 0, 2))
        await settle()
        for file in (f, g):
            with pytest.raises(Busy):
                await h.pred(s, file, [1])
            with pytest.raises(Busy):
                await h.core.truncate(s, file, 0)
            with pytest.raises(Busy):
                await h.core.fork(s, file)
        gate.open.set()
        await transfer


@run
async def test_limits_and_permissions() -> None:
    config = CoreConfig(debug=True, max_open_files=3, max_operations=1)
    async with Shadows(config, pages=64, page_size=4) as h:
        s = h.session()
        f, _ = await h.make(s, text(10))
        g, _ = await h.make(s, text(10))
        op = await h.start(s, g, [1], max_tokens=300)
        await refused(h, LimitExceeded, "operations in flight", h.core.extract(s, f, [(0, 2)], False))
        await refused(h, LimitExceeded, "operations in flight", h.core.append_from(s, f, f, 0, 2))
        await h.core.cancel(s, op)
        await h.core.create(s, None)
        await refused(h, LimitExceeded, "open KV files", h.core.extract(s, f, [(0, 2)], False))
        await h.core.save(s, f, "/f", False)
        [named] = [file for file in h.core._kvfs.files if file.names]
        named.mode = 0b000001
        await h.core.close_file(s, g)
        h.core._sessions[s].who = Principal("t", "t", True)
        g = await h.core.open(s, None, "/f")
        h.real(s, g).mode = 0b000010
        await refused(h, PermissionDenied, "read", h.core.extract(s, g, [(0, 2)], False))
        await refused(h, PermissionDenied, "read", h.core.append_from(s, f, g, 0, 2))
        h.real(s, g).mode = 0b000001
        await refused(h, PermissionDenied, "write", h.core.append_from(s, g, f, 0, 2))
        named.mode = 0b000011
        await h.core.unlink(s, "/f")


@run
async def test_files_of_two_models() -> None:
    one, two = FakeEngine("one", pages=9), FakeEngine("two", pages=9)
    async with Host(one) as h:
        core = Core([one, two])
        h.core, h.running = core, asyncio.create_task(core.run())
        core.connect(h.deliver)
        s = core.open_session("t")
        f, g = await core.create(s, "one"), await core.create(s, "two")
        await h.pred(s, f, [1, 2])
        with pytest.raises(Invalid, match="different models, one and two"):
            await core.append_from(s, g, f, 0, 2)


@run
async def test_no_room() -> None:
    """It never fits, or everything else has to stay: only the transfer fails."""
    async with Shadows(pages=9, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(14))
        g, other = await h.make(s, text(9, 1))
        await h.append(s, g, other, g, other, 0, 5)  # derived, and there is no host tier
        await refused(h, NoSpace, "missing", h.core.extract(s, f, [(1, 14)], True))
        await h.agree(s, f, source)
        await h.core.close_file(s, g)
        h.arena.tenant_pages = 3
        await refused(h, NoSpace, "may hold 3", h.core.append_from(s, f, f, 0, 14))
        await h.agree(s, f, source)


@run
async def test_a_copy_that_never_fits_does_not_touch_others() -> None:
    async with Shadows(pages=9, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(20))
        g, _other = await h.make(s, [9])
        long = asyncio.create_task(h.generate(s, g, [], max_tokens=20, chunk_tokens=3))
        await settle(3)
        await refused(h, NoSpace, "40 tokens need 10 KV pages", h.core.append_from(s, f, f, 0, 20))
        assert (await long).tokens == h.expect([9], 20)
        await h.agree(s, f, source)


# ---- what goes wrong ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("before", [0, 6, 8])
@pytest.mark.parametrize("derived", [False, True])
def test_a_lost_step_leaves_both_files_as_they_were(before: int, derived: bool) -> None:
    @run
    async def test() -> None:
        async with Shadows(pages=64, page_size=4) as h:
            s = h.session()
            g, source = await h.make(s, text(11))
            f, target = await h.make(s, text(before, 1))
            if derived:
                await h.append(s, f, target, g, source, 2, 5)
            twin = await h.core.fork(s, f)  # so that the last page is copied before it is written
            shadow = target.clone("t", h.real(s, twin))
            h.engine.lose_steps = 1
            with pytest.raises(InternalError, match="lost step"):
                await h.core.append_from(s, f, g, 0, 11)
            await h.agree(s, f, target)
            await h.agree(s, g, source)
            h.engine.lose_steps = 1
            with pytest.raises(InternalError, match="lost step"):
                await h.core.extract(s, f if target.entries else g, [(0, 3)] if target.entries else [(1, 3)], True)
            await h.append(s, f, target, g, source, 0, 11)
            for file, model in ((f, target), (g, source), (twin, shadow)):
                await h.feed(s, file, model, [1])

    test()


@run
async def test_a_lost_step_does_not_lose_the_copy_of_a_derived_page() -> None:
    """A prediction on one of two derived forks copies the page that they share; that step is lost."""
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(11))
        part, shadow = await h.extract(s, f, source, [(1, 7)])
        fork = await h.core.fork(s, part)
        twin = shadow.clone("t", h.real(s, fork))
        h.engine.lose_steps = 1
        with pytest.raises(InternalError, match="lost step"):
            await h.pred(s, part, [1])
        await h.agree(s, part, shadow)
        await h.feed(s, part, shadow, [1])
        await h.feed(s, fork, twin, [2])


@run
async def test_a_bad_row_while_the_source_is_computed() -> None:
    async with Shadows(pages=64, page_size=4) as h:
        s = h.session()
        f, source = await h.make(s, text(11))
        h.arena.costs.token_seconds = 0.0
        await h.core.advise(s, f, "dont-need")
        h.engine.lose_rows = 1
        with pytest.raises(InternalError, match="NaN"):
            await h.core.extract(s, f, [(1, 11)], True)
        part, shadow = await h.extract(s, f, source, [(1, 11)], True)
        await h.feed(s, part, shadow, [1])


@pytest.mark.parametrize("what", ["source", "target", "session"])
@pytest.mark.parametrize("turns", [1, 3, 5, 8])
def test_a_transfer_is_cancelled(what: str, turns: int) -> None:
    """At several moments; whatever is closed, nobody reads what is not there, and nothing is left."""
    gate = Gate()

    @run
    async def test() -> None:
        async with Shadows(pages=64, page_size=4, step_seconds=1, sleep=gate.sleep) as h:
            gate.open.set()
            s = h.session()
            f, source = await h.make(s, text(11))
            g, target = await h.make(s, text(6, 1))
            gate.open.clear()
            task = asyncio.create_task(h.core.append_from(s, g, f, 2, 11))
            await settle(turns)
            if what == "session":
                await h.core.close_session(s)
            else:
                await h.core.close_file(s, f if what == "source" else g)
            await settle(turns)
            gate.open.set()
            if what == "source":  # it holds the source's entries itself
                await task
                target.graft(source, range(2, 11), source.renumbered(2, 11, 6))
                await h.feed(s, g, target, [1])
            else:
                with pytest.raises(Cancelled):
                    await task
            if what == "target":
                await h.feed(s, f, source, [1])

    test()


@run
async def test_an_extract_is_cancelled_with_its_source() -> None:
    gate = Gate()
    async with Shadows(pages=64, page_size=4, step_seconds=1, sleep=gate.sleep) as h:
        gate.open.set()
        s = h.session()
        f, _ = await h.make(s, text(11))
        gate.open.clear()
        task = asyncio.create_task(h.core.extract(s, f, [(2, 11)], True))
        await settle()
        await h.core.close_file(s, f)
        with pytest.raises(Cancelled):
            await task
        assert not h.core._sessions[s].files
        gate.open.set()
        await settle()


@run
async def test_what_a_file_was_before_an_append_is_plain() -> None:
    gate = Gate()
    async with Shadows(pages=64, page_size=4, step_seconds=1, sleep=gate.sleep) as h:
        gate.open.set()
        s = h.session()
        f, shadow = await h.make(s, text(6))
        await h.core.link(s, f, "/f")
        gate.open.clear()
        task = asyncio.create_task(h.append(s, f, shadow, f, shadow, 1, 5))
        await settle()
        assert h.real(s, f).derived == 6
        assert (await h.core.stat(s, f)).plain == 6
        g = await h.core.open(s, None, "/f")
        before = shadow.clone("t", h.real(s, g))
        gate.open.set()
        await task
        await h.feed(s, g, before, [1, 2, 3])
        await h.core.advise(s, g, "dont-need")
        await h.feed(s, g, before, [4])
        assert not before.derived
        await h.feed(s, f, shadow, [1])
        await h.core.unlink(s, "/f")


@run
async def test_what_a_busy_derived_file_was_cannot_be_opened() -> None:
    """Its last page is being written, and cannot be computed again; a plain one is opened as it was."""
    gate = Gate()
    async with Shadows(pages=64, page_size=4, step_seconds=1, sleep=gate.sleep) as h:
        gate.open.set()
        s = h.session()
        f, source = await h.make(s, text(11))
        part, shadow = await h.extract(s, f, source, [(1, 7)])
        await h.core.link(s, part, "/part")
        await h.core.link(s, f, "/f")
        gate.open.clear()
        ops = [await h.start_pred(s, part, [1]), await h.start_pred(s, f, [1])]
        await settle()
        with pytest.raises(Busy):
            await h.core.open(s, None, "/part")
        plain = await h.core.open(s, None, "/f")
        assert await h.contents(s, plain) == text(11)
        gate.open.set()
        for op in ops:
            await h.arrival(op)
        opened = await h.core.open(s, None, "/part")
        assert await h.contents(s, opened) == [*shadow.tokens, 1]
        await h.core.unlink(s, "/part")
        await h.core.unlink(s, "/f")


class Refusing(FakeEngine):
    """Takes no step in which entries are copied."""

    refuses = True
    refused = 0

    async def step(self, batch: Batch) -> list[RowResult]:
        if batch.entries and self.refuses:
            self.refused += 1
            raise InternalError("these entries cannot be copied")
        return await super().step(batch)


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_transfer_that_the_engine_refuses_fails_alone(pipelined: bool) -> None:
    @run
    async def test() -> None:
        engine = Refusing(pages=64, page_size=4)
        async with Host(engine, CoreConfig(debug=True, pipelined=pipelined)) as h:
            s, other = h.core.open_session("t"), h.core.open_session("u")
            source = await h.core.create(s, None)
            await h.pred(s, source, text(30))
            derived = asyncio.ensure_future(h.core.extract(s, source, [(3, 20)], True))
            running = await h.core.create(other, None)
            looping = await h.core.create(other, None)
            op = await h.start(other, running, text(6, 3), max_tokens=40)
            for i in range(20):
                [reading] = await h.pred(other, looping, [i])
                assert reading.sampled == engine.greedy(list(range(i + 1)))
            with pytest.raises(InternalError, match="cannot be copied"):
                await derived
            got: list[int] = []
            await h.drain(other, op, got)
            assert got == h.expect(text(6, 3), 40)
            assert engine.refused == 1
            assert await h.contents(s, source) == text(30)
            engine.refuses = False
            part = await h.core.extract(s, source, [(3, 20)], True)
            assert await h.core.length(s, part) == 17

    test()
