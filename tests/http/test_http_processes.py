"""Processes over HTTP: list, look at, kill, read the events of."""

from __future__ import annotations

import asyncio

from fake_runtime import FakeRuntime, parse_sse
from server_fixture import Client, error_of, eventually, with_server

from symphony.process.process import State


async def detached(client: Client, content: bytes) -> int:
    answer = await client.post("/v1/run", params={"detach": "1"}, data=content)
    return (await answer.json())["pid"]


def test_list_and_show() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        assert await (await client.get("/v1/processes")).json() == {"processes": []}
        pid = await detached(client, b"wait")
        process = runtime.process(pid)
        await eventually(lambda: process.output == "started")
        process.session = await runtime.write("/f", "x" * 40)
        fields = {"pid": pid, "program": "wait", "tenant": "local", "nice": 0, "state": "running", "started": 1000.0}
        fields |= {"usage": process.usage._asdict(), "waits_for": ["tool"], "operations": []}
        fields |= {"files": 1, "pages": {"device": 3, "host": 0}}
        assert await (await client.get("/v1/processes")).json() == {"processes": [fields]}
        assert await (await client.get(f"/v1/processes/{pid}")).json() == {**fields, "output": "started"}

    with_server(test)


def test_kill_ends_and_is_idempotent() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        pid = await detached(client, b"wait")
        events = asyncio.create_task(client.get(f"/v1/processes/{pid}/events"))
        for _ in range(2):
            killed = await client.delete(f"/v1/processes/{pid}")
            assert killed.status == 200
            assert (await killed.json())["state"] == "killed"
        assert runtime.process(pid).state is State.KILLED
        kind, data = parse_sse(await (await events).text())[-1]
        assert (kind, data["code"]) == ("error", "cancelled")

    with_server(test)


def test_a_killed_run_tells_its_waiting_client() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        run = asyncio.create_task(client.post("/v1/run", data=b"wait"))
        await eventually(lambda: bool(runtime.processes()))
        await client.delete("/v1/processes/1")
        assert (await run).status == 499
        assert (await error_of(await run))["code"] == "cancelled"

    with_server(test)


def test_a_reader_that_leaves_does_not_disturb_the_process() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        pid = await detached(client, b"wait")
        reader = await client.get(f"/v1/processes/{pid}/events")
        await reader.content.readuntil(b"\n\n")
        process = runtime.process(pid)
        assert len(process.log._readers) == 1
        reader.close()
        await eventually(lambda: not process.log._readers)
        assert process.state is State.RUNNING

    with_server(test)


def test_unknown_pids() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        for pid in ("7", "0", "-1", "x", "1.0", "%C2%B2", "9" * 30):
            for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
                answer = await client.request(method, f"/v1/processes/{pid}{path}")
                assert answer.status == 404
                assert (await error_of(answer))["code"] == "not-found"

    with_server(test)


def test_stopping_the_server_ends_streams_with_an_error_event() -> None:
    streams = []

    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", data=b"wait", headers={"Accept": "text/event-stream"})
        streams.append(asyncio.create_task(answer.text()))
        await client.server.close()
        kind, data = parse_sse(await streams[0])[-1]
        assert (kind, data["code"]) == ("error", "cancelled")

    with_server(test)
