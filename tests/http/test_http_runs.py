"""Running programs over HTTP: one JSON, events, detached; arguments, deadlines, clients that leave."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import pytest
from fake_runtime import FakeRuntime, parse_sse
from server_fixture import Client, error_of, eventually, with_server

from symphony import param
from symphony.http.context import BODIES
from symphony.process.process import State

SSE = {"Accept": "text/event-stream"}


async def upload(client: Client, content: bytes, name: str = "prog") -> None:
    assert (await client.post("/v1/programs", params={"name": name}, data=content)).status == 201


def test_json_run() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await upload(client, b"echo")
        answer = await client.post("/v1/programs/prog/run", json={"prompt": "a b", "n": [1, None]})
        assert answer.status == 200
        body = await answer.json()
        assert set(body) == {"pid", "result", "output", "usage"}
        assert body["result"] == {"prompt": "a b", "n": [1, None]}
        assert (body["pid"], body["output"]) == (1, "a b ")
        assert body["usage"]["generated_tokens"] == 29
        program, _, options = runtime.launched[0]
        assert program == runtime.program("prog").id, "a reference is resolved in the store, never handed on"
        assert options.tenant == "local"

    with_server(test)


def test_event_run() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await upload(client, b"echo")
        answer = await client.post("/v1/programs/prog/run", json={"prompt": "a b"}, headers=SSE)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        assert parse_sse(await answer.text()) == [
            ("start", {"pid": 1}),
            ("output", {"text": "a b "}),
            ("log", {"level": "info", "text": "echoed\ntwo lines"}),
            ("result", {"value": {"prompt": "a b"}}),
        ]

    with_server(test)


def test_one_shot_run() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", params={"args": json.dumps({"prompt": "é\n"})}, data=b"echo")
        assert (await answer.json())["result"] == {"prompt": "é\n"}
        events = await client.post("/v1/run", data=b"complete", headers=SSE)
        assert parse_sse(await events.text())[-1] == ("result", {"value": "Once upon a time"})
        assert [launched[0] for launched in runtime.launched] == [b"echo", b"complete"]

    with_server(test)


def test_a_failing_program_shows_its_traceback_and_what_it_did() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", data=b"fail")
        assert answer.status == 422
        error = await error_of(answer)
        assert error == {
            "code": "program-error",
            "message": "ValueError: no",
            "hint": "look at line 3",
            "traceback": "Traceback\n  line 3\nValueError: no",
        }
        body = await answer.json()
        assert (body["pid"], body["output"], body["usage"]["forwards"]) == (1, "before", 3)
        events = parse_sse(await (await client.post("/v1/run", data=b"fail", headers=SSE)).text())
        assert events[-1] == ("error", error)

    with_server(test)


def test_what_is_not_a_program() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        for headers in ({}, SSE):
            answer = await client.post("/v1/run", data=b"garbage", headers=headers)
            assert answer.status == 422
            assert (await error_of(answer))["code"] == "invalid"

    with_server(test)


def test_values_beyond_json_and_utf8_arrive_framed() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", data=b"odd")
        assert (await answer.json())["result"] == {"nan": None, "big": 2**70, "text": "?"}
        events = parse_sse(await (await client.post("/v1/run", data=b"odd", headers=SSE)).text())
        assert events[1] == ("output", {"text": "a\r\nb\u2028?"})

    with_server(test)


def test_a_result_nested_too_deeply_is_an_error_not_a_torn_answer() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", data=b"deep")
        assert answer.status == 429
        assert "nested" in (await error_of(answer))["message"]
        events = parse_sse(await (await client.post("/v1/run", data=b"deep", headers=SSE)).text())
        assert [kind for kind, _ in events] == ["start", "error"]
        assert events[-1][1]["code"] == "limit-exceeded"

    with_server(test)


def test_timeout() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", params={"timeout": "0.05"}, data=b"wait")
        assert answer.status == 504
        assert (await error_of(answer))["code"] == "timed-out"
        assert runtime.launched[0][2].wall_seconds == 0.05
        await client.post("/v1/run", data=b"echo")
        assert runtime.launched[1][2].wall_seconds == param.DEFAULT_WALL_SECONDS
        for text in ("0", "-1", "nan", "inf", "1e999", "soon", ""):
            bad = await client.post("/v1/run", params={"timeout": text}, data=b"echo")
            assert bad.status == 400, text
            assert "positive number" in (await error_of(bad))["message"]
        assert len(runtime.launched) == 2

    with_server(test)


def test_a_client_may_stand_back_and_come_forward_as_far_as_the_operator_lets_it() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        async def launched(**query: str) -> int:
            assert (await client.post("/v1/run", params=query, data=b"echo")).status == 200
            return runtime.launched[-1][2].nice

        assert await launched() == 0
        for nice in (0, 7, param.NICEST):
            assert await launched(nice=str(nice)) == nice
        runtime.least_nice = -5
        assert [await launched(), await launched(nice="-5")] == [0, -5]
        runtime.least_nice = 3
        assert await launched() == 3, "who says nothing gets what it may have"
        before = len(runtime.launched)
        for nice in ("2", "-20"):
            refused = await client.post("/v1/run", params={"nice": nice}, data=b"echo")
            assert refused.status == 403
            assert "less than 3" in (await error_of(refused))["message"]
        for nice in ("20", "-21", "1.5", "", "-", "--1", "x", "²", "+7", " 7", "9" * 5000):
            bad = await client.post("/v1/run", params={"nice": nice}, data=b"echo")
            assert bad.status == 400, nice
            assert "from -20 to 19" in (await error_of(bad))["message"]
        assert len(runtime.launched) == before

    with_server(test)


def test_detached_runs_outlive_their_client_and_can_be_read_again() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", params={"detach": "1"}, data=b"wait")
        assert (answer.status, await answer.json()) == (202, {"pid": 1})
        assert answer.headers["Location"] == "/v1/processes/1"
        first = await client.get("/v1/processes/1/events")
        assert await first.content.readuntil(b'{"pid":1}\n\n') == (b'id: 1\nevent: start\ndata: {"pid":1}\n\n')
        first.close()
        runtime.process(1).released.set()
        for _ in range(2):
            text = await (await client.get("/v1/processes/1/events")).text()
            assert "".join(data["text"] for kind, data in parse_sse(text) if kind == "output") == "startedlate"
            assert parse_sse(text)[-1] == ("result", {"value": "released"})
        bad = await client.post("/v1/run", params={"detach": "yes"}, data=b"echo")
        assert bad.status == 400

    with_server(test)


@pytest.mark.parametrize("headers", [{}, SSE], ids=["json", "sse"])
def test_a_client_that_leaves_cancels_its_run(headers: dict[str, str]) -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        call = asyncio.create_task(client.post("/v1/run", data=b"wait", headers=headers))
        await eventually(lambda: bool(runtime.processes()))
        if headers:
            (await call).close()
        call.cancel()
        process = runtime.process(1)
        await eventually(lambda: process.state is State.KILLED)
        assert process.error is not None
        assert process.error.code == "cancelled"

    with_server(test)


def test_leaving_in_the_middle_of_a_flood_cancels_it() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", data=b"flood", headers=SSE)
        await answer.content.readany()
        answer.close()
        await eventually(lambda: runtime.process(1).state is State.KILLED)

    with_server(test)


def test_a_client_that_does_not_read_holds_its_program_up() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", data=b"flood", headers=SSE)
        log = runtime.process(1).log
        seen = -1
        while seen != log.output_size:
            seen = log.output_size
            for _ in range(200):
                await asyncio.sleep(0.001)
        assert 0 < seen < param.MAX_OUTPUT_BYTES // 2
        assert runtime.process(1).state is State.RUNNING
        await answer.content.readexactly(3_000_000)
        await eventually(lambda: log.output_size > seen)
        answer.close()

    with_server(test)


def test_silence_is_kept_alive_by_comments() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.post("/v1/run", data=b"wait", headers=SSE)
        for _ in range(3):
            await answer.content.readuntil(b": keep-alive\n\n")
        runtime.process(1).released.set()
        assert parse_sse((await answer.read()).decode())[-1] == ("result", {"value": "released"})

    with_server(test, keep_alive=0.01)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "an array"),
        (b'"text"', "a string"),
        (b"null", "null"),
        (b"true", "a boolean"),
        (b"17", "a number"),
    ],
)
def test_arguments_that_are_not_a_json_object(body: bytes, word: str) -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await upload(client, b"echo")
        answers = [await client.post("/v1/programs/prog/run", data=body)]
        if len(body) < 1000 and body.isascii():
            answers.append(await client.post(f"/v1/run?args={quote(body)}", data=b"echo"))
        for answer in answers:
            assert answer.status == 400
            error = await error_of(answer)
            assert (error["code"], word in error["message"]) == ("invalid", True), error
        assert runtime.launched == []

    with_server(test)


def test_argument_size_and_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_ARGS_BYTES", 100)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        await upload(client, b"echo")
        big = json.dumps({"prompt": "x" * 100})
        for answer in (
            await client.post("/v1/programs/prog/run", data=big.encode()),
            await client.post("/v1/run", params={"args": big}, data=b"echo"),
        ):
            assert answer.status == 413
            assert (await error_of(answer))["code"] == "limit-exceeded"
        for body in (b"", b" \n", b"{}"):
            assert (await (await client.post("/v1/programs/prog/run", data=body)).json())["result"] == {}

    with_server(test)


def test_a_body_that_does_not_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "HTTP_BODY_SECONDS", 0.1)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
        writer.write(b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf of it")
        answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive within 0.1 s" in answer
        writer.close()
        assert runtime.launched == []

    with_server(test)


def test_bodies_in_flight_have_a_limit_of_a_tenant_and_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_BODY_BYTES_PER_TENANT", 1000)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async def half(size: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            """A request that has sent `size` bytes of a body that goes on."""
            reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
            writer.write(b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n" + b"#" * size)
            return reader, writer

        bodies = client.server.app[BODIES]  # type: ignore[attr-defined]
        _, first = await half(600)
        await eventually(lambda: bodies._held.total() == 600)
        reader, second = await half(401)
        refused = await reader.readuntil(b"}}")
        assert refused.startswith(b"HTTP/1.1 429 ")
        assert b"1000 bytes" in refused
        monkeypatch.setattr(param, "MAX_BODY_BYTES_AT_ONCE", 900)
        reader, third = await half(350)
        assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 503 ")
        for writer in (first, second, third):
            writer.close()
        await eventually(lambda: not bodies._held)
        assert (await client.post("/v1/run", data=b"#" * 800 + b"\necho")).status == 200
        running = asyncio.create_task(client.post("/v1/run", data=b"#" * 800 + b"\nwait"))
        await eventually(lambda: len(runtime.processes()) == 2)
        assert not bodies._held, "a running program does not count"
        runtime.process(2).released.set()
        assert (await running).status == 200

    with_server(test)
