"""Programs that fetch more than they may, and servers that want to hurt: neither the host nor a neighbour notices."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hostile_host import HEALTHY, QUESTION, Host, lip, until
from hostile_host import host as boot

from symphony.errors import Cancelled, SymphonyError
from symphony.outside.config import EndpointConfig, OutsideConfig
from symphony.outside.grants import Grant
from symphony.process.process import LaunchOptions
from tests.outside import outside_servers as servers

ROUTES = {name: getattr(servers, name) for name in ("endless", "silent", "drip", "bomb", "reset")}


async def behaviour(request: str, writer: asyncio.StreamWriter) -> None:
    path = request.split(" ")[1].strip("/").split("?")[0]
    if path == "redirect":
        writer.write(servers.answer(b"", 302, Location="http://169.254.169.254/latest/meta-data/"))
    elif path in ROUTES:
        await ROUTES[path](request, writer)
    else:
        writer.write(servers.answer(f"page {path}".encode()))


class Web:
    """A server with a thread of its own, as one on another machine has."""

    def __init__(self) -> None:
        self.server = servers.Server(behaviour)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._listener = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    async def _listen(self) -> asyncio.Server:
        listener = await asyncio.start_server(self.server.serve, "127.0.0.1", 0)
        self.server.port = listener.sockets[0].getsockname()[1]
        return listener

    async def _stop(self) -> None:
        self._listener.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def web() -> Iterator[servers.Server]:
    with contextlib.closing(Web()) as running:
        yield running.server


@pytest.fixture(scope="module")
def module_host(web: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    outside = OutsideConfig(
        endpoints={
            name: EndpointConfig(f"{web.url}/{name}", seconds=0.3 if name in ("silent", "drip") else 20.0)
            for name in [*ROUTES, "redirect", "page"]
        },
        grants=(Grant(tenants=("local",), tools=("*",), fetch=(web.url,)), Grant(tenants=("poor",), tools=("page",))),
    )
    with boot(tmp_path_factory.mktemp("home"), outside=outside) as running:
        yield running


@pytest.fixture
def host(module_host: Host, web: servers.Server) -> Iterator[Host]:
    yield module_host
    module_host.check()
    module_host.run(until(lambda: web.open == 0))  # no connection outlives who wanted it


def told(host: Host, body: str, web: servers.Server, tenant: str = "local") -> Any:
    """What a program returns; `web` is the server's URL there."""

    async def run() -> Any:
        process = await host.runtime.launch(lip(body, "web: str"), {"web": web.url}, LaunchOptions(tenant=tenant))
        return await process.wait()

    return host.run(run())


RAW = """
def raw(url, method="GET", headers=(), body=None, timeout=None):
    lines = [_host.fetch.Header(*line) for line in headers]
    return call(_host.fetch.send, _host.fetch.Request(method, url, lines, body, timeout))
"""


def test_what_servers_do_is_an_error_of_the_request(host: Host, web: servers.Server) -> None:
    body = """
    found = {}
    for path in ("endless", "bomb", "reset", "redirect", "silent", "drip"):
        try:
            await fetch(f"{web}/{path}", seconds=0.3 if path in ("silent", "drip") else 20)
        except Error as error:
            found[path] = error.code
    return found, (await fetch(f"{web}/page")).text
    """
    large, late = dict.fromkeys(("endless", "bomb"), "limit-exceeded"), dict.fromkeys(("silent", "drip"), "timed-out")
    codes = {**large, **late, "reset": "unavailable", "redirect": "permission-denied"}
    assert told(host, body, web) == [codes, "page page"]


def test_a_hostile_server_behind_a_tool(host: Host, web: servers.Server) -> None:
    body = """
    found = {}
    for each in tools():
        try:
            found[each.name] = await tool(each.name)
        except Error as error:
            found[each.name] = error.code
    return found
    """
    broken = dict.fromkeys(("endless", "bomb", "reset", "redirect"), "unavailable")
    late = dict.fromkeys(("silent", "drip"), "timed-out")
    assert told(host, body, web) == {**broken, **late, "page": "page page"}


def test_who_was_granted_nothing(host: Host, web: servers.Server) -> None:
    body = """
    found = [each.name for each in tools()]
    for ask in (fetch(f"{web}/page"), fetch("https://example.com"), tool("silent")):
        try:
            await ask
        except Error as error:
            found.append(error.code)
    return found
    """
    before = len(web.requests)
    assert told(host, body, web, "poor") == ["page", "permission-denied", "permission-denied", "not-found"]
    assert len(web.requests) == before


def test_children_fetch_where_their_parents_let_them(host: Host, web: servers.Server) -> None:
    child = lip("try:\n    return (await fetch(url)).text\nexcept Error as error:\n    return error.code", "url: str")
    body = f"""
    found = []
    for granted in (None, [], ["fetch"], ["page"]):
        child = await spawn({child!r}, url=f"{{web}}/page", limits=Limits(tools=granted))
        found.append(await child.wait())
    try:
        await spawn(None, limits=Limits(tools=["nothing"]))
    except NotFound as error:
        found.append(error.hint)
    return found
    """
    *found, hint = told(host, body, web)
    assert found == ["page page", "permission-denied", "page page", "permission-denied"]
    assert "page" in hint


