"""The end of a server in order: accepted work ends, new work is refused, whoever still waits is told."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from fake_runtime import FakeRuntime, parse_sse
from server_fixture import Client, error_of, eventually, with_server

from symphony.http.context import DRAIN
from symphony.http.drain import Drain


def state(client: Client) -> Drain:
    app: Any = client.server.app  # type: ignore[attr-defined]
    return app[DRAIN]


def test_new_work_is_refused_and_what_was_accepted_goes_on() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        stream = await client.post("/v1/run", data=b"wait", headers={"Accept": "text/event-stream"})
        plain = asyncio.create_task(client.post("/v1/run", data=b"wait"))
        await eventually(lambda: len(runtime.processes()) == 2)
        drain = state(client)
        drain.close()
        drained = asyncio.create_task(drain.drained(runtime.processes, 20))  # type: ignore[arg-type]
        for path in ("/v1/run", "/v1/programs", "/v1/chat/completions"):
            answer = await client.post(path, data=b"echo")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert answer.headers["Connection"] == "close"
            if path != "/v1/chat/completions":
                assert "stopping" in (await error_of(answer))["message"]
        assert (await client.get("/readyz")).status == 503
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/v1/ws")).status == 503
        assert (await client.get("/v1/processes/1")).status == 200
        assert not drained.done()
        for process in runtime.processes():
            process.released.set()
        assert await drained == 0
        assert parse_sse(await stream.text())[-1] == ("result", {"value": "released"})
        assert (await (await plain).json())["result"] == "released"
        assert len(runtime.launched) == 2

    with_server(test)


def test_time_is_up() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        started = await client.post("/v1/run?detach=1", data=b"wait")
        assert started.status == 202
        drain = state(client)
        drain.close()
        assert await drain.drained(runtime.processes, 0.05) == 1  # type: ignore[arg-type]
        assert (await client.delete("/v1/processes/1")).status == 200, "whoever may end it still can"
        assert await drain.drained(runtime.processes, 5) == 0  # type: ignore[arg-type]

    with_server(test)


def test_under_load_every_request_has_an_answer() -> None:
    """20 ends at 20 moments of a load: each request has its result, or an error that says why."""

    async def test(client: Client, runtime: FakeRuntime) -> None:
        chance = random.Random(7)
        app: Any = client.server.app  # type: ignore[attr-defined]
        for _ in range(20):
            app[DRAIN].__init__()
            answers: list[tuple[int, Any]] = []

            async def ask(pause: float, answers: list[tuple[int, Any]] = answers) -> None:
                await asyncio.sleep(pause)
                answer = await client.post("/v1/run", data=b"complete")
                answers.append((answer.status, await answer.json()))

            asked = [asyncio.create_task(ask(chance.random() * 0.03)) for _ in range(20)]
            await asyncio.sleep(chance.random() * 0.03)
            before = len(runtime.launched)
            app[DRAIN].close()
            assert await app[DRAIN].drained(runtime.processes, 20) == 0
            assert app[DRAIN].in_flight == 0
            await asyncio.gather(*asked)
            assert len(answers) == len(asked)
            assert {status for status, _ in answers} <= {200, 503}
            assert all(("result" in body) == (status == 200) for status, body in answers)
            assert len(runtime.launched) == before

    with_server(test)
