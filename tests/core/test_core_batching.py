"""What goes into a step: guests in a loop beside each other, decodes beside prefill, tenants beside tenants."""

from __future__ import annotations

import asyncio
from collections import Counter

from core_harness import Host, run

from symphony.core.core import CoreConfig
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import InternalError
from symphony.sched.adaptive import Adaptive
from symphony.sched.batch import BatchLimits
from symphony.sched.dispatch import Dispatch, Eager


class Clock:
    """Time that passes while the device computes, and a little whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def rows_a_step(policy: type[Dispatch]) -> float:
    """64 guests that choose every token, some of which take several turns of the event loop to think."""
    clock = Clock()
    config = CoreConfig(dispatch=policy, clock=clock)
    async with Host(None, config, step_seconds=lambda b: 2e-3 + 5e-5 * len(b.rows), sleep=clock.sleep) as h:

        async def guest(i: int) -> None:
            s = h.core.open_session("t")
            f = await h.core.create(s, None)
            token = i
            for _ in range(20):
                [reading] = await h.pred(s, f, [token])
                assert reading.sampled is not None
                token = reading.sampled
                for _ in range(i % 5):
                    await asyncio.sleep(0)

        await asyncio.gather(*(guest(i) for i in range(64)))
        return h.engine.rows / h.engine.steps


@run
async def test_in_loop_guests_fill_the_batch() -> None:
    assert await rows_a_step(Adaptive) >= 0.8 * 64
    assert await rows_a_step(Eager) < 0.6 * 64


class Recording(FakeEngine):
    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.batches: list[list[int]] = []

    async def step(self, batch: Batch) -> list[RowResult]:
        self.batches.append([len(row.tokens) for row in batch.rows])
        return await super().step(batch)


@run
async def test_decodes_go_on_beside_a_long_prefill_in_chunks() -> None:
    engine = Recording()
    async with Host(engine, CoreConfig(batch=BatchLimits(tokens=32))) as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        op = await h.start(s, f, [1], max_tokens=60, chunk_tokens=10)
        await h.chunk(s, op)
        prompt = [i % 200 for i in range(300)]
        [reading] = await h.pred(s, g, prompt)
        assert reading.sampled == engine.greedy(prompt)
        chunks = [b for b in engine.batches if len(b) == 2]
        assert all(b == [1, 31] for b in chunks[:-1])
        assert sum(b[1] for b in chunks) == 300
        await h.drain(s, op)


@run
async def test_free_running_rows_are_never_held_up_for_a_thinking_guest() -> None:
    clock = Clock()
    async with Host(None, CoreConfig(clock=clock), step_seconds=1e-3, sleep=clock.sleep) as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        await h.pred(s, f, [1])  # this guest is expected back, and never comes
        before, steps = clock.now, h.engine.steps
        await h.generate(s, g, [2], max_tokens=50)
        assert h.engine.steps - steps == 50
        assert clock.now - before < 50 * 1.01e-3


@run
async def test_a_greedy_tenant_does_not_crowd_out_another() -> None:
    seen: Counter[int] = Counter()

    class Watching(FakeEngine):
        async def step(self, batch: Batch) -> list[RowResult]:
            seen["steps"] += 1  # type: ignore[index]
            seen["small"] += any(row.tokens[0] >= 200 for row in batch.rows)  # type: ignore[index]
            return await super().step(batch)

    engine = Watching(script=lambda index: 7, pages=4096)
    config = CoreConfig(batch=BatchLimits(tokens=8, rows=8))
    async with Host(engine, config) as h:
        large, small = h.core.open_session("large"), h.core.open_session("small")
        files = [await h.core.create(large, None) for _ in range(60)]
        ops = [await h.start(large, f, [i], max_tokens=60) for i, f in enumerate(files)]
        f = await h.core.create(small, None)
        for i in range(40):
            await h.pred(small, f, [200 + i % 50])
        assert seen["small"] == 40  # type: ignore[index]
        assert seen["steps"] <= 2 * 40 + 10, "ready rows of the small tenant are in nearly every step"  # type: ignore[index]
        for op in ops:
            await h.drain(large, op)


@run
async def test_a_bug_in_a_policy_ends_the_operations_of_the_moment_not_the_host() -> None:
    class Broken(Eager):
        broken = True

        def wait(self, rows: int, since: float, now: float) -> tuple[float, int]:
            if self.broken:
                raise ZeroDivisionError("a bug")
            return 0.0, 0

    policy = Broken()
    async with Host(None, CoreConfig(dispatch=lambda: policy)) as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        ops = [await h.start_pred(s, file, [1, 2]) for file in (f, g)]
        assert all(isinstance(a, InternalError) for a in [await h.arrival(op) for op in ops])
        policy.broken = False
        h.core.check_integrity()
        [reading] = await h.pred(s, f, [1])
        assert reading.sampled == h.engine.greedy([1])
