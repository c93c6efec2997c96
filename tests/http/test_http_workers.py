"""What clients and operators see of workers over HTTP, and that workers end with their host, however that ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import Server

from symphony import Config, Runtime
from symphony.engine.fake import FakeEngine
from symphony.http.context import DRAIN
from symphony.workers.main import EXPENDABLE

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"
SLEEP = b"""
from lip import emit, main, sleep
@main
async def wait(seconds: float = 3600) -> str:
    emit('here')
    await sleep(seconds)
    return "slept"
"""
HOST = f"""
import asyncio
from pathlib import Path
from symphony import Config, Runtime
from symphony.engine.fake import FakeEngine

async def host(home: str) -> None:
    config = Config(cache=Path({str(CACHE)!r}), workers=2)
    async with Runtime([FakeEngine()], home=Path(home), config=config) as runtime:
        await runtime.spawn("from lip import main\\n@main\\ndef spin() -> None:\\n    while True: pass\\n")
        print(*[worker.pid for worker in runtime.crew.workers], flush=True)
        await asyncio.sleep(3600)

import sys
asyncio.run(host(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server[Runtime]]:
    config = Config(cache=CACHE, workers=2)
    with Server(Runtime([FakeEngine()], home=tmp_path_factory.mktemp("home"), config=config)) as running:
        yield running


def ask(server: Server[Runtime], path: str, body: bytes | None = None, **headers: str) -> Any:
    return urllib.request.urlopen(urllib.request.Request(f"{server.url}{path}", body, headers), timeout=60)


def events(stream: Any) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in stream:
        name, _, rest = line.decode().strip().partition(": ")
        if name == "event":
            kind = rest
        elif name == "data":
            yield kind, json.loads(rest)


def test_a_client_is_told_what_became_of_its_run_and_others_go_on(server: Server[Runtime]) -> None:
    streams = [events(ask(server, "/v1/run", SLEEP, Accept="text/event-stream")) for _ in range(2)]
    started = [dict([next(stream), next(stream)]) for stream in streams]
    assert [one["output"]["text"] for one in started] == ["here", "here"]
    first, second = (one["start"]["pid"] for one in started)
    crew = server.runtime.crew
    assert crew is not None
    [worker] = [worker for worker in crew.workers if first in worker.guests]
    assert second not in worker.guests
    os.kill(worker.pid, signal.SIGKILL)
    kind, error = next(streams[0])
    assert kind == "error"
    assert error["code"] == "unavailable"
    assert error["message"] == f"worker {worker.number}, which ran the program, was lost"
    assert json.load(ask(server, f"/v1/processes/{first}"))["state"] == "killed"
    shown = json.load(ask(server, f"/v1/processes/{second}"))
    assert (shown["state"], shown["waits_for"], shown["output"]) == ("blocked", ["timer"], "here")
    page = ask(server, "/metrics").read().decode()
    assert "symphony_workers_lost_total 1" in page
    assert f'symphony_worker_up{{worker="{3 - worker.number}"}} 1\n' in page
    assert f'symphony_worker_processes{{worker="{3 - worker.number}"}} 1' in page
    request = urllib.request.Request(f"{server.url}/v1/processes/{second}", method="DELETE")
    assert json.load(urllib.request.urlopen(request, timeout=60))["state"] == "killed"
    assert next(streams[1])[0] == "error"


def test_what_was_accepted_ends_in_order(server: Server[Runtime]) -> None:
    """A drain waits for programs in workers, too. The last test of the file: afterwards nothing begins here."""
    stream = events(ask(server, "/v1/run?args=%7B%22seconds%22%3A0.3%7D", SLEEP, Accept="text/event-stream"))
    assert [next(stream)[0], next(stream)[0]] == ["start", "output"]

    async def drained() -> int:
        drain = server.app[DRAIN]
        drain.close()
        return await drain.drained(server.runtime.processes, 20)

    assert server.call(drained()) == 0
    assert list(stream) == [("result", {"value": "slept"})]


def test_no_worker_outlives_its_host(tmp_path: Path) -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    workers = [int(pid) for pid in host.stdout.readline().split()]
    assert len(workers) == 2
    host.kill()
    host.communicate()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "one of them computes, the other one does not"
        time.sleep(0.02)


def test_a_worker_ignores_the_signals_that_stop_its_host(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = Config(cache=CACHE, workers=1)
        async with Runtime([FakeEngine()], home=tmp_path, config=config) as runtime:
            crew = runtime.crew
            assert crew is not None
            assert await runtime.run(SLEEP, seconds=0) == "slept"
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(crew.workers[0].pid, number)
            assert await runtime.run(SLEEP, seconds=0) == "slept"
            assert crew.lost == 0
            own, its = (Path(f"/proc/{pid}/oom_score_adj") for pid in ("self", crew.workers[0].pid))
            if own.exists():
                assert int(its.read_text()) == min(1000, int(own.read_text()) + EXPENDABLE), "it goes before its host"

    asyncio.run(scenario())
