"""The timeline of a process: its turns and syscalls in a trace viewer's format, bounded, off unless asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from symphony import param
from symphony.engine.fake import FakeEngine
from symphony.errors import NotFound
from symphony.host import Runtime
from symphony.process.process import LaunchOptions, Process
from symphony.process.trace import SYSCALLS, TURNS, chrome_trace
from symphony.sandbox.timeline import Timeline

PROGRAM = b"""
import lip
from lip import Context, emit, main

@main
async def app(n: int = 3) -> int:
    async with Context() as ctx:
        ctx.feed("hello")
        token = (await ctx.pred()).argmax()
        for _ in range(n):
            token = (await ctx.pred(token)).argmax()
    emit("done")
    return await lip.receive() == "go on"
"""


def spans(trace: dict[str, Any], track: int) -> list[dict[str, Any]]:
    return [event for event in trace["traceEvents"] if event["ph"] == "X" and event["tid"] == track]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], Process]:
    """The trace of a process that waits for a message, that after its end, and a process without any."""

    async def scenario() -> tuple[dict[str, Any], dict[str, Any], Process]:
        async with Runtime([FakeEngine()], home=tmp_path_factory.mktemp("home")) as runtime:
            process = await runtime.launch(PROGRAM, {}, LaunchOptions(trace=True))
            async for event in process.events():
                if event.kind == "output":
                    break
            while runtime.view(process).waits_for != ["message"]:  # noqa: ASYNC110 - states have no events
                await asyncio.sleep(0)
            waiting = chrome_trace(process)
            process.post("go on")
            assert await process.wait() is True
            plain = await runtime.launch(PROGRAM, {}, LaunchOptions())
            plain.post("x")
            await plain.wait()
            assert runtime.tally.started == 2
            assert runtime.tally.ended["result"] == 2
            assert sum(runtime.tally.spoke.counts) == 2
            return waiting, chrome_trace(process), plain

    return asyncio.run(scenario())


@pytest.mark.without_workers("the host asks when a worker's message is there, behind the turn that sent it")
def test_each_syscall_is_there_with_its_time(traced: tuple[dict[str, Any], dict[str, Any], Process]) -> None:
    waiting, ended, _ = traced
    calls, turns = spans(ended, SYSCALLS), spans(ended, TURNS)
    names = [call["name"] for call in calls]
    assert sum(name.startswith("infer#") for name in names) >= 4, names
    assert any("emit" in name for name in names)
    assert ended["otherData"] == {**ended["otherData"], "left_out": 0, "syscalls": len(calls), "turns": len(turns)}
    for one in (calls, turns):
        assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in one)
        ends = [event["ts"] + event["dur"] for event in one]
        assert all(end <= after["ts"] for end, after in zip(ends, one[1:], strict=False)), "one at a time, in order"
    assert all(any(turn["ts"] <= c["ts"] <= turn["ts"] + turn["dur"] for turn in turns) for c in calls)
    unanswered = [event for event in spans(waiting, SYSCALLS) if event.get("args")]
    assert [event["args"] for event in unanswered] == [{"unanswered": True}], "it waits for its message"
    assert len(calls) > len(spans(waiting, SYSCALLS)) - 1


def test_who_did_not_ask_has_none(traced: tuple[dict[str, Any], dict[str, Any], Process]) -> None:
    with pytest.raises(NotFound, match="has no timeline"):
        chrome_trace(traced[2])


def test_it_is_bounded() -> None:
    timeline = Timeline()
    for number in range(param.TIMELINE_SPANS + 5):
        timeline.asked(f"symphony:lip/a#{number}")
        timeline.answered()
    timeline.answered()
    assert (timeline.syscall_count, len(timeline.syscalls)) == (param.TIMELINE_SPANS + 5, param.TIMELINE_SPANS)
    assert timeline.syscalls[0][0] == "symphony:lip/a#5"
    assert timeline.size == 160 * param.TIMELINE_SPANS
