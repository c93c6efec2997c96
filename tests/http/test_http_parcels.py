"""KV files over HTTP, and by the command line: out of one server, into another one with pages of another size."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner
from live_server import Server

from symphony import param
from symphony.cli.main import cli
from symphony.cli.remote import Remote
from symphony.core.messages import Readings
from symphony.engine.fake import FakeEngine
from symphony.errors import NotFound
from symphony.host import Runtime

TEXT = b"from here to there, and on from there to somewhere else"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server[Runtime]]]:
    made = [Server(Runtime([FakeEngine(page_size=n)], home=tmp_path_factory.mktemp("home"))) for n in (16, 24)]
    with made[0], made[1]:
        made[0].call(write(made[0].runtime, "/notes/one"))
        yield made


async def write(runtime: Runtime, path: str) -> None:
    core = runtime.core
    session = core.open_session("local")
    file = await core.open(session, None, path, write=True, create=True)
    await core.pred(session, file, 1 << 40, list(TEXT), [len(TEXT) - 1], Readings())
    while not core.idle():  # noqa: ASYNC110
        await asyncio.sleep(0)
    await core.close_session(session)


def command(server: Server[Runtime], *words: str) -> Any:
    return CliRunner().invoke(cli, ["fs", *words, "--url", server.url], prog_name="symphony")


def good(server: Server[Runtime], *words: str) -> str:
    result = command(server, *words)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_from_one_server_to_another(servers: list[Server[Runtime]], tmp_path: Path) -> None:
    here, there = servers
    file = tmp_path / "one.safetensors"
    assert good(here, "export", "/notes/one", str(file)).startswith(f"{file}  ")
    assert [path.name for path in tmp_path.iterdir()] == ["one.safetensors"]
    assert good(there, "import", "--trust", str(file), "/a") == ""
    assert json.loads(good(there, "import", "--json", str(file), "/b"))["path"] == "/b"
    assert good(there, "cat", "/a").strip() == TEXT.decode()
    assert good(there, "check").endswith("2 files, 6 pages: none damaged\n")
    lines = [line.split() for line in good(there, "du", "--tier").splitlines()]
    assert lines == [["TIER", "PAGES", "SIZE"], ["device", "0", "-"], ["host", "0", "-"], ["disk", "6", "3.375", "KiB"]]
    assert good(there, "export", "--force", "/a", str(file)) == good(there, "export", "-f", "/a", str(file))
    again = command(there, "import", str(file), "/a")
    assert again.exit_code
    assert "exists already" in again.stderr
    assert good(there, "import", "-f", str(file), "/a") == ""


def test_what_goes_wrong_says_so(servers: list[Server[Runtime]], tmp_path: Path) -> None:
    here, there = servers
    file = tmp_path / "file"
    for words, text in (
        (("export", "/nothing", str(file)), "no file is named /nothing"),
        (("export", "/", str(file)), "is a directory"),
        (("export", "/notes/one", str(tmp_path / "no" / "where")), "cannot be written"),
        (("import", str(file), "/x"), "cannot be read"),
    ):
        result = command(here, *words)
        assert result.exit_code
        assert text in result.stderr
    assert not list(tmp_path.iterdir())
    good(here, "export", "/notes/one", str(file))
    result = command(here, "export", "/notes/one", str(file))
    assert result.exit_code
    assert "exists already" in result.stderr
    file.write_bytes(file.read_bytes()[:-1])
    result = command(there, "import", str(file), "/x")
    assert result.exit_code
    assert "it ends too early" in result.stderr
    file.write_bytes(b"\xff" * (8 << 20))  # refused after 8 bytes
    result = command(there, "import", str(file), "/x")
    assert result.exit_code
    assert "is none" in result.stderr
    with pytest.raises(NotFound):
        Remote(there.url).call("GET", "/v1/fs/x")


def test_who_goes_away_leaves_nothing(servers: list[Server[Runtime]], monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = servers
    monkeypatch.setattr(param, "HTTP_STALL_SECONDS", 0.2)
    monkeypatch.setattr("symphony.http.parcels.CHUNK_BYTES", 100)
    request = f"PUT /v1/fs/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\n{'x' * 4}".encode()
    for ends in (True, False):
        with socket.create_connection(there.listener.getsockname()) as connection:
            connection.sendall(request)
            if ends:
                continue
            answer = connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 408 "), answer
    with socket.create_connection(here.listener.getsockname()) as connection:
        connection.sendall(
            b"HEAD /v1/fs/notes/one?what=export HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )
        head = connection.recv(1000)
    assert b'filename="one.safetensors"' in head
    with socket.create_connection(here.listener.getsockname()) as connection:
        connection.sendall(b"GET /v1/fs/notes/one?what=export HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    for server in servers:
        server.call(ended(server.runtime))


def test_over_a_websocket_they_come_but_do_not_go(servers: list[Server[Runtime]]) -> None:
    here, there = servers
    out = io.BytesIO()
    Remote(here.url).download("/v1/fs/notes/one", {"what": "export"}, out)

    async def called(method: str, path: str, body: bytes | None, **query: str) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{there.url}/v1/ws") as socket:
            call = {"do": "call", "id": 1, "method": method, "path": path, "body": body, "query": query}
            await socket.send_bytes(msgspec.msgpack.encode(call))
            return msgspec.msgpack.decode(await socket.receive_bytes())

    for body, status in ((out.getvalue(), 201), (out.getvalue()[:-1], 400), (b"", 400)):
        assert asyncio.run(called("PUT", "/v1/fs/ws", body, overwrite="1"))["status"] == status
    gone = asyncio.run(called("GET", "/v1/fs/ws", None, what="export"))
    assert (gone["status"], "over a WebSocket" in gone["body"]["error"]["message"]) == (400, True)
    there.call(ended(there.runtime))


async def ended(runtime: Runtime) -> None:
    """Nothing is held for a request any more."""
    core = runtime.core
    while core._durable.depot._used or any(not file.names for file in core._kvfs.files):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    core.check_integrity()
