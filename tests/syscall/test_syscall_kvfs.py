"""The handlers of `symphony:lip/kvfs` over a real core: what crosses, and what dropping a handle does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from symphony.core.core import Core
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Readings
from symphony.errors import Busy, Invalid, LimitExceeded, PermissionDenied
from symphony.param import MAX_EXTRACT_RANGES
from symphony.syscall import kvfs
from symphony.syscall.inbox import Inbox
from symphony.syscall.kvfs import KvFile, Span
from symphony.syscall.signatures import SIGNATURES
from symphony.syscall.values import Handler

NOTHING = Readings()


class Caller:
    """A process, as far as these handlers ask."""

    def __init__(self, core: Core, inbox: Inbox, owner: str = "ann") -> None:
        self.core, self.inbox = core, inbox
        self.session = core.open_session("t", owner)
        self.wakes = 0

    def stirred(self) -> None:
        self.wakes += 1
        self.core.resume(self.session)

    async def file(self, *tokens: int) -> KvFile:
        file = KvFile(self, await self.core.create(self.session, None))  # type: ignore[arg-type]
        if tokens:
            other = Inboxed(self.inbox)
            await self.core.pred(self.session, file.id, other.op, tokens, (), NOTHING)
            await other.arrived
        return file


class Inboxed:
    def __init__(self, inbox: Inbox) -> None:
        self.op = inbox.register(self)
        self.arrived = asyncio.get_running_loop().create_future()

    def deliver(self, answer: Any) -> None:
        self.arrived.set_result(answer)


@asynccontextmanager
async def core() -> AsyncIterator[tuple[Core, Inbox]]:
    core, inbox = Core([FakeEngine()]), Inbox()
    core.connect(inbox.deliver)
    running = asyncio.create_task(core.run())
    yield core, inbox
    await core.close()
    await running
    core.check_integrity()


def run(test: Callable[[Core, Inbox], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    async def main() -> None:
        async with core() as (c, inbox):
            await test(c, inbox)

    def wrapper() -> None:
        asyncio.run(asyncio.wait_for(main(), 60))

    wrapper.__name__ = test.__name__
    return wrapper


@run
async def test_a_stat_is_a_record_of_the_abi(c: Core, inbox: Inbox) -> None:
    caller: Any = Caller(c, inbox)
    file = await caller.file(1, 2, 3)
    stat = await kvfs.stat(caller, file)
    assert (stat.length, stat.plain, stat.tier, stat.pinned, stat.ttl, stat.names) == (3, 3, "device", False, None, 0)
    assert stat.mode == {"owner-read", "owner-write", "tenant-read"}
    await kvfs.set_mode(caller, file, frozenset({"owner-read", "owner-write", "other-write"}))
    await kvfs.set_ttl(caller, file, 7)
    await kvfs.link(caller, file, "/x")
    stat = await kvfs.stat_path(caller, "/x")
    assert stat.mode == {"owner-read", "owner-write", "other-write"}
    assert (stat.ttl, stat.names, stat.tenant, stat.owner) == (7, 1, "t", "ann")


@run
async def test_a_lock_fires_when_its_turn_comes(c: Core, inbox: Inbox) -> None:
    first: Any = Caller(c, inbox)
    second: Any = Caller(c, inbox)
    mine = await first.file()
    await kvfs.link(first, mine, "/x")
    theirs = KvFile(second, await c.open(second.session, None, "/x", write=True))
    held = await kvfs.lock(first, mine, "exclusive")
    assert kvfs.lock_held(first, held)
    waits = await kvfs.lock(second, theirs, "shared")
    assert not kvfs.lock_held(second, waits)
    assert len(inbox) == 1
    with pytest.raises(Busy):
        await kvfs.try_lock(second, theirs, "shared")
    await held.drop()
    assert kvfs.lock_held(second, waits)
    assert kvfs.lock_subscribe(second, waits).ready()
    assert len(inbox) == 0
    await waits.drop()
    await waits.drop()
    taken = await kvfs.try_lock(second, theirs, "exclusive")
    assert kvfs.lock_held(second, taken)
    assert (first.wakes, second.wakes) == (0, 1), "what is free at once wakes nobody"
    with pytest.raises(Busy):
        await kvfs.lock(second, theirs, "shared")
    assert len(inbox) == 0, "what is refused leaves nothing"


@run
async def test_a_request_that_is_dropped_is_nobodys(c: Core, inbox: Inbox) -> None:
    first: Any = Caller(c, inbox)
    second: Any = Caller(c, inbox)
    mine = await first.file()
    await kvfs.link(first, mine, "/x")
    theirs = KvFile(second, await c.open(second.session, None, "/x", write=True))
    held = await kvfs.lock(first, mine, "exclusive")
    waits = await kvfs.lock(second, theirs, "exclusive")
    await waits.drop()
    assert len(inbox) == 0
    await held.drop()
    assert not waits.pollable.fired
    assert kvfs.lock_held(first, await kvfs.try_lock(first, mine, "exclusive"))


@run
async def test_extract_and_append(c: Core, inbox: Inbox) -> None:
    caller: Any = Caller(c, inbox)
    file = await caller.file(*range(20))
    part = await kvfs.extract(caller, file, [Span(0, 3), Span(17, 20)], True)
    await kvfs.append_from(caller, part, file, Span(5, 7))
    assert await kvfs.tokens(caller, part, Span(0, 8)) == [0, 1, 2, 17, 18, 19, 5, 6]
    assert (await kvfs.stat(caller, part)).plain == 3
    with pytest.raises(Invalid):
        await kvfs.extract(caller, file, [Span(3, 21)], True)
    with pytest.raises(LimitExceeded, match="4097 ranges"):
        await kvfs.extract(caller, file, [Span(0, 1)] * (MAX_EXTRACT_RANGES + 1), True)
    await kvfs.pin(caller, part)
    assert (await kvfs.stat(caller, part)).pinned
    await kvfs.unpin(caller, part)
    for what in ("will-need", "dont-need"):
        await kvfs.advise(caller, part, what)


@run
async def test_names(c: Core, inbox: Inbox) -> None:
    caller: Any = Caller(c, inbox)
    await kvfs.link(caller, await caller.file(), "/a/x")
    await kvfs.mkdir(caller, "/b")
    await kvfs.rename(caller, "/a", "/b/a")
    assert await kvfs.glob(caller, "/**") == ["/b/a/x"]
    assert [(e.name, e.is_directory) for e in await kvfs.list_directory(caller, "/b")] == [("a", True)]
    other: Any = Caller(c, inbox, "ben")
    with pytest.raises(PermissionDenied):
        await kvfs.unlink(other, "/b/a/x")
    await kvfs.unlink(caller, "/b/a/x")
    await kvfs.unlink(caller, "/b")


def test_every_function_has_a_handler() -> None:
    declared = {name for name in SIGNATURES if name.startswith("symphony:lip/kvfs#")}
    assert declared - {name for name in declared if "[resource-drop]" in name} == set(kvfs.HANDLERS)
    handlers: list[Handler] = list(kvfs.HANDLERS.values())
    assert len(set(handlers)) == len(handlers)
