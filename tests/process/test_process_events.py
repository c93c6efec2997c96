"""The event log: readers from the beginning, back-pressure, limits."""

from __future__ import annotations

import asyncio
import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony import param
from symphony.errors import LimitExceeded
from symphony.param import MAX_LOG_BYTES, MAX_OUTPUT_BACKLOG
from symphony.process.events import Cursor, Event, EventLog
from symphony.process.shelf import Shelf


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


def test_pieces_count_for_what_they_take() -> None:
    log, pieces = EventLog(), 1000

    async def scenario() -> int:
        tracemalloc.start()
        for n in range(pieces):
            await log.output(chr(0x1F600 + n % 50))
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return taken

    assert 0.5 * log.kept < asyncio.run(scenario()) < 1.5 * log.kept


def test_a_closed_log_takes_nothing_more() -> None:
    log = EventLog()
    log.end("result", {"value": 1})
    log.add("output", {"text": "late"})
    assert [e.kind for e in log.events] == ["result"]


def test_live_processes_of_a_tenant_share_a_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_OUTPUT_BYTES_PER_TENANT", 1000)

    async def scenario() -> None:
        shelf = Shelf()
        first, second, other = EventLog(shelf), EventLog(shelf), EventLog()
        await first.output("x" * 500)
        with pytest.raises(LimitExceeded, match="running programs of this tenant"):
            await second.output("x" * 500)
        second.log("info", "x" * 500)
        await other.output("x" * 500)
        first.end("result", {"value": 1})
        await second.output("x" * 500)
        second.end("result", {"value": 2})
        assert second.events[0].data["text"] == "x" * 500
        assert second.events[1].data["text"] == "1 log lines were dropped"
        assert shelf.take(1000), "those who ended gave all back"

    asyncio.run(scenario())


@given(st.lists(st.sampled_from(["out", "log", "new", "take", "one", "leave", "end"]), max_size=60), st.randoms())
def test_cursors_see_everything_once_and_hold_up_the_writer_as_long_as_they_lag(steps: list[str], draw: Random) -> None:
    """Against a plain list: whatever readers come, take and leave, each sees all from its place on."""

    async def scenario() -> None:
        log = EventLog()
        readers: list[tuple[Cursor, int, list[Event]]] = []
        writers: list[asyncio.Task[bool]] = []
        for step in steps:
            match step:
                case "out":
                    writers.append(asyncio.ensure_future(log.output("x" * draw.choice([1, MAX_OUTPUT_BACKLOG // 2]))))
                    await asyncio.sleep(0)
                case "log":
                    log.log("info", "line")
                case "new":
                    after = draw.randrange(len(log.events) + 1)
                    readers.append((log.cursor(after), after, []))
                case "take" | "one" if readers:
                    cursor, _, seen = draw.choice(readers)
                    seen += cursor.take(*((1, 1) if step == "one" else (MAX_OUTPUT_BACKLOG, 1000)))
                case "leave" if readers:
                    readers.pop(draw.randrange(len(readers)))[0].close()
                case "end":
                    log.end("result", {"value": None})
                case _:
                    pass
            for _ in range(3):
                await asyncio.sleep(0)
            lag = max((log.output_size - cursor.output_read for cursor, _, _ in readers), default=0)
            assert all(writer.done() for writer in writers) or (lag > MAX_OUTPUT_BACKLOG and not log.closed)
            assert log.stalled == (not all(writer.done() for writer in writers))
        log.end("result", {"value": None})
        for cursor, after, seen in readers:
            while not cursor.ended:
                await cursor.wait()
                seen += cursor.take(1, 1)
            assert seen == log.events[after:]
            cursor.close()
            cursor.close()
        await asyncio.gather(*writers)

    asyncio.run(scenario())


def test_what_comes_is_offered_once_a_rest_is_over_and_at_once_where_a_writer_waits() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        log = EventLog()
        cursor = log.cursor()
        pieces: list[int] = []

        def push() -> bool:
            pieces.append(len(cursor.take(MAX_OUTPUT_BACKLOG, 1000)))
            cursor.rest(loop.time() + 3600)
            return True

        waiting = asyncio.ensure_future(cursor.wait(push))
        await asyncio.sleep(0)
        for _ in range(3):  # in one turn of the loop: one piece
            await log.output("x")
        await asyncio.sleep(0.01)
        assert pieces == [3]
        await log.output("x")
        await asyncio.sleep(0.01)
        assert pieces == [3], "it rests"
        await log.output("x" * (MAX_OUTPUT_BACKLOG + 1))  # waits for the reader, which hurries
        assert pieces == [3, 2]
        log.log("info", "line")
        log.end("result", {"value": None})
        await waiting
        assert pieces == [3, 2, 2], "an end waits for no rest"
        assert cursor.ended

    asyncio.run(scenario())


def test_what_a_push_raises_is_told_to_who_waits() -> None:
    def push() -> bool:
        raise ValueError("no such luck")

    async def scenario() -> None:
        log = EventLog()
        cursor = log.cursor()
        waiting = asyncio.ensure_future(cursor.wait(push))
        await asyncio.sleep(0)
        await log.output("x")
        with pytest.raises(ValueError, match="no such luck"):
            async with asyncio.timeout(5):
                await waiting
        cursor.close()

    asyncio.run(scenario())


def test_a_piece_that_is_not_pushed_wakes_the_reader() -> None:
    async def scenario() -> None:
        log = EventLog()
        cursor = log.cursor()
        waiting = asyncio.ensure_future(cursor.wait(lambda: False))
        await asyncio.sleep(0)
        await log.output("x")
        await waiting
        assert cursor.behind == 1
        cursor.close()

    asyncio.run(scenario())
