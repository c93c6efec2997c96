"""Processes over HTTP: list, look at, kill, read the events of."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_runtime import FakeRuntime, parse_sse
from server_fixture import Client, error_of, eventually, with_server

from symphony import param
from symphony.http import processes
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
        fields: dict[str, Any] = {"pid": pid, "parent": None}
        fields |= {"program": "wait", "tenant": "local", "nice": 0, "state": "running", "started": 1000.0}
        fields |= {"usage": process.usage._asdict(), "waits_for": ["tool"], "operations": []}
        fields |= {"files": 1, "pages": {"device": 3, "host": 0}}
        assert await (await client.get("/v1/processes")).json() == {"processes": [fields]}
        assert await (await client.get(f"/v1/processes/{pid}")).json() == {**fields, "output": "started"}

    with_server(test)


def test_looking_at_many_files_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing looks at so many entries of page tables for all processes; status and metrics at none."""
    monkeypatch.setattr(processes, "MAX_SURVEY_PAGES", 7)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        for n in range(2):
            process = runtime.process(await detached(client, b"wait"))
            process.session = await runtime.write(f"/{n}", "x" * 32)
            file = await runtime.core.open(process.session, None, f"/{n}")
            await runtime.core.fork(process.session, file)
        listed = (await (await client.get("/v1/processes")).json())["processes"]
        assert [fields["pages"]["device"] for fields in listed] == [2, 6]  # the second's are not told apart any more
        shown = await (await client.get("/v1/processes/2")).json()
        assert shown["pages"]["device"] == 2
        monkeypatch.setattr(runtime, "view", None)
        for pid in (1, 2):
            del runtime.process(pid).usage
        assert (await client.get("/v1/status")).status == 200
        assert (await client.get("/metrics")).status == 200

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


def test_a_reader_goes_on_where_it_was() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        pid = await detached(client, b"complete")
        await eventually(lambda: runtime.process(pid).state is State.DONE)
        url = f"/v1/processes/{pid}/events"
        [start, output, result] = parse_sse(await (await client.get(url)).text())
        assert (start[0], output[1]["text"], result[0]) == ("start", "Once upon a time", "result")
        ways: list[tuple[dict[str, str], dict[str, str], list[Any]]] = [
            ({"after": "0"}, {}, [start, output, result]),
            ({"after": "1"}, {}, [output, result]),
            ({"after": "2"}, {}, [("output", {"text": " upon a time"}), result]),
            ({}, {"Last-Event-ID": "3"}, [("output", {"text": " a time"}), result]),
            ({"after": "4"}, {"Last-Event-ID": "1"}, [result]),
        ]
        for query, headers, expected in ways:
            answer = await client.get(url, params=query, headers=headers)
            assert parse_sse(await answer.text()) == expected, (query, headers)
        assert await (await client.get(url, params={"after": "5"})).text() == ""
        for query, headers in (({"after": "6"}, {}), ({"after": "-1"}, {}), ({}, {"Last-Event-ID": "x"})):
            bad = await client.get(url, params=query, headers=headers)
            assert bad.status == 400
            assert (await error_of(bad))["code"] == "invalid"

    with_server(test)


def test_a_reader_that_goes_on_late_is_not_behind() -> None:
    """What it has had does not count as unread, so that its process is not held up for it."""

    async def test(client: Client, runtime: FakeRuntime) -> None:
        pid = await detached(client, b"flood")
        log = runtime.process(pid).log
        await eventually(lambda: log.output_size > 2 * param.MAX_OUTPUT_BACKLOG)
        answer = await client.get(f"/v1/processes/{pid}/events", params={"after": str(len(log.events) - 1)})
        await answer.content.readany()
        before = log.output_size
        await eventually(lambda: log.output_size > before + param.MAX_OUTPUT_BACKLOG // 4)
        await client.delete(f"/v1/processes/{pid}")
        answer.close()

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
