"""The WebSocket: calls beside each other, streams with windows, and frames that are none."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import socket
import struct
from pathlib import Path
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET
from typing import Any

import aiohttp
import msgspec
import pytest
from fake_runtime import FakeRuntime
from server_fixture import Client, eventually, with_server

from symphony import frames, param
from symphony.access.gate import Gate
from symphony.access.identity import Role
from symphony.access.keys import KeyFile
from symphony.http import ws
from symphony.http.context import BODIES, SOCKETS
from symphony.process.process import LaunchOptions, State


def packed(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def call(ident: int, method: str, path: str, body: Any = None, **more: Any) -> bytes:
    return packed({"do": "call", "id": ident, "method": method, "path": path, "body": body, **more})


async def answer(socket: aiohttp.ClientWebSocketResponse, ident: int | None = None) -> dict[str, Any]:
    """The next frame, or the next of one call."""
    while True:
        frame = msgspec.msgpack.decode(await socket.receive_bytes())
        if ident is None or frame["id"] == ident:
            return frame


async def closing(socket: aiohttp.ClientWebSocketResponse) -> tuple[int, str]:
    """Code and reason with which the server closes."""
    message = await socket.receive()
    assert message.type is aiohttp.WSMsgType.CLOSE, message
    return message.data, message.extra or ""


def test_calls_are_the_routes() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_bytes(call(1, "POST", "/v1/programs", b"echo", query={"name": "prog"}))
            stored = await answer(socket)
            assert (stored["id"], stored["status"], stored["body"]["name"]) == (1, 201, "prog")
            assert stored["headers"]["Location"] == f"/v1/programs/{stored['body']['id']}"
            await socket.send_bytes(call(2, "POST", "/v1/programs/prog/run", {"prompt": "a b", "n": [1, None]}))
            ran = await answer(socket)
            assert (ran["status"], ran["body"]["output"]) == (200, "a b ")
            assert ran["body"]["result"] == {"prompt": "a b", "n": [1, None]}
            await socket.send_bytes(call(3, "DELETE", "/v1/programs/prog"))
            assert await answer(socket) == {"id": 3, "status": 204, "body": None}
            await socket.send_bytes(call(4, "POST", "/v1/run", b"fail"))
            failed = await answer(socket)
            assert (failed["status"], failed["body"]["error"]["message"]) == (422, "ValueError: no")
            await socket.send_bytes(call(5, "GET", "/v1/fs/%e2%82%ac"))
            assert "/€" in (await answer(socket))["body"]["error"]["message"]

    with_server(test)


def test_arrays_of_tokens_are_words() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        session = await runtime.write("/f", "some text of more than sixteen tokens")
        assert session >= 0
        tokens = list(range(70_000, 70_020))
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_bytes(call(1, "GET", "/v1/fs/f", query={"what": "tokens"}))
            sent = (await answer(socket))["body"]["tokens"]
            assert struct.unpack(f"<{len(sent) // 4}I", sent) == tuple(b"some text of more than sixteen tokens")
            words = struct.pack("<20I", *tokens)
            await socket.send_bytes(call(2, "POST", "/v1/programs", b"echo", query={"name": "prog"}))
            await answer(socket)
            await socket.send_bytes(call(3, "POST", "/v1/programs/prog/run", {"tokens": words}))
            assert (await answer(socket))["body"]["result"] == {"tokens": words}
            assert runtime.launched[-1][1] == {"tokens": tokens}, "the program sees integers"

    with_server(test)


def test_streams_beside_each_other_and_what_ends_them() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_bytes(call(1, "POST", "/v1/run", b"wait", events=True))
            first = await answer(socket)
            while len(first["events"]) < 2:
                first["events"] += (await answer(socket))["events"]
            assert first["events"] == [[1, "start", {"pid": 1}], [2, "output", {"text": "started"}]]
            await socket.send_bytes(call(2, "POST", "/v1/run", b"complete", events=True))
            beside: list[Any] = []
            while "status" not in (frame := await answer(socket, 2)):
                beside += frame["events"]
            assert (frame["status"], frame["body"]) == (200, None)
            assert beside[-1][1:] == ["result", {"value": "Once upon a time"}]
            await socket.send_bytes(packed({"do": "cancel", "id": 1}))
            ended = await answer(socket, 1)
            assert (ended["status"], ended["body"]["error"]["code"]) == (499, "cancelled")
            assert runtime.process(1).state is State.KILLED
            await socket.send_bytes(call(1, "GET", "/v1/processes/1/events", query={"after": "2"}, events=True))
            [[at, kind, data]] = (await answer(socket, 1))["events"]
            assert (at, kind, data["code"]) == (3, "error", "cancelled")
            await socket.send_bytes(packed({"do": "cancel", "id": 77}))
            await socket.send_bytes(packed({"do": "more", "id": 77}))
            await socket.send_bytes(call(3, "GET", "/healthz"))
            assert (await answer(socket, 3))["status"] == 200

    with_server(test)


def test_a_connection_that_ends_takes_its_runs_along_but_not_those_that_are_detached() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_bytes(call(1, "POST", "/v1/run", b"wait", events=True))
            await socket.send_bytes(call(2, "POST", "/v1/run", b"wait"))
            await socket.send_bytes(call(3, "POST", "/v1/run", b"wait", query={"detach": "1"}))
            pid = (await answer(socket, 3))["body"]["pid"]
            await eventually(lambda: len(runtime.processes()) == 3)
        await eventually(lambda: sum(process.state is State.KILLED for process in runtime.processes()) == 2)
        assert runtime.process(pid).state is State.RUNNING

    with_server(test)


def test_a_stream_with_a_window_that_nobody_takes_holds_up_its_program_only() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_bytes(call(1, "POST", "/v1/run", b"flood", events=True, window=2))
            taken = [await answer(socket, 1) for _ in range(2)]
            log = runtime.process(1).log
            await eventually(lambda: log.stalled)
            held = log.output_size
            for ident in range(2, 30):
                await socket.send_bytes(call(ident, "POST", "/v1/run", b"complete"))
                assert (await answer(socket))["id"] == ident, "the flood's next frame is not on its way"
            assert log.output_size == held
            assert held < 2 * param.MAX_OUTPUT_BACKLOG
            await socket.send_bytes(packed({"do": "more", "id": 1, "frames": len(taken)}))
            assert (await answer(socket, 1))["events"]
            await eventually(lambda: log.output_size > held)

    with_server(test)


def test_a_client_of_a_stream_that_takes_nothing_for_too_long_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "HTTP_STALL_SECONDS", 0.1)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_bytes(call(1, "POST", "/v1/run", b"flood", events=True, window=1))
            await eventually(lambda: bool(runtime.processes()) and runtime.process(1).state is State.KILLED)
        answer = await client.post("/v1/run", data=b"flood", headers={"Accept": "text/event-stream"})
        await eventually(lambda: runtime.process(2).state is State.KILLED)
        answer.close()

    with_server(test, keep_alive=0.02)


def test_a_window_that_stays_shut_ends_its_own_call_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "HTTP_STALL_SECONDS", 0.1)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_bytes(call(1, "POST", "/v1/run", b"wait"))
            await eventually(lambda: bool(runtime.processes()))
            await socket.send_bytes(call(2, "POST", "/v1/run", b"flood", events=True, window=1))
            assert (await answer(socket))["events"]
            late = await answer(socket)
            assert (late["id"], late["status"], late["body"]["error"]["code"]) == (2, 504, "timed-out")
            assert [process.state for process in runtime.processes()] == [State.RUNNING, State.KILLED]
            runtime.process(1).released.set()
            assert (await answer(socket, 1))["status"] == 200

    with_server(test, keep_alive=0.02)


def test_who_answers_no_ping_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "HTTP_STALL_SECONDS", 0.05)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws", autoping=False) as mute, client.ws_connect("/v1/ws") as alive:
            await mute.send_bytes(call(1, "POST", "/v1/run", b"wait"))
            reading = asyncio.ensure_future(answer(alive))  # which answers pings
            await eventually(lambda: bool(runtime.processes()) and runtime.process(1).state is State.KILLED)
            await asyncio.sleep(0.2)
            await alive.send_bytes(call(1, "GET", "/healthz"))
            assert (await reading)["status"] == 200

    with_server(test)


def test_large_answers_that_nobody_takes_are_bounded_in_bytes_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 256 << 10
    monkeypatch.setattr(param, "MAX_BODY_BYTES_PER_TENANT", 8 * size)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        process = await runtime.launch(b"wait", {}, LaunchOptions())
        for _ in range(4):
            await process.log.output("x" * (size // 4))
        bodies, sockets = client.server.app[BODIES], client.server.app[SOCKETS]  # type: ignore[attr-defined]
        async with client.ws_connect("/v1/ws", max_msg_size=0) as socket:
            [connection] = sockets
            for end in (socket, connection._request.transport):  # so that the kernel takes little
                for option in (SO_SNDBUF, SO_RCVBUF):
                    end.get_extra_info("socket").setsockopt(SOL_SOCKET, option, 64 << 10)
            for ident in range(16):
                await socket.send_bytes(call(ident, "GET", "/v1/processes/1"))
            statuses = [(await answer(socket))["status"] for _ in range(16)]
            assert {200, 429} == set(statuses), "what is in flight has a limit, and what was taken is given back"
            assert not bodies._held
            monkeypatch.setattr(param, "HTTP_STALL_SECONDS", 0.3)
            socket._reader._protocol.pause_reading()  # type: ignore[union-attr]
            for ident in range(16):
                await socket.send_bytes(call(ident, "GET", "/v1/processes/1"))
            await eventually(lambda: bodies._held["local"] > 0)
            assert bodies._held["local"] <= 8 * size
            await eventually(lambda: not sockets)
            assert not bodies._held["local"]
            socket._reader._protocol.resume_reading()  # type: ignore[union-attr]  # to see that it was closed

    with_server(test)


def test_too_many_calls_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_SOCKET_CALLS", 2)
    monkeypatch.setattr(param, "MAX_FRAME_BYTES", 1000)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            for ident in (1, 2, 3):
                await socket.send_bytes(call(ident, "POST", "/v1/run", b"wait"))
            refused = await answer(socket)
            assert (refused["id"], refused["status"]) == (3, 429)
            await socket.send_bytes(packed({"do": "cancel", "id": 1}))
            await answer(socket, 1)
            await socket.send_bytes(call(4, "POST", "/v1/run", b"#" * 940))
            assert (await answer(socket, 4))["status"] == 429
            await socket.send_bytes(call(5, "POST", "/v1/run", b"echo"))
            assert (await answer(socket, 5))["status"] == 200
            await socket.send_bytes(bytes(1001))
            assert (await closing(socket))[0] == 1009
        await eventually(lambda: all(process.state.ended for process in runtime.processes()))

    with_server(test)


def test_one_socket_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_SOCKETS", 1)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await client.ws_connect("/v1/ws")
            assert caught.value.status == 503
        for _ in range(1000):  # until the server has seen that the first is closed
            try:
                socket = await client.ws_connect("/v1/ws")
                break
            except aiohttp.WSServerHandshakeError:
                await asyncio.sleep(0.001)
        else:
            pytest.fail("the first one's place is never free")
        await socket.close()

    with_server(test)


def test_one_socket_too_many_of_a_tenant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(param, "MAX_SOCKETS_PER_TENANT", 1)
    keys = KeyFile(tmp_path / "keys.json")
    acme, beta = ({"Authorization": f"Bearer {keys.add(tenant, tenant, [Role.RUN])[1]}"} for tenant in ("acme", "beta"))

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws", headers=acme):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await client.ws_connect("/v1/ws", headers=acme)
            assert caught.value.status == 429
            async with client.ws_connect("/v1/ws", headers=beta) as socket:
                await socket.send_bytes(call(1, "GET", "/v1/models"))
                assert (await answer(socket))["status"] == 200

    with_server(test, gate=Gate(keys))


def test_a_body_that_nobody_reads_does_not_hold_up_the_connection() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            for ident in range(3):
                await socket.send_bytes(call(ident, "GET", "/healthz", bytes(3 << 20)))
                assert (await answer(socket))["status"] == 200

    with_server(test)


BROKEN = {
    "nothing": (b"", 1007, "truncated"),
    "no map": (packed([1, 2]), 1007, "object"),
    "truncated": (call(1, "GET", "/healthz")[:-1], 1007, "truncated"),
    "trailing": (call(1, "GET", "/healthz") + b"\0", 1007, "trailing"),
    "reserved": (b"\xc1", 1007, "not a frame"),
    "unknown verb": (packed({"do": "stop", "id": 1}), 1007, "stop"),
    "no verb": (packed({"id": 1, "method": "GET", "path": "/healthz"}), 1007, "do"),
    "no id": (packed({"do": "call", "method": "GET", "path": "/healthz"}), 1007, "id"),
    "a text for an id": (packed({"do": "cancel", "id": "1"}), 1007, "$.id"),
    "an id below zero": (call(-1, "GET", "/healthz"), 1008, "id"),
    "an unknown member": (packed({"do": "cancel", "id": 1, "why": 2}), 1007, "why"),
    "a query of numbers": (call(1, "GET", "/healthz", query={"a": 1}), 1007, "$.query"),
    "not utf-8": (call(1, "GET", "/healthz")[:-1] + b"\xa1\xff", 1007, "UTF-8"),
    "deep": (call(1, "GET", "/healthz")[:-1] + b"\x91" * 10_000 + b"\xc0", 1007, "deep"),
    "four billion items": (call(1, "GET", "/healthz")[:-1] + b"\xdd\xff\xff\xff\xff", 1007, "truncated"),
    "four gigabytes": (call(1, "GET", "/healthz")[:-1] + b"\xc6\xff\xff\xff\xff", 1007, "truncated"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_frame_that_is_none_closes_with_a_reason(name: str) -> None:
    data, code, word = BROKEN[name]

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_bytes(data)
            closed, reason = await closing(socket)
            assert (closed, word in reason) == (code, True), reason
        assert (await client.get("/healthz")).status == 200

    with_server(test)


def test_texts_and_ids_in_use_close_too() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_str("{}")
            assert await closing(socket) == (1003, "frames are msgpack, in binary messages")
        async with client.ws_connect("/v1/ws") as socket:
            for _ in range(2):
                await socket.send_bytes(call(7, "POST", "/v1/run", b"wait"))
            assert await closing(socket) == (1008, "the call 7 has not ended yet")
        await eventually(lambda: all(process.state.ended for process in runtime.processes()))

    with_server(test)


BAD_CALLS: dict[str, tuple[dict[str, Any], int]] = {
    "no route": ({"path": "/v1/nothing"}, 404),
    "no method": ({"method": "BREW", "path": "/v1/programs"}, 405),
    "a query that is not known": ({"path": "/v1/programs", "query": {"a": "b"}}, 400),
    "a URL": ({"path": "http://evil.example/v1/programs"}, 400),
    "a query in the path": ({"path": "/v1/programs?name=x"}, 400),
    "a line break": ({"path": "/v1/programs\r\nHost: evil"}, 400),
    "spaces": ({"path": "/v1/a b"}, 400),
    "an empty path": ({"path": ""}, 400),
    "a small method": ({"method": "get", "path": "/healthz"}, 400),
    "a WebSocket": ({"path": "/v1/ws"}, 400),
    "words of three bytes": ({"method": "POST", "path": "/v1/programs/p/run", "body": {"a": b"abc"}}, 400),
    "keys of numbers": ({"method": "POST", "path": "/v1/programs/p/run", "body": {1: 2}}, 400),
    "not a number": ({"method": "POST", "path": "/v1/programs/p/run", "body": {"a": float("nan")}}, 400),
    "an extension": ({"method": "POST", "path": "/v1/programs/p/run", "body": msgspec.msgpack.Ext(5, b"x")}, 400),
    "an array": ({"method": "POST", "path": "/v1/programs/p/run", "body": [1]}, 400),
}


BULKY: dict[str, tuple[dict[str, Any], str]] = {
    "a value of 4 MiB": ({"body": {"a": "x" * (3 << 20)}}, "larger than 1048576 bytes"),
    "a million values": ({"body": [[]] * 1_000_000}, "more than 131072 values"),
    "a deep million": ({"body": {"a": [{"b": [1, "x" * 8, 2.5, None]}] * 20_000}}, "more than 131072 values"),
    "a long path": ({"path": "/" + "x" * 10_000}, "path"),
    "a long query": ({"query": {"args": "x" * (1 << 21)}}, "query"),
    "a wide query": ({"query": {f"a{n}": "" for n in range(1000)}}, "query"),
}


def test_what_is_costly_to_unpack_is_refused() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        assert (await client.post("/v1/programs?name=p", data=b"echo")).status == 201
        async with client.ws_connect("/v1/ws") as socket:
            for ident, (name, (members, word)) in enumerate(BULKY.items()):
                frame = {"do": "call", "id": ident, "method": "POST", "path": "/v1/programs/p/run", **members}
                await socket.send_bytes(packed(frame))
                refused = await answer(socket, ident)
                assert refused["status"] in (400, 413, 429), (name, refused)
                assert word in refused["body"]["error"]["message"], (name, refused)
            few: dict[str, list[Any]] = {
                "a": [[{"b": n, "c": "ü" * n, "d": [2.5, None, -n, n * 1000]} for n in range(300)]]
            }
            few["a"].append(["x" * 70_000, 1 << 60, -(1 << 60), True, *[{str(n): n for n in range(20)}] * 3])
            await socket.send_bytes(call(99, "POST", "/v1/programs/p/run", few))
            assert frames.unpacked((await answer(socket, 99))["body"])["result"] == few
        assert len(runtime.launched) == 1

    with_server(test)


def test_nothing_of_a_body_is_unpacked_for_those_who_may_not_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = {"Authorization": f"Bearer {keys.add('acme', 'ann', [Role.UPLOAD])[1]}"}
    unpacked: list[msgspec.Raw] = []
    monkeypatch.setattr(frames, "body_of", lambda body, most: unpacked.append(body))  # type: ignore[reportUnknownLambdaType]

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws", headers=key) as socket:
            await socket.send_bytes(call(1, "POST", "/v1/programs/p/run", [[]] * 1000))
            assert (await answer(socket))["status"] == 403
        assert unpacked == []

    with_server(test, gate=Gate(keys))


def test_bad_calls_are_answered_and_disturb_nothing() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        assert (await client.post("/v1/programs?name=p", data=b"echo")).status == 201
        async with client.ws_connect("/v1/ws") as socket:
            for ident, (name, (members, status)) in enumerate(BAD_CALLS.items()):
                await socket.send_bytes(packed({"do": "call", "id": ident, "method": "GET", **members}))
                frame = await answer(socket, ident)
                assert frame["status"] == status, (name, frame)
                error = frame["body"]["error"]
                assert error["message"], name
                assert (error["code"] == "internal") is False, name
        assert runtime.launched == []

    with_server(test)


def test_the_guard_sees_the_handshake_and_plain_requests_learn_what_to_do() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await client.ws_connect("/v1/ws", headers=headers)
            assert caught.value.status == 403
        plain = await client.get("/v1/ws")
        assert plain.status == 400
        assert "WebSocket" in (await plain.json())["error"]["message"]

    with_server(test)


def test_values_beyond_json_and_utf8() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws") as socket:
            await socket.send_bytes(call(1, "POST", "/v1/run", b"odd"))
            assert (await answer(socket))["body"]["result"] == {"nan": None, "big": float(2**70), "text": "?"}
            await socket.send_bytes(call(2, "POST", "/v1/run", b"deep"))
            assert (await answer(socket))["body"]["error"]["code"] == "limit-exceeded"
            await socket.send_bytes(call(3, "POST", "/v1/run", b"deep", events=True))
            events: list[Any] = []
            while "status" not in (frame := await answer(socket)):
                events += frame["events"]
            assert events[-1][1] == "error"

    with_server(test)


def test_stopping_the_server_ends_streams_and_says_so() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        socket = await client.ws_connect("/v1/ws")
        await socket.send_bytes(call(1, "POST", "/v1/run", b"wait", events=True))
        await answer(socket)
        stopping = asyncio.create_task(client.server.close())
        kinds: list[str] = []
        while "status" not in (frame := await answer(socket)):
            kinds += [kind for _, kind, _ in frame["events"]]
        assert kinds[-1] == "error"
        assert await closing(socket) == (1001, "the server ends")
        await stopping

    with_server(test)


HANDSHAKE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)


def masked(payload: bytes, first: int = 0x82) -> bytes:
    """A client's frame on the wire, its mask all zeros."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([first]) + length + bytes(4) + payload