def test_requests_that_are_malformed(host: Host, web: servers.Server) -> None:
    body = f"""
    {RAW.strip().replace(chr(10), chr(10) + "    ")}
    found = []
    for arguments in (
        dict(method="GET / HTTP/1.1\\r\\nHost: evil\\r\\n"), dict(method=""), dict(headers=[("Host", "evil")]),
        dict(headers=[("X", "a\\r\\nHost: evil")]), dict(headers=[("", "")]), dict(headers=[("X", "y")] * 1000),
        dict(headers=[("X", "y" * 20000)]), dict(timeout=0), dict(timeout=2**64 - 1), dict(timeout=120_000_001),
        dict(body=_host.fetch.Content_Base64("no base64!")), dict(body=_host.fetch.Content_Base64("A")),
        dict(body=_host.fetch.Content_Text("x" * (2 << 20))), dict(body=_host.fetch.Content_Base64("A" * (2 << 20))),
    ):
        try:
            raw(f"{{web}}/page", **arguments)
        except Error as error:
            found.append(error.code)
    for url in ("", "\\0", "http://", "file:///etc", "http://[", "x" * 100000, "http://a\\r\\nb/", web + "@evil/"):
        try:
            raw(url)
        except Error as error:
            found.append(error.code)
    return found
    """
    before = len(web.requests)
    found = told(host, body, web)
    assert found[:5] == ["invalid"] * 5
    assert found[5:7] == ["limit-exceeded"] * 2
    assert found[7:12] == ["invalid"] * 5
    assert found[12:14] == ["limit-exceeded"] * 2
    assert found[14:] == ["invalid"] * 8
    assert len(web.requests) == before


def test_answers_that_nobody_takes(host: Host, web: servers.Server) -> None:
    """The first six are there, the others wait for ever; all that was answered goes with the program."""
    body = f"""
    {RAW.strip().replace(chr(10), chr(10) + "    ")}
    running = [raw(f"{{web}}/page?{{n}}") for n in range(64)]
    refused = []
    try:
        raw(f"{{web}}/page")
    except Error as error:
        refused.append(error.code)
    first = running[0]
    with first.subscribe() as pollable:
        _host.poll.poll([pollable])
    first_answer, again = first.get(), None
    again = first.get()
    for exchange in running[1:]:
        exchange.__exit__(None, None, None)
    return [*refused, first_answer.value.body.value, again.value.code.name, (await fetch(f"{{web}}/page")).text]
    """
    before = len(web.requests)
    assert told(host, body, web) == ["limit-exceeded", "page page", "INVALID", "page page"]
    assert len(web.requests) - before <= 6 + 2


@pytest.mark.parametrize("how", ["killed", "cancelled inside", "returned"])
def test_a_connection_ends_with_whoever_wanted_it(how: str, host: Host, web: servers.Server) -> None:
    bodies = {
        "killed": 'await fetch(f"{web}/silent")',
        "cancelled inside": """
            try:
                async with asyncio.timeout(0.1):
                    await fetch(f"{web}/silent")
            except TimeoutError:
                await sleep(0.05)
                return "late"
            """,
        "returned": 'asyncio.create_task(fetch(f"{web}/silent")); await sleep(0.1); return "early"',
    }

    async def run() -> Any:
        process = await host.runtime.launch(lip(bodies[how], "web: str"), {"web": web.url}, LaunchOptions())
        if how == "killed":
            await until(lambda: web.open == 1)
            await process.kill()
        with contextlib.suppress(Cancelled):
            return await process.wait()

    assert host.run(run()) == {"killed": None, "cancelled inside": "late", "returned": "early"}[how]


def test_results_of_tools_that_nobody_takes(host: Host, web: servers.Server) -> None:
    body = """
    running = [call(_host.tool.call, "page", "{}") for _ in range(64)]
    await sleep(0.1)
    found = []
    try:
        call(_host.tool.call, "page", "{}")
    except Error as error:
        found.append(error.code)
    with running[0].subscribe() as pollable:
        _host.poll.poll([pollable])
    found += [running[0].get().value, running[0].get().value.code.name]
    running[1].__exit__(None, None, None)
    return [*found, await tool("page"), len([call(_host.tool.call, "page", "{}") for _ in range(2)])]
    """
    assert told(host, body, web) == ["limit-exceeded", '"page page"', "INVALID", "page page", 2]


def test_a_crowd_at_a_server_without_end(host: Host, web: servers.Server) -> None:
    """Each connection holds an answer at most; who does something else is answered meanwhile."""
    body = """
    asked = [fetch(f"{web}/endless") for _ in range(12)]
    return [each.code for each in await asyncio.gather(*asked, return_exceptions=True)]
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def run() -> list[Any]:
        crowd = [
            await host.runtime.launch(lip(body, "web: str"), {"web": web.url}, LaunchOptions(tenant="local"))
            for _ in range(4)
        ]
        assert await host.runtime.run(HEALTHY, question=QUESTION) == host.answer()
        return [await process.wait() for process in crowd]

    assert host.run(run()) == [["limit-exceeded"] * 12] * 4
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 4 * 6 * (4 << 10) + (64 << 10), "KiB: an answer of each connection, and what four programs take"


def test_the_error_is_one_of_ours_and_names_the_place(host: Host, web: servers.Server) -> None:
    error: SymphonyError = host.error(lip('await fetch("https://example.com/x")'))
    assert "PermissionDenied: this program may not fetch from https://example.com" in str(error)
    assert web.url in str(error)
