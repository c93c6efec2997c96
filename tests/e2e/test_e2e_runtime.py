"""The embedded host as a Python service author uses it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from symphony import LimitExceeded, ProgramError, Runtime
from symphony.engine.fake import FakeEngine
from symphony.errors import Cancelled, Invalid, NotFound, TimedOut, Unavailable
from symphony.process.process import LaunchOptions

ECHO = """
from lip import main, tool, emit, log

@main
async def echo(text: str = "hi", times: int = 1) -> dict:
    for i in range(times):
        emit(text)
    log("echoed", level="info")
    return {"text": text, "times": times}
"""
ASK = """
from lip import main, tool, tools, NotFound

@main
async def ask(name: str = "double") -> object:
    try:
        return {"value": await tool(name, x=21), "names": [t.name for t in tools()]}
    except NotFound as e:
        return {"missing": str(e)}
"""
SPIN = "from lip import main\n\n@main\ndef spin() -> None:\n    while True:\n        pass\n"
WAIT = "from lip import main, sleep\n\n@main\nasync def wait() -> None:\n    await sleep(3600)\n"
BROKEN = "from lip import main\n\n@main\ndef broken() -> None:\n    raise ValueError('no such luck')\n"


def hosted(scenario: Any, tmp_path: Path, **options: Any) -> None:
    """Run a scenario on a host over the fake engine; afterwards nothing may be left."""

    async def body() -> None:
        async with Runtime([FakeEngine(pages=256)], home=tmp_path, **options) as rt:
            await scenario(rt)
            assert rt.sandbox.live == 0
            assert rt.core.idle()
            rt.core.check_integrity()

    asyncio.run(body())


def test_run_returns_the_result_and_takes_arguments_both_ways(tmp_path: Path) -> None:
    async def scenario(rt: Runtime) -> None:
        assert await rt.run(ECHO, text="a", times=2) == {"text": "a", "times": 2}
        assert await rt.run(ECHO, {"text": "b"}) == {"text": "b", "times": 1}
        assert await rt.run(ECHO.encode(), args={"text": "c"}) == {"text": "c", "times": 1}

    hosted(scenario, tmp_path)


def test_events_tell_the_whole_story(tmp_path: Path) -> None:
    async def scenario(rt: Runtime) -> None:
        process = await rt.spawn(ECHO, text="x", times=3)
        kinds = [(e.kind, e.data) async for e in process.events()]
        assert kinds[0] == ("start", {"pid": process.pid})
        assert [d["text"] for k, d in kinds if k == "output"] == ["x", "x", "x"]
        assert ("log", {"level": "info", "text": "echoed"}) in kinds
        assert kinds[-1] == ("result", {"value": {"text": "x", "times": 3}})
        assert process.output == "xxx"
        assert process.state.value == "done"
        assert process.usage.cpu_us > 0

    hosted(scenario, tmp_path)


def test_uploads_are_known_by_name_and_by_content(tmp_path: Path) -> None:
    async def scenario(rt: Runtime) -> None:
        info = await rt.upload(ECHO, name="echo")
        again = await rt.upload(ECHO, name="echo")
        assert info.id == again.id
        assert await rt.run("echo", text="y") == {"text": "y", "times": 1}
        assert [p.name for p in rt.programs()] == ["echo"]
        rt.remove_program("echo")
        with pytest.raises(NotFound):
            await rt.run("echo")

    hosted(scenario, tmp_path)


def test_tools_may_be_plain_or_async(tmp_path: Path) -> None:
    def double(x: int) -> int:
        return 2 * x

    async def triple(x: int) -> int:
        await asyncio.sleep(0)
        return 3 * x

    async def scenario(rt: Runtime) -> None:
        names = ["double", "triple"]
        assert await rt.run(ASK, name="double") == {"value": 42, "names": names}
        assert await rt.run(ASK, name="triple") == {"value": 63, "names": names}
        missing = (await rt.run(ASK, name="quadruple"))["missing"]
        assert "double, triple" in missing

    hosted(scenario, tmp_path, tools={"triple": triple, "double": double})


def test_a_program_that_raises_is_a_program_error_with_its_traceback(tmp_path: Path) -> None:
    async def scenario(rt: Runtime) -> None:
        with pytest.raises(ProgramError, match="ValueError: no such luck") as e:
            await rt.run(BROKEN)
        assert "raise ValueError" in e.value.traceback
        assert "site-packages" not in e.value.traceback

    hosted(scenario, tmp_path)


def test_kill_and_deadlines_end_whatever_it_does(tmp_path: Path) -> None:
    async def scenario(rt: Runtime) -> None:
        for program in (SPIN, WAIT):
            process = await rt.spawn(program)
            await asyncio.sleep(0.05)
            await process.kill()
            await process.kill()  # it has ended: nothing happens
            with pytest.raises(Cancelled):
                await process.wait()
            assert process.state.value == "killed"
            process = await rt.launch(program, {}, LaunchOptions(wall_seconds=0.2))
            with pytest.raises(TimedOut):
                await process.wait()
        process = await rt.launch(SPIN, {}, LaunchOptions(cpu_seconds=0.2))
        with pytest.raises(LimitExceeded, match="CPU"):
            await process.wait()

    hosted(scenario, tmp_path)


def test_cancelling_run_kills_its_process(tmp_path: Path) -> None:
    async def scenario(rt: Runtime) -> None:
        task = asyncio.ensure_future(rt.run(WAIT))
        while not any(p.state.value == "blocked" for p in rt.processes()):  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert rt.processes()[0].state.value == "killed"

    hosted(scenario, tmp_path)


def test_arguments_must_be_json(tmp_path: Path) -> None:
    async def scenario(rt: Runtime) -> None:
        with pytest.raises(Invalid, match="not JSON"):
            await rt.run(ECHO, text=object())

    hosted(scenario, tmp_path)


def test_two_hosts_do_not_share_a_home(tmp_path: Path) -> None:
    async def scenario(rt: Runtime) -> None:
        tasks = asyncio.all_tasks()
        with pytest.raises(Invalid, match="another running host"):
            async with Runtime([FakeEngine()], home=tmp_path):
                pass
        assert asyncio.all_tasks() == tasks

    hosted(scenario, tmp_path)


def test_ready_means_that_a_forward_pass_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: Any) -> None:
        raise RuntimeError("device lost")

    async def scenario(rt: Runtime) -> None:
        await rt.ready()
        assert rt.processes() == []
        rt._probe._every = 0
        monkeypatch.setattr(FakeEngine, "step", lost)
        with pytest.raises(Unavailable, match="model fake cannot run: the step failed: device lost"):
            await rt.ready()
        monkeypatch.undo()
        await rt.ready()
        assert not rt.core._sessions

    hosted(scenario, tmp_path)


def test_a_boot_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise Invalid("no table today")

    closed: list[FakeEngine] = []
    monkeypatch.setattr("symphony.host.ProcessTable", fails)
    monkeypatch.setattr(FakeEngine, "close", lambda engine: closed.append(engine))

    async def boot() -> None:
        engine = FakeEngine()
        with pytest.raises(Invalid, match="no table today"):
            async with Runtime([engine], home=tmp_path):
                pass
        assert closed == [engine]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(boot())
    monkeypatch.undo()
    hosted(lambda rt: rt.run(ECHO), tmp_path)  # the home is free again