async def outcome(host: str, port: int, wire: bytes) -> tuple[int, bytes] | bytes:
    """What the server does on a new connection with these bytes behind the handshake: the code and the reason of its
    close, or the first frame that it sends otherwise; b"" if it just hangs up."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(HANDSHAKE + wire)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        try:
            first, size = await reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2), "big")
            payload = await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        return (int.from_bytes(payload[:2], "big"), payload[2:]) if first & 15 == 8 else payload
    finally:
        writer.close()


def mutations(seed: int) -> bytes:
    """Bytes behind a handshake that hold no good call: damaged frames of ours, and of RFC 6455."""
    draw = random.Random(seed)
    good = call(draw.randrange(1000), "POST", "/v1/run", {"prompt": "x" * draw.randrange(40), "n": [1, 2.5, None]})
    match draw.randrange(8):
        case 0:
            return masked(good[: draw.randrange(len(good))])
        case 1:
            return masked(draw.randbytes(draw.randrange(1, 200)))
        case 2:
            return masked(good + draw.randbytes(draw.randrange(1, 20)))
        case 3:
            size = draw.choice([param.MAX_FRAME_BYTES + 1, 1 << 40, (1 << 63) - 1])
            return b"\x82\xff" + size.to_bytes(8, "big") + bytes(4) + good
        case 4:
            return masked(good, 0x80 | draw.choice([3, 4, 5, 6, 7, 0xB, 0xF]))
        case 5:
            return masked(good, 0x82 | draw.choice([0x10, 0x20, 0x40]))
        case 6:
            return masked(draw.choice([b"\xc3", b"\xff\xfe", b"{}"]), 0x81)
        case _:
            lie = draw.choice([b"\xdd", b"\xdf", b"\xdb", b"\xc6"]) + draw.randbytes(4)
            return masked(good.replace(b"\xa4body", b"\xa4body" + lie))


def test_damaged_frames_by_the_thousand() -> None:
    count = int(os.environ.get("SYMPHONY_FUZZ", "600"))

    async def test(client: Client, runtime: FakeRuntime) -> None:
        port = client.server.port
        assert port is not None
        for seed in range(count):
            end = await outcome(client.server.host, port, mutations(seed))
            assert isinstance(end, tuple), (seed, end)
            assert end[0] in (1002, 1003, 1007, 1008, 1009), (seed, end)
        assert runtime.launched == []
        assert (await client.get("/healthz")).status == 200

    with_server(test, seconds=30 + count / 20)


async def deaf(client: Client, *frames: bytes) -> socket.socket:
    """A connection whose client sends these frames and never reads."""
    host, port = client.server.host, client.server.port
    assert port is not None
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, port))
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(connection, HANDSHAKE + b"".join(map(masked, frames)))
    return connection


def answering(sockets: set[ws.Connection]) -> bool:
    """Whether there is a connection, and all its calls are at their answers."""
    running = [call for connection in sockets for call in connection._calls.values()]
    return bool(running) and all(call.ends for call in running)


async def big_output(client: Client, runtime: FakeRuntime) -> str:
    """The path of a process whose answer is 4 MiB."""
    pid = (await (await client.post("/v1/run", params={"detach": "1"}, data=b"wait")).json())["pid"]
    for _ in range(4):
        await runtime.process(pid).log.output("x" * (1 << 20))
    return f"/v1/processes/{pid}"


def test_answers_that_nobody_reads_are_bounded_and_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_SOCKET_CALLS", 3)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        path = await big_output(client, runtime)
        sent = [call(ident, "GET", path) for ident in range(20)]
        cancels = [packed({"do": "cancel", "id": ident}) for ident in range(20)]
        with await deaf(client, *sent[:3]) as unread:
            sockets = client.server.app[SOCKETS]  # type: ignore[attr-defined]
            await eventually(lambda: answering(sockets))
            (connection,) = sockets
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(unread, b"".join(map(masked, [*cancels, *sent[3:]])))
            await asyncio.sleep(0.1)
            assert len(connection._calls) == 3, "they are in flight until they are taken, cancelled or not"
            assert connection._request.transport.get_write_buffer_size() < 5 * (4 << 20)
        monkeypatch.setattr(param, "HTTP_STALL_SECONDS", 0.1)
        await eventually(lambda: not sockets)
        with await deaf(client, *sent[:1]):
            await eventually(lambda: len(sockets) == 1)
            await eventually(lambda: not sockets)

    with_server(test)


def test_a_client_that_does_not_read_does_not_keep_the_server_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "CLOSE_SECONDS", 0.1)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        path = await big_output(client, runtime)
        with await deaf(client, call(1, "GET", path)):
            sockets = client.server.app[SOCKETS]  # type: ignore[attr-defined]
            await eventually(lambda: answering(sockets))
            async with asyncio.timeout(2):
                await ws.close_all(client.server.app)  # type: ignore[attr-defined]
                await eventually(lambda: not sockets)
        with await deaf(client, call(1, "GET", path)) as unread:
            await eventually(lambda: answering(sockets))
            await asyncio.get_running_loop().sock_sendall(unread, masked(b"", 0x81))
            async with asyncio.timeout(2):
                await eventually(lambda: not sockets)

    with_server(test)


def test_half_a_frame_and_silence_harm_nobody() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        port = client.server.port
        assert port is not None
        whole = masked(call(1, "GET", "/healthz"))
        for cut in range(0, len(whole), 7):
            _, writer = await asyncio.open_connection(client.server.host, port)
            writer.write(HANDSHAKE + whole[:cut])
            writer.close()
        end = await outcome(client.server.host, port, whole)
        assert isinstance(end, bytes)
        assert frames.unpacked(msgspec.msgpack.decode(end))["status"] == 200

    with_server(test)
