"""What processes wait for, as `ps` and `top` tell it, through the whole host; and how its sizes are set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony import Config, Runtime
from symphony.core.config import CoreConfig
from symphony.engine.fake import FakeEngine
from symphony.errors import Invalid
from symphony.process.process import LaunchOptions, Process
from symphony.process.view import View

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"


def lip(body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"from lip import *\nimport asyncio\n@main\nasync def app():\n{lines}\n"


TIMER = lip("await sleep(3600)")
TOOL = lip("await tool('slow')")
BOTH = lip("async with asyncio.timeout(3600):\n    await tool('slow')")
CLIENT = lip("while True:\n    emit('x' * 65536)")
SPIN = lip("while True: pass")
MODEL = lip(
    "async with Context() as ctx:\n    ctx.feed('a')\n    async with asyncio.timeout(3600):\n        await ctx.pred()"
)
LOCK = lip(
    "async with Context.open('/x', write=True, create=True) as ctx:\n"
    "    async with ctx.lock():\n"
    "        await sleep(3600)"
)


async def until(rt: Runtime, process: Process, holds: Callable[[View], bool]) -> View:
    async with asyncio.timeout(60):
        while not holds(view := rt.view(process)):
            assert not process.state.ended, await process.wait()
            await asyncio.sleep(0.001)
        return view


async def slow() -> None:
    await asyncio.sleep(3600)


def test_every_wait_has_a_name(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def step(seconds: float) -> None:
        await held.wait()

    async def scenario() -> None:
        engine = FakeEngine(pages=8, step_seconds=lambda batch: float(len(batch.rows[0].tokens) == 1), sleep=step)
        config = Config(cache=CACHE)
        async with Runtime([engine], home=tmp_path, tools={"slow": slow}, config=config) as rt:

            async def launch(program: str) -> Process:
                return await rt.launch(program, {}, LaunchOptions())

            for program, waits in ((TIMER, ["timer"]), (TOOL, ["tool"]), (LOCK, ["timer"]), (LOCK, ["lock"])):
                process = await launch(program)
                view = await until(rt, process, lambda view, waits=waits: view.waits_for == waits)
                assert view.state == "blocked"
            both = await launch(BOTH)
            assert (await until(rt, both, lambda view: "tool" in view.waits_for)).state == "blocked"
            spinner = await launch(SPIN)
            assert (await until(rt, spinner, lambda view: view.waits_for == ["cpu"])).state == "ready"
            await spinner.kill()
            talker = await launch(CLIENT)
            reader = talker.events()
            await anext(reader)  # and no further
            await until(rt, talker, lambda view: view.waits_for == ["client"])
            await talker.kill()
            asker = await launch(MODEL)
            view = await until(rt, asker, lambda view: view.waits_for == ["step"])  # its timeout is no reason
            assert view.activity.operations[0].kind == "predict"
            later = await launch(MODEL)
            await until(rt, later, lambda view: view.waits_for == ["pages"])
            held.set()
            await later.wait()
            assert rt.view(later).waits_for == []
            assert rt.view(later).activity.files == 0

    asyncio.run(scenario())


def test_the_sizes_of_both_tiers_are_set_and_reported(tmp_path: Path) -> None:
    async def describe(**sizes: Any) -> dict[str, str]:
        config = Config(cache=CACHE, core=CoreConfig(debug=True), **sizes)
        async with Runtime("tiny", device="cpu", home=tmp_path, config=config) as rt:
            [gauge] = rt.gauges()
            assert (gauge.pages.capacity + 1, gauge.slots.capacity) == (sizes["pages"], sizes["host_pages"])
            await rt.ready()  # books are audited after it
            return rt.describe()

    shown = asyncio.run(describe(pages=40, host_pages=30))
    assert shown["pages"].startswith("40 x 16 tokens")
    assert shown["host tier"].startswith("30 x 16 tokens")
    assert "poisoned" in shown["debug"]
    for sizes in ({"pages": 1, "host_pages": 0}, {"pages": 4, "host_pages": -1}):
        with pytest.raises(Invalid, match="pages"):
            asyncio.run(describe(**sizes))
