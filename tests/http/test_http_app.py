"""What holds for every route: the error shape, the loopback guard, models, health."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from fake_runtime import FakeRuntime
from server_fixture import Client, error_of, with_server

from symphony.access.gate import Gate
from symphony.access.identity import Role
from symphony.access.keys import KeyFile
from symphony.errors import Invalid, LimitExceeded, Unavailable
from symphony.host import Runtime
from symphony.http.app import create_app
from symphony.http.guard import check_bind, is_loopback
from symphony.http.server import bind, url_of
from symphony.http.wire import encode


def test_unknown_routes_and_methods() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        for path in ("/", "/v1", "/v1/programs/a/b/c", "/v1/nothing", "/v1//programs", "/v1/programs/../../etc/passwd"):
            answer = await client.get(path)
            assert answer.status == 404, path
            assert (await error_of(answer))["code"] == "not-found"
        for method, path in (("PUT", "/v1/programs"), ("GET", "/v1/run"), ("PATCH", "/v1/processes/1")):
            answer = await client.request(method, path)
            assert answer.status == 405
            error = await error_of(answer)
            assert error["code"] == "invalid"
            assert answer.headers["Allow"] in error["hint"]

    with_server(test)


def test_bodies_that_do_not_unpack_and_expectations_that_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        for packing in ("gzip", "deflate"):
            answer = await client.post(
                "/v1/run", data=b"no such thing", headers={"Content-Encoding": packing, "Connection": "close"}
            )
            assert answer.status == 400
            assert (await error_of(answer))["code"] == "invalid"
        assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
        assert (await client.get("/healthz", headers={"Expect": "foo"})).status == 200
        met = await client.post("/v1/run", data=b"complete", expect100=True)
        assert (await met.json())["result"] == "Once upon a time"

    with_server(test)


def test_expectations_come_after_the_key(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    keys.add("acme", "ann", [Role.RUN])

    async def test(client: Client, runtime: FakeRuntime) -> None:
        answer = await client.get("/v1/programs", headers={"Expect": "foo"})
        assert answer.status == 401
        assert (await error_of(answer))["code"] == "permission-denied"

    with_server(test, gate=Gate(keys))


def test_a_deep_value_with_half_a_character() -> None:
    for depth in range(300, 1000, 50):
        value: Any = "\ud800"
        for _ in range(depth):
            value = [value]
        with suppress(LimitExceeded):
            assert encode(value) == b"[" * depth + b'"?"' + b"]" * depth


def test_a_bug_is_logged_with_its_stack_and_shown_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        monkeypatch.setattr(runtime, "programs", lambda **_: 1 / 0)  # type: ignore[reportUnknownLambdaType]
        answer = await client.get("/v1/programs")
        assert answer.status == 500
        error = await error_of(answer)
        assert error["code"] == "internal"
        assert "division" not in str(error)
        assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)
        assert (await client.get("/healthz")).status == 200

    with caplog.at_level(logging.ERROR):
        with_server(test)


def test_models_and_health() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        models = await (await client.get("/v1/models")).json()
        assert models["object"] == "list"
        assert [(m["id"], m["object"], m["context_limit"]) for m in models["data"]] == [("tiny", "model", 1024)]
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 200
        runtime.broken = "the device hangs"
        asked = runtime.asked_ready
        assert (await client.get("/healthz")).status == 200
        assert runtime.asked_ready == asked, "alive does not mean that a model works"
        late = await client.get("/readyz")
        assert late.status == 503
        assert await error_of(late) == {"code": "unavailable", "message": "the device hangs", "hint": "mend it"}

    with_server(test)


def test_the_models_are_tried_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with FakeRuntime() as runtime:
            runtime.broken = "the device hangs"
            async with TestClient(TestServer(create_app(cast("Runtime", runtime)))) as client:
                assert runtime.asked_ready == 1
                assert (await client.get("/healthz")).status == 200

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records] == ["not ready: the device hangs (mend it)"]


def test_web_pages_from_elsewhere_are_refused() -> None:
    hostile = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://[::1"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8080"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "169.254.169.254"},
        {"Host": ""},
    ]
    friendly = [
        {},
        {"Host": "localhost:1"},
        {"Host": "127.0.0.1"},
        {"Host": "[::1]:8080"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1"},
    ]

    async def test(client: Client, runtime: FakeRuntime) -> None:
        for headers in hostile:
            answer = await client.post("/v1/run", data=b"echo", headers=headers)
            assert answer.status == 403, headers
            assert (await error_of(answer))["code"] == "permission-denied"
        assert runtime.launched == []
        for headers in friendly:
            assert (await client.post("/v1/run", data=b"echo", headers=headers)).status == 200, headers

    with_server(test)


def test_raw_garbage_does_not_disturb_the_server() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        host, port = client.server.host, client.server.port
        assert port is not None
        for garbage in (
            b"\x00\xff\r\n\r\n",
            b"POST /v1/run HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
            b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            b"GET /v1/programs/" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        ):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(garbage)
            writer.write_eof()
            assert b" 200 " not in (await reader.read()).split(b"\r\n")[0]
            writer.close()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf of a body")
        writer.close()
        assert (await client.get("/healthz")).status == 200
        assert runtime.launched == []

    with_server(test)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "", "127.0.0.1.example.com"])
def test_serving_others_without_keys_is_refused(host: str) -> None:
    with pytest.raises(Invalid, match="without keys"):
        check_bind(host)
    with pytest.raises(Invalid, match="without keys"):
        bind(host, 0)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1"])
def test_loopback_addresses(host: str) -> None:
    assert is_loopback(host)
    check_bind(host)


def test_a_taken_port_names_the_fix() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert url_of(first) == f"http://127.0.0.1:{port}"
        with pytest.raises(Unavailable, match=f"port {port} .* in use") as caught:
            bind("127.0.0.1", port)
        assert "--port" in caught.value.hint


def test_a_port_that_is_not_ours_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(Invalid, match="port 80: Permission denied"):
        bind("127.0.0.1", 80)
