"""Tools of MCP servers: over a pipe, over HTTP, and of servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import outside_servers as servers
import pytest
from outside_servers import answer, run, serving

from symphony.errors import Invalid, SymphonyError, TimedOut, Unavailable
from symphony.outside import mcp, stdio
from symphony.outside.config import McpConfig
from symphony.outside.mcp import McpTool, Server, opened
from symphony.outside.streamable import events

SERVER = str(Path(__file__).with_name("mcp_server.py"))


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "_GRACE_SECONDS", 0.2)


def command(mode: str = "good", **options: Any) -> McpConfig:
    return McpConfig(command=(sys.executable, "-I", SERVER, mode), **options)


class Tools:
    """By name, to be called with plain values."""

    def __init__(self, tools: list[McpTool]) -> None:
        self.by_name = {tool.name: tool for tool in tools}

    async def __call__(self, name: str, **arguments: Any) -> Any:
        return json.loads(await self.by_name[f"calc_{name}"].call(arguments))


# ---- over a pipe -----------------------------------------------------------------------------------------------------


def test_over_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "of the host")
    monkeypatch.setenv("CALC_KEY", "for the server")

    async def main() -> None:
        async with opened({"calc": command(env={"KEY": "env:CALC_KEY"})}) as listed:
            call = Tools(listed)
            assert call.by_name["calc_add"].summary == "The sum."
            assert call.by_name["calc_add"].schema["properties"]["a"] == {"type": "integer"}
            assert len(listed) == 13  # two pages
            assert await asyncio.gather(*(call("add", a=n, b=1) for n in range(20))) == [str(n + 1) for n in range(20)]
            assert await call("many") == [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
            assert await call("structured") == {"sum": 3}
            assert await call("ping") == str([{}, -32601])
            assert await call("flood") == "after the flood"
            seen = await call("env")
            assert "KEY" in seen
            assert "A_SECRET" not in seen
            with pytest.raises(Unavailable, match="tool 'calc_fail' failed: it rains"):
                await call("fail")
            with pytest.raises(Invalid, match="b is missing") as e:
                await call("wrong")
            assert "properties" in e.value.hint
            assert await call("add", a=1, b=1) == "2"

    run(main())


@pytest.mark.parametrize(
    ("tool", "told"), [("die", "has ended"), ("junk", "not JSON"), ("large", "4194304 bytes"), ("nested", "not JSON")]
)
def test_a_server_that_breaks_fails_who_waits_and_is_started_again(
    tool: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with opened({"calc": command()}) as listed:
            call = Tools(listed)
            with pytest.raises(Unavailable, match=told):
                await call(tool)
            with pytest.raises(Unavailable, match="went away"):
                await call("add", a=1, b=1)
            monkeypatch.setattr(mcp, "MCP_RESTART_SECONDS", 0.0)
            assert await call("add", a=1, b=1) == "2"

    run(main())


def test_a_server_that_takes_its_time_holds_up_its_callers_only() -> None:
    async def main() -> None:
        async with opened({"calc": command(seconds=0.2)}) as listed:
            call = Tools(listed)
            with pytest.raises(TimedOut, match=r"calc_slow took longer than 0\.2 s"):
                await call("slow")
            with pytest.raises(TimedOut):  # it still sleeps
                await call("add", a=1, b=1)

    run(main())


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("old", "version '1999-01-01'"),
        ("endless", "more than 1024 tools"),
        ("undescribed", "described wrongly"),
        ("mute", "longer than"),
    ],
)
def test_a_server_that_cannot_be_used_is_named(mode: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "MCP_START_SECONDS", 0.3 if mode == "mute" else 30.0)

    async def main() -> None:
        async with opened({"calc": command(mode)}):
            pass

    with pytest.raises(SymphonyError, match=r"^mcp\.calc: ") as e:
        run(main())
    assert told in e.value.message
    assert e.value.hint


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (McpConfig(command=("/no/such/program",)), "does not start"),
        (McpConfig(command=(sys.executable, "-c", "pass")), "has ended"),
        (McpConfig(), "needs either"),
        (McpConfig(command=("a",), url="http://a"), "needs either"),
        (McpConfig(url="ftp://a"), "mcp.calc.url"),
        (McpConfig(command=("a",), env={"A": "env:NOT_THERE"}), "NOT_THERE"),
        (McpConfig(url="http://127.0.0.1:9/"), "did not answer"),
    ],
)
def test_a_wrong_configuration_is_named(config: McpConfig, told: str) -> None:
    async def main() -> None:
        async with opened({"calc": config}):
            pass

    with pytest.raises(SymphonyError, match=r"mcp\.calc") as e:
        run(main())
    assert told in e.value.message


def test_nothing_of_a_server_is_left() -> None:
    """Nor of what it started."""

    async def main() -> None:
        server = Server("calc", command("leaves a child"))
        await server.start()
        group = server._wire._process.pid  # type: ignore[union-attr]
        assert alive(group) == 2
        await server.close()
        while alive(group):  # noqa: ASYNC110 - init has no events
            await asyncio.sleep(0.01)

    run(main())


def test_who_is_cancelled_while_an_old_server_ends_leaves_nothing_of_it() -> None:
    async def main() -> None:
        server = Server("calc", command("leaves a child"))
        await server.start()
        group = server._wire._process.pid  # type: ignore[union-attr]
        with pytest.raises(Unavailable, match="not JSON"):
            await server.call("junk", {})
        calling = asyncio.create_task(server.call("add", {"a": 1, "b": 1}))
        await asyncio.sleep(0.05)  # of the grace, while the child holds the pipe
        calling.cancel()
        await asyncio.wait([calling])
        while alive(group):  # noqa: ASYNC110 - init has no events
            await asyncio.sleep(0.01)
        await server.close()

    run(main())


def test_what_a_server_does_not_read_does_not_grow() -> None:
    async def main() -> None:
        server = Server("calc", command(seconds=0.3))
        await server.start()
        stdin = server._wire._process.stdin  # type: ignore[union-attr]
        calls = [server.call("slow", {"a": "x" * 300_000}) for _ in range(10)]
        assert all(isinstance(e, TimedOut) for e in await asyncio.gather(*calls, return_exceptions=True))
        with pytest.raises(TimedOut):
            await server.call("add", {"a": "x" * 300_000})
        assert 0 < stdin.transport.get_write_buffer_size() <= 400_000
        await server.close()

    run(main())


def test_a_server_that_answers_nothing_any_more_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "MCP_PING_SECONDS", 0.2)
    monkeypatch.setattr(mcp, "MCP_RESTART_SECONDS", 0.0)

    async def main() -> None:
        server = Server("calc", command(seconds=5))
        await server.start()
        first, server.seconds = server._wire, 0.2
        calls = [server.call("slow", {"a": "x" * 300_000}) for _ in range(3)]  # reads no more after the first
        assert all(isinstance(e, TimedOut) for e in await asyncio.gather(*calls, return_exceptions=True))
        while server._wire is first or server._closing:  # noqa: ASYNC110 - a condition on plain state
            await asyncio.sleep(0.01)
        assert first.closed
        server.seconds = 10
        assert (await server.call("add", {"a": 1, "b": 2}))["content"][0]["text"] == "3"
        second = server._wire
        server.seconds = 0.2
        with pytest.raises(Invalid):
            await server.call("wrong", {})
        assert server._wire is second, "who answers stays"
        await server.close()

    run(main())


def alive(group: int) -> int:
    """Processes of a group that have not ended."""
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            found += int(its_group) == group and state != "Z"
    return found


# ---- over HTTP -------------------------------------------------------------------------------------------------------


def handler(events: bool, left: list[str]) -> servers.Handler:
    """A server with sessions, whose answers are JSON, or events with other messages before the answer."""

    async def serve(said: str, writer: asyncio.StreamWriter) -> None:
        head, body = said.split("\r\n\r\n", 1)
        if head.startswith("DELETE"):
            left.append(head)
            writer.write(answer(b"", 204))
            return
        message = json.loads(body)
        if message["method"] != "initialize":
            assert "Mcp-Session-Id: session-1" in head
            assert "MCP-Protocol-Version: 2025-06-18" in head
        result: dict[str, Any] = {}
        match message["method"]:
            case "initialize":
                result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}}
            case "tools/list":
                result = {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]}
            case "tools/call":
                given = message["params"]["arguments"]
                if given["a"] == 404:
                    writer.write(answer(b"", 404))
                    return
                result = {"content": [{"type": "text", "text": str(given["a"] + given["b"])}]}
        if "id" not in message:
            writer.write(answer(b"", 202))
            return
        text = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}, indent=1 if events else None)
        if events:
            ping = (
                ": hello\n\nevent: message\ndata: "
                + json.dumps({"jsonrpc": "2.0", "id": 7, "method": "ping"})
                + "\r\n\r\n"
            )
            text = ping + "".join(f"data: {line}\r\n" for line in text.splitlines()) + "\r\n"
        kind = "text/event-stream" if events else "application/json; charset=utf-8"
        data = answer(text.encode(), Content_Type=kind, Mcp_Session_Id="session-1")
        for start in range(0, len(data), 50):
            writer.write(data[start : start + 50])
            await writer.drain()

    async def watching(said: str, writer: asyncio.StreamWriter) -> None:
        if '"result": {}' in said:  # the answer to its ping
            left.append(said)
            writer.write(answer(b"", 202))
        else:
            await serve(said, writer)

    return watching


@pytest.mark.parametrize("events", [False, True])
def test_over_http(events: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []

    async def main() -> None:
        async with serving(handler(events, left)) as server:
            config = McpConfig(url=f"{server.url}/mcp", headers={"Authorization": "Bearer k"})
            async with opened({"calc": config}) as listed:
                call = Tools(listed)
                assert await asyncio.gather(*(call("add", a=n, b=1) for n in range(5))) == list("12345")
                assert all("Authorization: Bearer k" in said for said in server.requests)
                with pytest.raises(Unavailable, match="forgotten this session"):
                    await call("add", a=404, b=1)
                monkeypatch.setattr(mcp, "MCP_RESTART_SECONDS", 0.0)
                assert await call("add", a=1, b=1) == "2"

    run(main())
    assert left[-1].startswith("DELETE /mcp")
    assert (len(left) > 2) == events


def test_a_server_over_http_that_answers_nothing_any_more_is_connected_to_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a time for calls that is shorter than that for a ping."""
    monkeypatch.setattr(mcp, "MCP_PING_SECONDS", 0.2)
    monkeypatch.setattr(mcp, "MCP_RESTART_SECONDS", 0.0)
    answering, hangs = handler(False, []), asyncio.Event()

    async def said(request: str, writer: asyncio.StreamWriter) -> None:
        if hangs.is_set() and request.startswith("POST") and '"initialize"' not in request:
            await asyncio.sleep(60)
        if '"initialize"' in request:
            hangs.clear()
        await answering(request, writer)

    async def main() -> None:
        async with serving(said) as there:
            server = Server("calc", McpConfig(url=f"{there.url}/mcp", headers={"Authorization": "k"}, seconds=0.1))
            await server.start()
            first = server._wire
            hangs.set()
            with pytest.raises(TimedOut):
                await server.call("add", {"a": 1, "b": 1})
            while server._wire is first or server._closing:  # noqa: ASYNC110 - a condition on plain state
                await asyncio.sleep(0.01)
            server.seconds = 10
            assert (await server.call("add", {"a": 1, "b": 2}))["content"][0]["text"] == "3"
            await server.close()

    run(main())


