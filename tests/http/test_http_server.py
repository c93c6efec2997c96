"""Connections: how many there may be, and those that never ask for anything."""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fake_runtime import FakeRuntime
from live_server import Server

from symphony import param

ASK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server[FakeRuntime]]:
    monkeypatch.setattr(param, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(param, "HTTP_IDLE_SECONDS", 1.0)
    with Server(FakeRuntime()) as server:
        yield server


def test_one_connection_too_many_is_told_so_and_the_others_go_on(served: Server[FakeRuntime]) -> None:
    with ExitStack() as opened:
        held = [opened.enter_context(connected(served)) for _ in range(3)]
        for connection in held:
            connection.sendall(ASK)
            assert b" 200 " in connection.recv(10_000)
        with connected(served) as late:
            head, _, body = read_all(late).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in head
        assert json.loads(body)["error"]["code"] == "unavailable"
        held[0].sendall(ASK)
        assert b" 200 " in held[0].recv(10_000)
        held[0].close()
        while True:  # until the server has seen it
            with connected(served) as again:
                again.sendall(ASK)
                if b" 200 " in again.recv(10_000):
                    break


def test_connections_that_ask_for_nothing_are_closed(served: Server[FakeRuntime]) -> None:
    with connected(served) as silent, connected(served) as halfway, connected(served) as used:
        halfway.sendall(ASK[:20])
        used.sendall(ASK)
        assert b" 200 " in used.recv(10_000)
        assert read_all(silent) == b""
        assert b" 200 " not in read_all(halfway)
        assert read_all(used) == b""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the queue off Linux' TCP_INFO")
def test_as_many_may_wait_to_be_accepted_while_it_serves(served: Server[FakeRuntime]) -> None:
    info = served.listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    assert struct.unpack("8B6I", info)[8 + 5] == min(param.HTTP_BACKLOG, most)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /v1/models?x=" + b"y" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"y" * 9000 + b"\r\n\r\n", 400),
        (b"\x16\x03\x01 what TLS begins with\r\n\r\n", 400),
        (
            b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nExpect: the worst\r\nConnection: close\r\n"
            b"Content-Length: 0\r\n\r\n",
            400,
        ),
    ],
)
def test_what_is_no_request_is_answered_in_the_shape_of_all_errors(
    served: Server[FakeRuntime], sent: bytes, status: int
) -> None:
    with connected(served) as connection:
        connection.sendall(sent)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == str(status).encode()
    assert b"Content-Type: application/json" in head
    assert {"code", "message", "hint"} == set(json.loads(body)["error"])


def connected(server: Server[FakeRuntime]) -> socket.socket:
    connection = socket.create_connection(server.listener.getsockname())
    connection.settimeout(20)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    content = b""
    while piece := connection.recv(10_000):
        content += piece
    return content
