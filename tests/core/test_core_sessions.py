"""Sessions and files: names, tenants, usage, and that nothing is left whenever a session closes."""

from __future__ import annotations

import asyncio

import pytest
from core_harness import Gate, Host, run, settle

from symphony.core.core import Core
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import Exists, InternalError, Invalid, NotFound

PROMPT = list(range(40))


@run
async def test_saved_files_are_opened_as_private_forks_or_in_place() -> None:
    async with Host() as h:
        s = h.core.open_session("ann", "ann@laptop")
        f = await h.core.create(s, None)
        await h.pred(s, f, PROMPT)
        await h.core.save(s, f, "/notes/today", False)
        await h.pred(s, f, [99])  # the snapshot does not see it
        with pytest.raises(Exists):
            await h.core.save(s, f, "/notes/today", False)
        other = h.core.open_session("ann", "ann@laptop")
        fork = await h.core.open(other, None, "/notes/today")
        place = await h.core.open(other, None, "/notes/today", write=True)
        await h.pred(other, fork, [1])
        await h.pred(other, place, [2])
        again = await h.core.open(other, None, "/notes/today")
        assert await h.contents(other, fork) == [*PROMPT, 1]
        assert await h.contents(other, again) == [*PROMPT, 2]
        stat = await h.core.stat_path(other, "/notes/today")
        assert (stat.length, stat.owner, stat.names) == (41, "ann@laptop", 1)
        await h.core.save(s, f, "/notes/today", True)
        assert (await h.core.stat_path(other, "/notes/today")).length == 41
        assert await h.contents(other, place) == [*PROMPT, 2], "a replaced file lives on in its handles"
        assert [e.name for e in await h.core.list(s, "/notes")] == ["today"]
        await h.core.rename(s, "/notes/today", "/old")
        assert [(e.name, e.is_directory) for e in await h.core.list(s, "/")] == [("old", False)]
        await h.core.unlink(s, "/old")
        assert await h.core.list(s, "/") == []


@run
async def test_create_flags() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.open(s, None, "/f", write=True, create=True, exclusive=True)
        await h.pred(s, f, [1])
        g = await h.core.open(s, None, "/f", write=True, create=True)
        assert await h.core.length(s, g) == 1
        with pytest.raises(Exists):
            await h.core.open(s, None, "/f", write=True, create=True, exclusive=True)
        with pytest.raises(Invalid, match="write"):
            await h.core.open(s, None, "/g", create=True)
        with pytest.raises(NotFound):
            await h.core.open(s, None, "/g", write=True)
        await h.core.unlink(s, "/f")


@run
async def test_opening_a_busy_file_gives_what_it_was() -> None:
    gate = Gate()
    async with Host(step_seconds=1, sleep=gate.sleep) as h:
        s = h.core.open_session("t")
        gate.open.set()
        f = await h.core.open(s, None, "/f", write=True, create=True)
        await h.pred(s, f, PROMPT)
        gate.open.clear()
        gate.entered.clear()
        op = await h.start_pred(s, f, [7, 8])
        await gate.entered.wait()
        fork = await h.core.open(s, None, "/f")
        h.core.check_integrity()
        gate.open.set()
        [reading] = await h.pred(s, fork, [9])
        assert reading.sampled == h.engine.greedy([*PROMPT, 9])
        [reading] = await h.arrival(op)
        assert reading.sampled == h.engine.greedy([*PROMPT, 7, 8])
        await h.core.unlink(s, "/f")


@run
async def test_tenants_do_not_meet() -> None:
    async with Host() as h:
        ann, bob = h.core.open_session("ann"), h.core.open_session("bob")
        f = await h.core.create(ann, None)
        await h.pred(ann, f, PROMPT)
        await h.core.save(ann, f, "/x", False)
        with pytest.raises(NotFound):
            await h.core.open(bob, None, "/x")
        assert await h.core.list(bob, "/") == []
        g = await h.core.create(bob, None)
        await h.core.save(bob, g, "/x", False)
        assert (await h.core.stat_path(ann, "/x")).length == 40
        await h.core.unlink(ann, "/x")
        await h.core.unlink(bob, "/x")


@run
async def test_fork_truncate_and_stat() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.pred(s, f, PROMPT)
        stat = await h.core.stat(s, f)
        assert (stat.length, stat.unique_pages, stat.shared_pages, stat.owner) == (40, 1, 2, "t")
        forks = [await h.core.fork(s, f) for _ in range(20)]
        assert h.core.usage(s).pages == 3, "forks take no page until they write"
        for length, g in enumerate(forks):
            await h.core.truncate(s, g, length * 2)
            [reading] = await h.pred(s, g, [200])
            assert reading.sampled == h.engine.greedy([*PROMPT[: length * 2], 200])
        [reading] = await h.pred(s, f, [])
        assert reading.sampled == h.engine.greedy(PROMPT)
        with pytest.raises(Invalid, match="40 tokens"):
            await h.core.truncate(s, f, 41)
        with pytest.raises(Invalid, match="outside the file"):
            await h.core.tokens(s, f, 3, 41)
        assert await h.core.tokens(s, f, 3, 6) == [3, 4, 5]


