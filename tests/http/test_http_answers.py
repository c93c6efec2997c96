"""Answers that clients do not take, and requests that are too many."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import msgspec
import pytest
from fake_runtime import FakeProcess, FakeRuntime
from server_fixture import Client, error_of, eventually, with_server

from symphony import param
from symphony.http.bodies import Bodies
from symphony.http.context import BODIES
from symphony.process.process import LaunchOptions


async def wordy(client: Client, runtime: FakeRuntime, size: int) -> FakeProcess:
    """A process that has written so much."""
    answer = await client.post("/v1/run", params={"detach": "1"}, data=b"wait")
    process = runtime.process((await answer.json())["pid"])
    await process.log.output("x" * size)
    return process


def test_who_does_not_take_an_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "HTTP_STALL_SECONDS", 0.3)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        process, size = await wordy(client, runtime, 32 << 20), 32 << 20
        bodies = cast("Bodies", client.server.app[BODIES])  # type: ignore[attr-defined]
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            await asyncio.get_running_loop().sock_connect(lazy, (client.host, client.port))
            lazy.sendall(b"GET /v1/processes/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % process.pid)
            await eventually(lambda: bodies._held["local"] > size)
            await eventually(lambda: not bodies._held)
        whole = await client.get(f"/v1/processes/{process.pid}")  # who reads is served
        assert len((await whole.json())["output"]) > size
        assert not bodies._held

    with_server(test)


def test_answers_that_are_not_taken_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_BODY_BYTES_PER_TENANT", 100_000)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        process = await wordy(client, runtime, 90_000)
        assert (await client.get(f"/v1/processes/{process.pid}")).status == 200
        await process.log.output("x" * 20_000)
        answer = await client.get(f"/v1/processes/{process.pid}")
        assert answer.status == 429
        assert (await error_of(answer))["code"] == "limit-exceeded"

    with_server(test)


@pytest.mark.parametrize("websocket", [False, True])
def test_results_on_streams_have_the_same_limit(websocket: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_BODY_BYTES_PER_TENANT", 100_000)

    async def events(client: Client, runtime: FakeRuntime, size: int) -> str:
        """Of a process with such a result, as they came."""
        process = await runtime.launch(b"wait", {}, LaunchOptions())
        path = f"/v1/processes/{process.pid}/events"
        if not websocket:
            async with client.get(path) as answer:
                process.log.end("result", {"value": "x" * size})
                return await answer.text()
        async with client.ws_connect("/v1/ws") as socket:
            asked = {"do": "call", "id": 1, "method": "GET", "path": path, "body": None, "events": True}
            await socket.send_bytes(msgspec.msgpack.encode(asked))
            process.log.end("result", {"value": "x" * size})
            said = ""
            while "status" not in (frame := msgspec.msgpack.decode(await socket.receive_bytes())):
                said += str(frame)
            return said

    async def test(client: Client, runtime: FakeRuntime) -> None:
        assert "x" * 90_000 in await events(client, runtime, 90_000)
        said = await events(client, runtime, 200_000)
        assert "xxx" not in said
        assert "limit-exceeded" in said
        assert said.index("start") < said.index("limit-exceeded")
        assert not cast("Bodies", client.server.app[BODIES])._held  # type: ignore[attr-defined]

    with_server(test)


def test_a_tenant_has_so_many_requests_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_REQUESTS_PER_TENANT", 2)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        process = await wordy(client, runtime, 10)
        streams = [await client.get(f"/v1/processes/{process.pid}/events") for _ in range(2)]
        answer = await client.get("/v1/processes")
        assert answer.status == 429
        assert "2 requests of local" in (await error_of(answer))["message"]
        assert (await client.get("/healthz")).status == 200
        streams[0].close()
        while (await client.get("/v1/processes")).status != 200:  # noqa: ASYNC110 - until the server has seen it
            await asyncio.sleep(0.001)

    with_server(test)
