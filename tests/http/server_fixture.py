"""Run a test's coroutine against a real aiohttp server on loopback, in front of a FakeRuntime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fake_runtime import FakeRuntime

from symphony.host import Runtime
from symphony.http.app import create_app

Client = TestClient[web.Request, web.Application]


def with_server(test: Callable[[Client, FakeRuntime], Awaitable[None]], *, seconds: float = 30, **options: Any) -> None:
    """Start, run `test(client, runtime)`, stop; the whole within `seconds`."""

    async def scenario() -> None:
        async with FakeRuntime() as runtime:
            app = create_app(cast("Runtime", runtime), **options)
            async with TestClient(TestServer(app)) as client:
                await test(client, runtime)

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await scenario()

    asyncio.run(bounded())


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds (the test's own time limit ends it)."""
    while not condition():  # noqa: ASYNC110 - conditions are on plain state
        await asyncio.sleep(0.001)


async def error_of(response: Any) -> dict[str, Any]:
    """The error object of an answer that must be one."""
    body = await response.json()
    assert response.headers["Content-Type"].startswith("application/json")
    assert {"code", "message", "hint"} <= set(body["error"])
    assert body["error"]["message"]
    return body["error"]
