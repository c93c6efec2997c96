"""An agent whose files leave the device while it waits for a tool, through the whole host."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from symphony import Config, Runtime
from symphony.core.config import CoreConfig
from symphony.core.victims import RoomLimits
from symphony.engine.fake import FakeEngine
from symphony.process.process import LaunchOptions, State
from symphony.syscall.pollable import Timer

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"
AGENT = """
from lip import Context, main, tool

@main
async def agent(prompt: str) -> list:
    async with Context() as ctx:
        ctx.feed(prompt)
        first = await ctx.generate(max_tokens=8, stop_tokens=[])
        ctx.feed(str(await tool("look_up")))
        second = await ctx.generate(max_tokens=8, stop_tokens=[])
        return [*first.tokens, *second.tokens]
"""
SLEEPER = AGENT.replace("Context, main, tool", "Context, main, sleep").replace(
    'ctx.feed(str(await tool("look_up")))', "await sleep(3600)"
)
LOAD = """
from lip import Context, main

@main
async def load(prompt: str) -> list:
    async with Context() as ctx:
        ctx.feed(prompt)
        return list((await ctx.generate(max_tokens=4, stop_tokens=[])).tokens)
"""
PROMPT = "What an agent knows before it asks; a few pages of it. " * 4
ROOM = RoomLimits(idle_seconds=0.0, residence_seconds=0.0)


class Tool:
    """`look_up` answers when the test says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def look_up(self) -> str:
        self.asked.set()
        return await self.answer


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - states have no events
            await asyncio.sleep(0.001)


async def agent_run(home: Path, pages: int, disturbed: bool) -> tuple[list[int], dict[str, Any]]:
    """The agent's tokens, and what was seen during its pause."""
    tool = Tool()
    engine = FakeEngine(pages=pages, host_pages=256, context_limit=2048)
    config = Config(cache=CACHE, core=CoreConfig(room=ROOM, debug=True))
    seen: dict[str, Any] = {}
    async with Runtime([engine], home=home, tools={"look_up": tool.look_up}, config=config) as rt:
        rt.core._kvfs.arenas[
            "fake"
        ].costs.token_seconds = 1e9  # however busy this machine is: moved, not computed again
        agent = await rt.launch(AGENT, {"prompt": PROMPT}, LaunchOptions())
        await tool.asked.wait()
        await until(lambda: rt.view(agent).waits_for == ["tool"])
        seen["before"] = rt.view(agent).state
        if disturbed:
            others = [await rt.launch(LOAD, {"prompt": f"{i}: {PROMPT * 4}"}, LaunchOptions()) for i in range(3)]
            for other in others:
                await other.wait()
            seen["during"] = rt.view(agent)
        tool.answer.set_result("an answer")
        tokens = await agent.wait()
        seen["gauge"] = rt.gauges()[0]
        rt.core.check_integrity()
    return tokens, seen


def test_an_agent_is_swapped_out_while_a_tool_works_and_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    calm, seen = asyncio.run(agent_run(tmp_path / "calm", 256, disturbed=False))
    assert seen["before"] == "blocked"
    assert seen["gauge"].moved_out == 0
    tokens, seen = asyncio.run(agent_run(tmp_path / "full", 66, disturbed=True))
    during = seen["during"]
    assert (during.state, during.waits_for) == ("swapped", ["tool"])
    assert (during.activity.device_pages, during.activity.away) == (0, 1)
    assert during.activity.host_pages >= 14
    assert seen["gauge"].moved_out >= 14
    assert seen["gauge"].moved_back >= 14
    assert seen["gauge"].dropped_tokens == 0
    assert tokens == calm


@pytest.mark.without_workers("looks at a guest between its waking and its turn, which is taken in the worker")
def test_a_timer_brings_files_back_before_they_are_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = FakeEngine(pages=66, host_pages=256, context_limit=2048)
        config = Config(cache=CACHE, core=CoreConfig(room=ROOM))
        async with Runtime([engine], home=tmp_path, config=config) as rt:
            agent = await rt.launch(SLEEPER, {"prompt": PROMPT}, LaunchOptions())
            await until(lambda: rt.view(agent).waits_for == ["timer"])
            await rt.run(LOAD, prompt=f"else: {PROMPT * 4}")
            assert rt.view(agent).state == "swapped"
            assert agent.instance is not None
            [timer] = [one for one in agent.instance.awaited.pollables if isinstance(one, Timer)]
            assert rt.gauges()[0].moving == 0
            timer.at = 0
            timer._ring()
            assert agent.state is State.READY  # it has had no turn yet
            assert rt.gauges()[0].moving > 0  # those that nobody has overwritten on the device need no copy
            await agent.kill()  # by its own clock it is too early

    asyncio.run(scenario())
