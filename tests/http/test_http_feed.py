"""How often streams send, and what of it reaches the socket directly."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from fake_runtime import FakeRuntime
from server_fixture import Client, eventually, with_server

from symphony import param
from symphony.http.context import PACE
from symphony.http.feed import Item, Pace
from symphony.http.sse import _Stream
from symphony.process.process import LaunchOptions


def test_all_streams_together_have_a_rate() -> None:
    pace, now = Pace(), 1000.0
    rests = [pace.rest(now) - now for _ in range(64)]
    assert rests[0] == pytest.approx(1 / param.HTTP_PIECES_PER_SECOND), "alone, it hardly rests"
    assert 64 / param.HTTP_PIECES_PER_SECOND <= rests[-1] <= 64 / param.HTTP_PIECES_PER_SECOND + Pace.GRID + 1e-6
    assert sorted(rests) == rests, "one after the other"
    for _ in range(5000):
        assert pace.rest(now) - now <= param.HTTP_PIECE_SECONDS + Pace.GRID, "no stream starves"
    assert pace.rest(now + 10) - now - 10 == pytest.approx(1 / param.HTTP_PIECES_PER_SECOND), "forgotten"


@pytest.mark.parametrize("direct", [True, False])
def test_both_ways_to_the_socket_say_the_same(direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[int] = []
    push = _Stream.push

    def counted(sink: _Stream, batch: list[Item]) -> None:
        pushed.append(len(batch))
        push(sink, batch)

    monkeypatch.setattr(_Stream, "push", counted)
    if not direct:
        monkeypatch.setattr(_Stream, "ready", property(lambda sink: False))

    async def test(client: Client, runtime: FakeRuntime) -> None:
        process = await runtime.launch(b"wait", {}, LaunchOptions())
        async with client.get(f"/v1/processes/{process.pid}/events") as response:
            for number in range(20):
                await process.log.output(f"{number} é\n")
                await asyncio.sleep(0.003)
            process.released.set()
            text = await response.text()
        words = [line for line in text.splitlines() if line.startswith("data: ")]
        said = "".join(word for word in words if '"text"' in word)
        assert [f"{number} é" in said for number in range(20)] == [True] * 20
        assert text.index('"0 é') < text.index("19 é")
        assert bool(pushed) == direct
        assert 0 not in pushed, "an empty chunk would be the last"
        async with client.head(f"/v1/processes/{process.pid}/events") as response:
            assert response.status == 200
        async with client.get("/healthz") as response:
            assert response.status == 200, "the connection is in step"

    with_server(test)


def test_the_first_token_comes_at_once_however_many_streams_there_are() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        assert client.app is not None
        pace, clock = client.app[PACE], asyncio.get_running_loop().time
        process = await runtime.launch(b"wait", {}, LaunchOptions())
        await eventually(lambda: len(process.log.events) == 2)
        started, first = process.log.events
        process.log.events[1:] = []
        for _ in range(5000):
            pace.rest(clock())
        async with client.get(f"/v1/processes/{process.pid}/events") as response:
            await response.content.readuntil(b"\n\n")
            await asyncio.sleep(0)
            assert started.kind == "start"
            began = clock()
            process.log.add(*first)
            await response.content.readuntil(b"\n\n")
            assert clock() - began < param.HTTP_PIECE_SECONDS / 2
            process.released.set()
            await response.read()

    with_server(test)


@pytest.mark.parametrize("ends", [True, False])
def test_a_client_that_takes_nothing_is_cut_off(ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the stream's end too, and where what is sent to it are signs of life."""
    monkeypatch.setattr(param, "HTTP_STALL_SECONDS", 0.4)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        process = await runtime.launch(b"wait", {}, LaunchOptions())
        url = client.make_url("/")
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(f"GET /v1/processes/{process.pid}/events HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n\r\n".encode())
        await asyncio.sleep(0.05)
        cast("asyncio.Transport", writer.transport).pause_reading()
        if ends:
            process.log.end("result", {"value": "much " * (1 << 20)})
        else:
            process.log.add("log", {"level": "info", "text": "much " * (1 << 20)})
        assert process.log._readers
        async with asyncio.timeout(5):
            while process.log._readers:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.05)
        writer.transport.abort()

    with_server(test, keep_alive=0.3)
