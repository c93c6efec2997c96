"""What one tenant may have of a model beside the shares that all have: pages of its own number, tokens a second."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from core_harness import Host, settle
from kv_shadows import Shadows

from symphony.core.config import CoreConfig
from symphony.core.depot import DiskLimits
from symphony.core.victims import RoomLimits
from symphony.errors import NoSpace
from symphony.sim import clock as virtual
from symphony.store.disk import Folder
from symphony.store.store import Store


def paced(**rates: float) -> CoreConfig:
    """On the event loop's own clock, which jumps."""
    clock = lambda: asyncio.get_running_loop().time()  # noqa: E731
    return CoreConfig(clock=clock, tenant_tokens=rates.pop("all", None), tenants_tokens=rates)


async def generate(h: Host, tenant: str, tokens: int, prompt: int = 1) -> float:
    """Seconds that so many tokens take."""
    session = h.core.open_session(tenant)
    file = await h.core.create(session, None)
    start = asyncio.get_running_loop().time()
    whole = await h.generate(session, file, [1] * prompt, max_tokens=tokens)
    assert whole.tokens == h.expect([1] * prompt, tokens)
    await h.core.close_session(session)
    return asyncio.get_running_loop().time() - start


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_tenant_computes_no_more_than_its_rate(pipelined: bool) -> None:
    async def test() -> None:
        async with Host(None, paced(slow=10.0), step_seconds=0.001, pipelined=pipelined) as h:
            slow, free = await asyncio.gather(generate(h, "slow", 61), generate(h, "free", 61))
            assert 4.9 < slow < 5.2, "60 tokens, of which 10 were saved up"
            assert free < 0.5, "whoever has no limit does not wait"

    virtual.run(test())


def test_what_costs_more_than_a_seconds_worth_is_paid_for_afterwards() -> None:
    async def test() -> None:
        async with Host(None, paced(all=10.0), step_seconds=0.001) as h:
            assert await generate(h, "a", 1, prompt=100) < 0.1
            assert 8.9 < await generate(h, "a", 1) < 9.2, "100 tokens are 10 seconds, less the one saved up"
            assert await generate(h, "b", 1) < 0.1

    virtual.run(test())


def test_programs_of_a_tenant_share_its_rate() -> None:
    async def test() -> None:
        async with Host(None, paced(a=100.0), step_seconds=0.001) as h:
            took = await asyncio.gather(*(generate(h, "a", 50) for _ in range(8)))
            assert 2.8 < max(took) < 3.3, "400 tokens, less the 100 saved up"
            assert min(took) > 2.0, "and none of them waits for the others to end"

    virtual.run(test())


def test_one_that_waits_for_its_turn_can_be_cancelled() -> None:
    async def test() -> None:
        async with Host(None, paced(a=1.0), step_seconds=0.001) as h:
            session = h.core.open_session("a")
            file = await h.core.create(session, None)
            op = await h.start(session, file, [1] * 50, max_tokens=50)
            await asyncio.sleep(1)
            assert h.core._loops["fake"]._held is not None
            await h.core.cancel(session, op)
            await settle()
            assert h.core.idle()
            await h.core.close_session(session)

    virtual.run(test())


def test_who_waits_for_pages_of_one_that_waits_for_its_turn_does_not_fail() -> None:
    """A has all pages and owes for its prompt; B needs some. A is no reason to say that nobody can give any up."""

    async def test() -> None:
        config = CoreConfig(
            clock=lambda: asyncio.get_running_loop().time(),
            tenants_tokens={"a": 5.0},
            room=RoomLimits(residence_seconds=100.0),
        )
        async with Host(None, config, step_seconds=0.001, pages=9, page_size=4) as h:
            a = asyncio.create_task(generate(h, "a", 4, prompt=24))
            await asyncio.sleep(0.5)
            assert await generate(h, "b", 4, prompt=20) < 30
            await a

    virtual.run(test())


def test_a_share_of_the_disk_of_ones_own(tmp_path: Path) -> None:
    async def test() -> None:
        limits = DiskLimits(24 * 16 * 40, 1.0, {"ann": 0.1})
        store = Store(Folder(tmp_path))
        async with Host(None, CoreConfig(debug=True, disk=limits), store) as h:
            arena = h.core._loops["fake"].arena
            assert arena.disk_of("ann") * 10 == arena.disk_of("bob") == arena.disk.capacity
            for tenant in ("bob", "ann"):
                session = h.core.open_session(tenant)
                file = await h.core.open(session, None, "/f", write=True, create=True)
                await h.pred(session, file, [1] * 16 * (arena.disk_of("ann") + 1))
                op = next(h.ids)
                await h.core.sync(session, file, op)
                refused = await h.arrival(op)
                assert isinstance(refused, NoSpace) if tenant == "ann" else refused is None
                await h.core.unlink(session, "/f")
                await h.core.close_session(session)
        await store.close()

    asyncio.run(test())


def test_pages_and_slots_of_ones_own_number() -> None:
    async def test() -> None:
        config = CoreConfig(
            clock=lambda: asyncio.get_running_loop().time(),
            room=RoomLimits(0.0, 0.0, 0.0),
            tenant_page_share=0.5,
            tenant_page_shares={"ann": 0.25},
            tenant_slot_shares={"ann": 0.125},
            debug=True,
        )
        options: dict[str, Any] = {"pages": 17, "page_size": 4, "host_pages": 64, "move_seconds": 0.001}
        async with Shadows(config, **options) as h:
            ann, bob = h.session("ann"), h.session("bob")
            assert (h.arena.pages_of("ann"), h.arena.pages_of("bob")) == (4, 8)
            assert (h.arena.slots_of("ann"), h.arena.slots_of("bob")) == (8, 64)
            with pytest.raises(NoSpace, match="the tenant may hold 4"):
                await h.make(ann, list(range(17)))
            kept = [await h.make(ann, list(range(i, i + 16))) for i in range(3)]
            other, theirs = await h.make(bob, list(range(100, 132)))
            assert h.arena.pool.used["ann"] <= 4
            assert h.arena.host.used.get("ann", 0) <= 8
            for file, shadow in kept:
                await h.feed(ann, file, shadow, [])
                await h.ask(ann, file, shadow)
            await h.ask(bob, other, theirs)

    virtual.run(test())
