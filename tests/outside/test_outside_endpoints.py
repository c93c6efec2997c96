"""URLs as tools, of good servers and of bad ones."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import outside_servers as servers
import pytest
from outside_servers import answer, run, says, says_json, serving

from symphony.errors import Invalid, SymphonyError, TimedOut, Unavailable
from symphony.outside.config import EndpointConfig
from symphony.outside.endpoints import EndpointTool


def called(handler: servers.Handler, arguments: dict[str, Any], **config: Any) -> tuple[str, str]:
    """The result, and what the server was asked."""

    async def main() -> tuple[str, str]:
        async with serving(handler) as server:
            tool = EndpointTool("search", EndpointConfig(f"{server.url}/s?fixed=1", **config))
            return await tool.call(arguments), server.requests[0]

    return run(main())


def test_arguments_go_into_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_KEY", "s3cret")
    headers = {"Authorization": "env:SEARCH_KEY", "X-A": "b"}
    result, said = called(says_json({"found": [1, "é"]}), {"q": "ü", "n": 2}, headers=headers)
    assert json.loads(result) == {"found": [1, "é"]}
    head, body = said.split("\r\n\r\n")
    assert head.startswith("POST /s?fixed=1 HTTP/1.1")
    assert "Authorization: s3cret\r\nX-A: b\r\n" in head
    assert "Content-Type: application/json" in head
    assert json.loads(body) == {"q": "ü", "n": 2}


def test_arguments_go_into_the_query() -> None:
    result, said = called(says(answer(b"plain text")), {"q": "a b&c", "n": 2, "all": True}, method="GET")
    assert json.loads(result) == "plain text"
    assert said.startswith("GET /s?fixed=1&q=a+b%26c&n=2&all=true HTTP/1.1")


@pytest.mark.parametrize(
    ("handler", "code", "told"),
    [
        (says_json({"error": "no such city"}, 400), "invalid", "no such city"),
        (says_json({"detail": "q is missing"}, 422), "invalid", "q is missing"),
        (says(answer(b"down", 503)), "unavailable", "answered 503: down"),
        (says(answer(b"", 302, Location="http://10.0.0.1/")), "unavailable", "redirects to 'http://10.0.0.1/'"),
        (says(answer(b"{", Content_Type="application/json")), "unavailable", "not JSON"),
        (says(answer(b"[" * 100_000, Content_Type="application/json")), "unavailable", "not JSON"),
        (says(answer(b"NaN", Content_Type="application/json")), "unavailable", "not JSON"),
    ],
)
def test_what_goes_wrong(handler: servers.Handler, code: str, told: str) -> None:
    with pytest.raises(SymphonyError) as e:
        called(handler, {})
    assert e.value.code == code
    assert told in e.value.message
    assert "search" in e.value.message


def test_half_a_character_in_a_query_is_the_callers_error() -> None:
    with pytest.raises(Invalid, match=r"'search'.*surrogate"):
        called(says_json(1), {"q": "\ud800"}, method="GET")
    assert called(says_json(1), {"q": "\ud800"})[0] == "1"


def test_no_content_is_null() -> None:
    assert called(says(answer(b"", 204)), {})[0] == "null"


@pytest.mark.parametrize("server", servers.HOSTILE)
def test_hostile_servers(server: str) -> None:
    handler, codes = servers.HOSTILE[server]
    with pytest.raises(SymphonyError) as e:
        called(handler, {}, seconds=0.3 if "timed-out" in codes else 20.0)
    assert e.value.code in codes.replace("limit-exceeded", "unavailable").split()


def test_nobody_listens() -> None:
    with pytest.raises(Unavailable, match="tool 'search' failed"):
        run(EndpointTool("search", EndpointConfig("http://127.0.0.1:9/")).call({}))


def test_a_name_is_looked_up_beside_what_hangs() -> None:
    """In a thread of its own: those of the event loop's pool may all wait for a name server. One for a crowd."""

    async def main() -> None:
        pool, go_on = ThreadPoolExecutor(1), threading.Event()
        asyncio.get_running_loop().set_default_executor(pool)
        pool.submit(go_on.wait, 60)
        try:
            async with serving(says_json(1)) as server:
                url = server.url.replace("127.0.0.1", "localhost")
                tool = EndpointTool("search", EndpointConfig(url, seconds=5))
                assert await asyncio.gather(*(tool.call({}) for _ in range(40))) == ["1"] * 40
                with pytest.raises(Unavailable, match=r"there is no host 'no\.invalid'"):
                    await EndpointTool("none", EndpointConfig("http://no.invalid/", seconds=5)).call({})
        finally:
            go_on.set()

    run(main())


def test_a_crowd_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.outside.tool.MAX_TOOL_CROWD", 6)

    async def main() -> None:
        async with serving(servers.silent) as server:
            tool = EndpointTool("search", EndpointConfig(server.url))
            running = [asyncio.ensure_future(tool.call({})) for _ in range(3)]
            await asyncio.sleep(0.05)
            with pytest.raises(Unavailable, match="3 calls of tool 'search'"):
                await tool.call({})
            running += [asyncio.ensure_future(tool.call({}, each)) for each in ("b", "b", "c")]
            await asyncio.sleep(0.05)
            assert len(server.requests) == 6
            with pytest.raises(Unavailable, match="6 calls of tool 'search'"):
                await tool.call({}, "c")
            for each in running:
                each.cancel()
            await asyncio.wait(running)
            with pytest.raises(TimedOut):
                await EndpointTool("search", EndpointConfig(server.url, seconds=0.05)).call({})
            assert not tool._seats._taken

    run(main())


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"url": "ftp://a"}, "endpoints.search.url"),
        ({"url": "http://a", "method": "TRACE"}, "endpoints.search.method"),
        ({"url": "http://a", "schema": {"type": "array"}}, "endpoints.search.schema"),
        ({"url": "http://a", "headers": {"Host": "b"}}, "endpoints.search.headers"),
        ({"url": "http://a", "headers": {"X": "env:NOT_THERE"}}, "endpoints.search.headers.X"),
        ({"url": "http://a", "seconds": 0}, "endpoints.search.seconds"),
    ],
)
def test_a_wrong_field_is_named(config: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid, match=f"^{field}: ") as e:
        EndpointTool("search", EndpointConfig(**config))
    assert e.value.hint