@pytest.mark.parametrize("server", servers.HOSTILE)
def test_hostile_servers(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said, codes = servers.HOSTILE[server]
    if "timed-out" in codes:
        monkeypatch.setattr(mcp, "MCP_START_SECONDS", 0.3)

    async def main() -> None:
        async with serving(said) as there, opened({"calc": McpConfig(url=there.url)}):
            pass

    with pytest.raises(SymphonyError) as e:
        run(main())
    assert e.value.code in codes.split()


def stream(data: bytes) -> servers.Handler:
    return servers.says(answer(data, Content_Type="text/event-stream"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (stream(b'data: {"jsonrpc": "2.0", "method": "x"}\n\n' * 2000), "1000 messages"),
        (stream(b"data: junk\n\n"), "not JSON"),
        (stream(b"data: 5\n\n"), "no message"),
        (stream(b""), "did not answer initialize"),
        (servers.says_json([]), "no message"),
        (servers.says_json({"jsonrpc": "2.0", "id": 1}), "neither a result nor an error"),
        (servers.says_json({"jsonrpc": "2.0", "id": "1", "result": {}}), "did not answer initialize"),
        (servers.says_json({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}}), "refused: no"),
        (servers.says(answer(b"", 302, Location="http://10.0.0.1/")), "answered 302"),
        (servers.says(answer(b"", 401)), "answered 401"),
    ],
)
def test_answers_that_are_none(said: servers.Handler, told: str) -> None:
    async def main() -> None:
        async with serving(said) as there, opened({"calc": McpConfig(url=there.url)}):
            pass

    with pytest.raises(SymphonyError, match=r"mcp\.calc") as e:
        run(main())
    assert told in e.value.message


def test_events_in_pieces_of_any_size() -> None:
    data = b": c\r\ndata: a\r\ndata:b\n\n\nid: 1\ndata: " + b"x" * 1000 + b"\n\ndata: last"

    async def pieces(size: int) -> Any:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    async def main(size: int) -> list[bytes]:
        return [event async for event in events(pieces(size))]

    check: Callable[[int], list[bytes]] = lambda size: run(main(size))  # noqa: E731
    assert [check(size) for size in (1, 2, 3, 7, 5000)] == [[b"a\nb", b"x" * 1000]] * 5