@run
async def test_two_models_have_their_own_pages() -> None:
    small, large = FakeEngine("small"), FakeEngine("large", vocab_size=1000)
    core = Core([small, large])
    answers: dict[int, asyncio.Future[object]] = {i: asyncio.get_running_loop().create_future() for i in (1, 2)}
    core.connect(lambda op, answer: answers[op].set_result(answer))
    running = asyncio.create_task(core.run())
    from core_harness import SAMPLE

    s = core.open_session("t")
    assert core.models() == ["small", "large"]
    assert core.engine(None) is small
    with pytest.raises(NotFound) as e:
        core.engine("huge")
    assert "small, large" in e.value.hint
    f, g = await core.create(s, "small"), await core.create(s, "large")
    await core.pred(s, f, 1, [1, 2], (1,), SAMPLE)
    await core.pred(s, g, 2, [1, 999], (1,), SAMPLE)
    first, second = [(await answers[op])[0].sampled for op in (1, 2)]  # type: ignore[index]
    assert (first, second) == (small.greedy([1, 2]), large.greedy([1, 999]))
    await core.save(s, f, "/f", False)
    with pytest.raises(Invalid, match="made by the model small"):
        await core.open(s, "large", "/f")
    core.check_integrity()
    await core.close()
    await running


@run
async def test_usage_counts() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        for op in [await h.start_pred(s, f, PROMPT), await h.start_pred(s, g, PROMPT[:5])]:
            await h.arrival(op)
        await h.generate(s, f, [], max_tokens=3)
        usage = h.core.usage(s)
        assert usage.forwards == 4, "two rows of one step are one forward"
        assert usage.prompt_tokens == 45
        assert usage.generated_tokens == 5
        assert usage.pages == 4


@run
async def test_closing_a_file_cancels_what_was_started_through_it() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=100)
        await settle(20)
        await h.core.close_file(s, f)
        await h.core.close_file(s, f)
        assert h.core.idle()
        assert h.pages_used == 0
        with pytest.raises(Invalid):
            await h.core.next(s, op)
        with pytest.raises(Invalid):
            await h.core.length(s, f)


@pytest.mark.parametrize("when", ["new", "queued", "on the device", "between steps", "paused", "finished", "failed"])
def test_a_session_closed_in_any_state_leaves_no_page(when: str) -> None:
    @run
    async def test() -> None:
        gate = Gate()
        if when != "on the device":
            gate.open.set()
        async with Host(step_seconds=1, sleep=gate.sleep, pages=40) as h:
            s = h.core.open_session("t")
            f, g = await h.core.create(s, None), await h.core.create(s, None)
            ops = []
            if when != "new":
                tokens = {"failed": 2000, "finished": 3}.get(when, 500)
                ops = [await h.start(s, f, PROMPT, max_tokens=tokens), await h.start_pred(s, g, PROMPT)]
            if when == "on the device":
                await gate.entered.wait()
                assert h.core.usage(s).pages > 0
            elif when == "between steps":
                await settle(20)
                assert h.core.usage(s).pages > 0
            elif when in ("paused", "finished"):
                await h.arrival(ops[0])
                await settle(20)
            elif when == "failed":
                for _ in range(2):
                    await h.chunk(s, ops[0])
                await h.arrival(ops[0])
            before = h.deliveries
            await h.core.close_session(s)
            await h.core.close_session(s)
            gate.open.set()
            await settle()
            assert h.deliveries == before
            assert h.core.idle()
            assert h.pages_used == 0
            with pytest.raises(Invalid, match="no session"):
                h.core.usage(s)

    test()


@run
async def test_closing_the_core_ends_everything() -> None:
    gate = Gate()
    h = Host(step_seconds=1, sleep=gate.sleep)
    running = asyncio.create_task(h.core.run())
    s = h.core.open_session("t")
    f = await h.core.create(s, None)
    await h.start(s, f, PROMPT, max_tokens=100)
    await gate.entered.wait()
    closing = asyncio.create_task(h.core.close())
    await settle()
    assert not closing.done(), "a step is on the device"
    gate.open.set()
    await closing
    await running
    h.core.check_integrity()
    assert h.core.idle()
    assert h.pages_used == 0


@run
async def test_an_idle_core_sleeps() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.pred(s, f, [1])
        loop = next(iter(h.core._loops.values()))
        await settle()
        assert loop._sleeper is not None
        sleeper = loop._sleeper
        await asyncio.sleep(0.02)
        assert loop._sleeper is sleeper


@run
async def test_other_coroutines_run_while_a_generation_runs() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, [1], max_tokens=200, chunk_tokens=256)
        turns = 0
        while not h.answers.get(op):
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 200


@run
async def test_a_fork_taken_during_a_step_does_not_share_the_page_that_is_being_made() -> None:
    gate = Gate()

    class Lost(FakeEngine):
        async def step(self, batch: Batch) -> list[RowResult]:
            if gate.open.is_set():
                return await super().step(batch)
            await gate.sleep(0)
            raise RuntimeError("the device fell off")

    async with Host(Lost()) as h:
        s = h.core.open_session("t")
        gate.open.set()
        f = await h.core.open(s, None, "/f", write=True, create=True)
        await h.pred(s, f, PROMPT)
        await h.core.fork(s, f)
        gate.open.clear()
        op = await h.start_pred(s, f, [7])  # copies the shared page; the copy is never made
        await gate.entered.wait()
        during = await h.core.open(s, None, "/f")
        gate.open.set()
        assert isinstance(await h.arrival(op), InternalError)
        for file in (during, f):
            [reading] = await h.pred(s, file, [9])
            assert reading.sampled == h.engine.greedy([*PROMPT, 9])
        await h.core.unlink(s, "/f")
