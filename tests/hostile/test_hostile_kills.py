"""Processes that are killed in every state, while other processes' predictions are in flight: those must stay right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hostile_host import HEALTHY, QUESTION, Host, booted, lip, until
from hostile_host import host as boot

from symphony.errors import Cancelled, TimedOut
from symphony.process.process import LaunchOptions, Process


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.fixture(scope="module")
def module_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Steps take 3 ms, so that operations can be met in flight."""
    with boot(tmp_path_factory.mktemp("home"), {"forever": forever}, step_seconds=0.003) as running:
        yield running


@pytest.fixture
def host(module_host: Host) -> Iterator[Host]:
    yield module_host
    module_host.check()


START = "ctx = Context()\nctx.feed('x' * 300)\n"
VICTIMS = {
    "computing": "while True: pass",
    "sleeping": "await sleep(3600)",
    "predicting": START + "while True: await ctx.pred(7)",
    "predicting beside": START + "await ctx.flush()\nother = ctx.fork()\n"
    "async def choose(c):\n    while True: await c.pred(7)\nawait asyncio.gather(choose(ctx), choose(other))",
    "suspended beside a generation": START + "await ctx.flush()\nother = ctx.fork()\n"
    "s = other.stream(max_tokens=600, stop_tokens=[])\nwhile True: await ctx.pred(7)",
    "prefilling": START + "while True:\n    await ctx.pred('y' * 600)\n    ctx.truncate(300)",
    "generating": START + "while True:\n    await ctx.generate(max_tokens=600, stop_tokens=[])\n    ctx.truncate(300)",
    "streaming slowly": START + "async for c in ctx.stream(max_tokens=600, stop_tokens=[], chunk_tokens=1): "
    "await sleep(0.01)",
    "paused": START + "s = ctx.stream(max_tokens=600, stop_tokens=[], chunk_tokens=1)\nawait sleep(3600)",
    "forking": START + "await ctx.flush()\nwhile True:\n    held = [ctx.fork() for _ in range(20)]\n"
    "    await asyncio.gather(*(f.pred(i) for i, f in enumerate(held)))\n    for f in held: f.close()",
    "cancelling": START + "await ctx.flush()\nwhile True:\n    try:\n        async with asyncio.timeout(0.001):\n"
    "            await ctx.pred(7)\n    except TimeoutError:\n        pass\n    ctx.truncate(min(len(ctx), 300))",
    "calling a tool": "await tool('forever')",
    "saving": START + "while True:\n    await ctx.save('/victim', overwrite=True)\n    fs.unlink('/victim')",
    "gathering": START
    + "await ctx.flush()\nawait asyncio.gather(*(f.generate(max_tokens=500, stop_tokens=[]) for f in "
    "[ctx.fork() for _ in range(8)]), tool('forever'))",
}


async def healthy(host: Host) -> None:
    for _ in range(3):
        assert await host.runtime.run(HEALTHY, question=QUESTION) == host.answer()


async def unlinked(host: Host) -> None:
    """A name is not the process' own: it outlives the kill."""
    await host.runtime.run(lip("if fs.exists('/victim'): fs.unlink('/victim')"))


@pytest.mark.parametrize("state", VICTIMS)
@pytest.mark.parametrize("after", [0, 1, 20])
def test_killed_while(state: str, after: int, host: Host) -> None:
    """`after`: turns of the event loop that the victim gets; 0: it is new."""

    async def scenario() -> None:
        good = asyncio.ensure_future(healthy(host))
        victim = await host.runtime.spawn(lip(VICTIMS[state]))
        for _ in range(after):
            await asyncio.sleep(0.001)
        await host.runtime.kill(victim)
        assert victim.state.value == "killed"
        assert victim.instance is None
        with pytest.raises(Cancelled):
            await victim.wait()
        await host.runtime.kill(victim)
        await good
        await unlinked(host)

    host.run(scenario())


@pytest.mark.parametrize("state", VICTIMS)
def test_deadlines_end_it_while(state: str, host: Host) -> None:
    async def scenario() -> None:
        good = asyncio.ensure_future(healthy(host))
        options = LaunchOptions(wall_seconds=0.05, cpu_seconds=1e9)
        victim = await host.runtime.launch(lip(VICTIMS[state]), {}, options)
        with pytest.raises(TimedOut, match=r"longer than 0.05 s"):
            await victim.wait()
        await good
        await unlinked(host)

    host.run(scenario())


def test_all_of_them_at_once(host: Host) -> None:
    async def scenario() -> None:
        good = asyncio.ensure_future(healthy(host))
        victims = [await host.runtime.spawn(lip(body)) for body in VICTIMS.values()]
        await asyncio.sleep(0.05)
        await asyncio.gather(*(host.runtime.kill(v) for v in reversed(victims)))
        assert all(v.state.value == "killed" for v in victims)
        await good
        await unlinked(host)

    host.run(scenario())


def test_a_step_that_fails_while_a_process_is_killed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        victim = await host.runtime.spawn(lip(VICTIMS["predicting"]))
        await until(lambda: bool(victim.usage.forwards))
        entered, leave = asyncio.Event(), asyncio.Event()

        async def broken(batch: object) -> None:
            entered.set()
            await leave.wait()
            raise RuntimeError("the device fell off the bus")

        with monkeypatch.context() as patch:
            patch.setattr(host.engine, "step", broken)
            await entered.wait()
            killing = asyncio.ensure_future(host.runtime.kill(victim))
            await asyncio.sleep(0.002)
            leave.set()
            await killing

    host.run(scenario())


def test_shutdown_ends_whatever_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    async def started(host: Host) -> list[Process]:
        running = [await host.runtime.spawn(lip(body)) for body in VICTIMS.values()]
        await asyncio.sleep(0.02)
        return running

    home = tmp_path_factory.mktemp("home")
    with asyncio.Runner() as runner:
        booting = booted(home, {"forever": forever}, {"step_seconds": 0.003})
        runtime, engine = runner.run(booting.__aenter__())
        running = runner.run(started(Host(runtime, engine, runner)))
        runner.run(booting.__aexit__(None, None, None))
        assert all(p.state.value == "killed" for p in running)
        for process in running:
            with pytest.raises(Cancelled, match="shutting down"):
                runner.run(process.wait())
        assert runtime.core.idle()
        assert not runtime.core._sessions
