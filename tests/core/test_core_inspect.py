"""Gauges of models, and what a session does: true while it is so."""

from __future__ import annotations

from core_harness import Gate, Host, run, settle

from symphony.core.config import CoreConfig
from symphony.core.inspect import GUEST, NEXT_STEP, PAGES, RECALL, STEP, Activity, Inspector
from symphony.core.meter import WINDOW_SECONDS, Meter
from symphony.sched.batch import BatchLimits

PAGE = 16


def test_the_meter_slides() -> None:
    meter = Meter()
    assert meter.per_second(100.0) == 0
    for step in range(40):
        meter.add(2, 10, 100.0 + 0.1 * step)
    assert (meter.rows, meter.tokens) == (2, 10)
    assert abs(meter.per_second(104.0) - 100) < 1e-6
    assert abs(meter.per_second(104.0 + WINDOW_SECONDS / 2) - 50) < 1e-6
    assert meter.per_second(104.0 + 2 * WINDOW_SECONDS) == 0
    meter.add(0, 0, 120.0)
    assert (meter.rows, meter.tokens) == (2, 10)


@run
async def test_gauges_count() -> None:
    async with Host(pages=32, host_pages=8) as h:
        inspector = Inspector(h.core)
        [idle] = inspector.gauges()
        assert (idle.model, idle.page_size, idle.steps, idle.files, idle.active, idle.parked) == (
            "fake",
            16,
            0,
            0,
            0,
            0,
        )
        assert (idle.pages.capacity, idle.pages.free, idle.slots.capacity, idle.slots.free) == (31, 31, 8, 8)
        session = h.core.open_session("a")
        file = await h.core.create(session, None)
        await h.pred(session, file, list(range(40)))
        [gauge] = inspector.gauges()
        assert (gauge.steps, gauge.rows, gauge.tokens, gauge.files) == (1, 1, 40, 1)
        assert gauge.tokens_per_second > 0
        assert gauge.computed_tokens >= gauge.tokens > 0
        assert (gauge.pages.used, gauge.pages.free, gauge.pages.cached) == (3, 28, 0)
        assert gauge.pages.tenants == {"a": 3}
        await h.core.advise(session, file, "dont-need")
        await settle()
        [gauge] = inspector.gauges()
        assert (gauge.moved_out, gauge.slots.used, gauge.slots.tenants) == (3, 3, {"a": 3})
        assert (gauge.pages.used, gauge.pages.cached) == (0, 2)  # the full ones stay findable
        activity = inspector.activity(session)
        assert (activity.device_pages, activity.host_pages, activity.away, activity.swapped) == (0, 3, 1, True)
        assert inspector.swapped(session)
        await h.core.advise(session, file, "will-need")
        await settle()
        [gauge] = inspector.gauges()
        assert (gauge.moved_back, gauge.slots.used, gauge.moving) == (1, 0, 0)
        assert not inspector.activity(session).swapped
        assert not inspector.swapped(session)
        assert gauge.pages.free + gauge.pages.cached + gauge.pages.used == gauge.pages.capacity


@run
async def test_looking_at_pages_is_bounded() -> None:
    """Beyond, the forks of a file are not told apart: the work is by file, not by page."""
    async with Host(pages=32, host_pages=8) as h:
        inspector, session = Inspector(h.core), h.core.open_session("a")
        file = await h.core.create(session, None)
        await h.pred(session, file, list(range(4 * PAGE)))
        for _ in range(9):
            await h.core.fork(session, file)
        for most, pages in ((40, 4), (39, 40)):
            activity = inspector.activity(session, most)
            assert (activity.device_pages, activity.host_pages, activity.entries) == (pages, 0, 40)
            assert h.core.usage(session, most).pages == pages


@run
async def test_a_session_says_what_it_waits_for() -> None:
    gate = Gate()
    async with Host(pages=12, host_pages=8, sleep=gate.sleep, step_seconds=1, move_seconds=1) as h:
        inspector = Inspector(h.core)

        def waits(session: int) -> list[str]:
            return [operation.waits_for for operation in inspector.activity(session).operations]

        first, second = h.core.open_session("a"), h.core.open_session("a")
        one, two = await h.core.create(first, None), await h.core.create(second, None)
        assert waits(first) == []
        op = await h.start(first, one, list(range(PAGE)), max_tokens=2, chunk_tokens=2)
        assert waits(first) == [PAGES]  # nobody has looked at it yet
        await gate.entered.wait()
        [view] = inspector.activity(first).operations
        assert (view.kind, view.file, view.waits_for, view.work) == ("generate", one, STEP, PAGE)
        large = await h.start_pred(second, two, list(range(9 * PAGE)))
        gate.open.set()
        assert await h.arrival(op) is None
        assert waits(first) == [GUEST]
        assert inspector.gauges()[0].parked == 1
        assert (await h.core.next(first, op)) is not None
        await h.arrival(large)
        assert waits(first) == waits(second) == []
        gate.open.clear()
        await h.core.advise(first, one, "dont-need")
        await settle()
        assert inspector.gauges()[0].moving == 2
        gate.open.set()
        await settle()
        assert inspector.activity(first).swapped
        gate.open.clear()
        back = await h.start_pred(first, one, [1])
        await settle()
        assert waits(first) == [RECALL]
        gate.open.set()
        await h.arrival(back)
        for session in (first, second):
            await h.core.close_session(session)
            assert inspector.activity(session) == Activity()


@run
async def test_a_row_that_does_not_fit_into_the_step_waits_for_the_next() -> None:
    gate = Gate()
    one_row = CoreConfig(batch=BatchLimits(rows=1))
    async with Host(config=one_row, sleep=gate.sleep, step_seconds=1) as h:
        inspector = Inspector(h.core)
        session = h.core.open_session("a")
        ops = [await h.start_pred(session, await h.core.create(session, None), [start]) for start in range(2)]
        await gate.entered.wait()
        assert [view.waits_for for view in inspector.activity(session).operations] == [STEP, NEXT_STEP]
        gate.open.set()
        for op in ops:
            await h.arrival(op)


@run
async def test_locks_are_counted() -> None:
    async with Host() as h:
        inspector = Inspector(h.core)
        first, second = h.core.open_session("a"), h.core.open_session("a")
        file = await h.core.open(first, None, "/x", write=True, create=True)
        other = await h.core.open(second, None, "/x", write=True)
        await h.core.lock(first, file, 1001, False)
        await h.core.lock(second, other, 1002, False)
        assert (inspector.activity(first).locks, inspector.activity(first).awaited_locks) == (1, 0)
        assert (inspector.activity(second).locks, inspector.activity(second).awaited_locks) == (0, 1)
