"""The event log: readers from the beginning, back-pressure, limits."""

from __future__ import annotations

import asyncio

import pytest

from symphony.errors import LimitExceeded
from symphony.param import MAX_LOG_BYTES, MAX_OUTPUT_BACKLOG
from symphony.process.events import Event, EventLog


async def collect(log: EventLog) -> list[Event]:
    return [event async for event in log.read()]


def test_every_reader_sees_everything_from_the_start() -> None:
    async def scenario() -> None:
        log = EventLog()
        log.add("start", {"pid": 1})
        early = asyncio.ensure_future(collect(log))
        await asyncio.sleep(0)
        await log.output("a")
        await asyncio.sleep(0)
        await log.output("b")
        log.end("result", {"value": 3})
        late = await collect(log)
        assert await early == late
        assert [e.kind for e in late] == ["start", "output", "output", "result"]
        assert log.text() == "ab"

    asyncio.run(scenario())


def test_a_slow_reader_holds_the_writer_and_a_reader_that_leaves_lets_it_go() -> None:
    async def scenario() -> None:
        log = EventLog()
        reader = log.read()
        await log.output("x")
        assert (await anext(reader)).data == {"text": "x"}
        writer = asyncio.ensure_future(log.output("y" * (MAX_OUTPUT_BACKLOG + 1)))
        await asyncio.sleep(0)
        assert not writer.done()
        await reader.aclose()
        await asyncio.wait_for(writer, 5)

    asyncio.run(scenario())


def test_a_reader_that_catches_up_lets_the_writer_go() -> None:
    async def scenario() -> None:
        log = EventLog()
        reader = log.read()
        await log.output("x")
        await anext(reader)
        writer = asyncio.ensure_future(log.output("y" * (MAX_OUTPUT_BACKLOG + 1)))
        await asyncio.sleep(0)
        assert len((await anext(reader)).data["text"]) == MAX_OUTPUT_BACKLOG + 1
        await asyncio.wait_for(writer, 5)
        await reader.aclose()

    asyncio.run(scenario())


def test_nobody_reading_does_not_hold_the_writer() -> None:
    async def scenario() -> None:
        log = EventLog()
        for _ in range(3):
            await asyncio.wait_for(log.output("y" * MAX_OUTPUT_BACKLOG), 5)

    asyncio.run(scenario())


def test_output_and_log_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.process.events.MAX_OUTPUT_BYTES", 10)

    async def scenario() -> None:
        log = EventLog()
        with pytest.raises(LimitExceeded):
            await log.output("y" * 11)
        for _ in range(3):
            log.log("info", "z" * (MAX_LOG_BYTES // 2))
        log.end("result", {"value": None})
        kinds = [e.kind for e in log.events]
        assert kinds == ["log", "log", "result"]
        assert "2 log lines were dropped" in log.events[1].data["text"]

    asyncio.run(scenario())


def test_a_closed_log_takes_nothing_more() -> None:
    log = EventLog()
    log.end("result", {"value": 1})
    log.add("output", {"text": "late"})
    assert [e.kind for e in log.events] == ["result"]
