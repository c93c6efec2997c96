"""Readiness means that a forward pass works: what the probe says, how often it asks, and that it leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from symphony.access.identity import check_name
from symphony.core.core import Core
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import Invalid, Unavailable
from symphony.process.probe import PROBE, Probe
from symphony.syscall.inbox import Inbox


class Device(FakeEngine):
    """Can break, row by row or as a whole, or hang."""

    def __init__(self, name: str = "fake") -> None:
        super().__init__(name=name)
        self.state = "works"
        self.mended = asyncio.Event()

    async def step(self, batch: Batch) -> list[RowResult]:
        if self.state == "hangs":
            await self.mended.wait()
        if self.state == "lost":
            raise RuntimeError("device lost")
        if self.state == "nan":
            return [RowResult(error="not a number") for _ in batch.rows]
        return await super().step(batch)


@asynccontextmanager
async def probing(engines: Sequence[Device], every: float = 0.0, seconds: float = 0.05) -> AsyncIterator[Probe]:
    """A probe on a running core, of which it must leave nothing behind."""
    core, inbox = Core(engines), Inbox()
    core.connect(inbox.deliver)
    running = asyncio.create_task(core.run())
    probe = Probe(core, inbox, every=every, seconds=seconds)
    yield probe
    await probe.close()
    assert len(inbox) == 0
    assert not core._sessions
    for engine in engines:
        engine.mended.set()
    while not core.idle() or core._kvfs.files:  # noqa: ASYNC110 - a step that hung has to come back
        await asyncio.sleep(0)
    core.check_integrity()
    await core.close()
    await running


def test_no_tenant_has_the_name_of_its_sessions() -> None:
    with pytest.raises(Invalid):
        check_name(PROBE, "tenant")


def test_every_model_runs_a_token() -> None:
    async def main() -> None:
        engines = [Device("a"), Device("b")]
        async with probing(engines) as probe:
            await probe.check()
            assert [(engine.steps, engine.tokens) for engine in engines] == [(1, 1), (1, 1)]
            engines[1].state = "lost"
            with pytest.raises(Unavailable, match="model b cannot run: the step failed: device lost"):
                await probe.check()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("state", "reason"),
    [("hangs", "did not answer within 0.05 s"), ("lost", "device lost"), ("nan", "this row failed: not a number")],
)
def test_it_says_why_not_and_recovers(state: str, reason: str) -> None:
    async def main() -> None:
        engine = Device()
        async with probing([engine]) as probe:
            for _ in range(2):
                engine.state = state
                with pytest.raises(Unavailable, match=reason):
                    await probe.check()
            engine.state = "works"
            engine.mended.set()
            await asyncio.sleep(0)
            await probe.check()

    asyncio.run(main())


def test_many_who_ask_cost_one_pass() -> None:
    async def main() -> None:
        engine = Device()
        async with probing([engine], every=1000) as probe:
            engine.state = "lost"
            leaving = asyncio.create_task(probe.check())
            rest = [asyncio.create_task(probe.check()) for _ in range(20)]
            await asyncio.sleep(0)
            leaving.cancel()
            answers = await asyncio.gather(*rest, return_exceptions=True)
            assert {type(answer) for answer in answers} == {Unavailable}
            engine.state = "works"
            with pytest.raises(Unavailable):  # what was said holds for a while
                await probe.check()
            probe._every = 0
            await probe.check()
            assert engine.steps == 1

    asyncio.run(main())


def test_closing_ends_a_pass_that_goes_on() -> None:
    async def main() -> None:
        engine = Device()
        engine.state = "hangs"
        async with probing([engine], seconds=1000) as probe:
            asking = asyncio.create_task(probe.check())
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(main())
