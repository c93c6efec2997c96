"""`symphony bench serving`: the price of serving programs: a streamed token, and a completion next to the bare engine.

CPU time of this process, which is the server; its clients are another one (`reader.py`). On a GPU, completions are
counted by elapsed time: the model is most of it, and is no CPU time. A streamed token is followed from the log of its
process to the socket: guests and model are no part of that.
Completions run in four ways in turn, on one model loaded twice: the core alone, a compiled program that calls
`generate`, and requests to `/v1/completions`, whole and streamed.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from aiohttp import web

from symphony.bench.child import Child
from symphony.bench.engine import Workload, arguments
from symphony.bench.report import Report
from symphony.core.core import Core
from symphony.core.messages import GenerateOptions
from symphony.engine.engine import Engine
from symphony.errors import Unavailable
from symphony.host import Config, Runtime
from symphony.http.app import create_app
from symphony.http.context import DRAIN, KEEP_ALIVE, PACE
from symphony.http.drain import Drain
from symphony.http.feed import Pace
from symphony.http.server import bind, serving
from symphony.http.sse import stream
from symphony.process.events import EventLog
from symphony.process.process import LaunchOptions

RATES = (200, 40)
"""Tokens a second of a stream."""
EVENT_BYTES = 56
"""Of one token's event."""
SSE, JSON = "text/event-stream", "application/json"


class Clients:
    """Of a server on a port of this machine."""

    def __init__(self, child: Child, port: int) -> None:
        self._child = child
        self._port = port

    async def post(self, path: str, bodies: Sequence[Any], accept: str = JSON) -> dict[str, Any]:
        """All at once; raises Unavailable if one is not answered with 200."""
        asked = {"port": self._port, "path": path, "accept": accept, "bodies": bodies}
        answer = await asyncio.to_thread(self._child.request, asked)
        if set(answer["statuses"]) != {"200"}:
            raise Unavailable(f"{path} gave {answer['statuses']}: {answer['ends'][0]}", "see what the server says")
        return answer


@asynccontextmanager
async def served(app: web.Application, home: Path) -> AsyncGenerator[Clients]:
    """`app` on a free port, and clients for it."""
    with bind("127.0.0.1", 0) as listener:
        async with serving(app, listener):
            command = [sys.executable, "-m", "symphony.bench.reader"]
            child = await asyncio.to_thread(Child, "reader", command, 1, home / "reader.log")
            try:
                yield Clients(child, listener.getsockname()[1])
            finally:
                await asyncio.to_thread(child.close)


async def bench_streams(report: Report, home: Path, streams: int, tokens: int, rounds: int) -> None:
    """Microseconds of CPU from a token in a process' log to the client's socket. Logs in which nobody reads are written
    in turn, and what that takes is subtracted. Beside it, what the kernel takes: as many bytes to the same readers, a
    `send` a token and nothing else."""
    arrived: asyncio.Queue[tuple[EventLog, web.Request]] = asyncio.Queue()

    async def follow(request: web.Request) -> web.StreamResponse:
        log = EventLog()
        arrived.put_nowait((log, request))
        return await stream(request, log.cursor())

    app = web.Application()
    app[KEEP_ALIVE] = 3600.0
    app[DRAIN] = Drain()
    app[PACE] = Pace()
    app.router.add_post("/stream", follow)
    async with served(app, home) as clients:
        for rate in RATES:
            costs: list[float] = []
            sends: list[float] = []
            pieces = 0
            for number in range(-1, rounds):
                alone, _ = await _took(_write([EventLog() for _ in range(streams)], tokens, rate))
                reading = asyncio.ensure_future(clients.post("/stream", [{}] * streams, SSE))
                found = [await arrived.get() for _ in range(streams)]
                read, _ = await _took(_write([log for log, _ in found], tokens, rate))
                sent, _ = await _took(_send([request for _, request in found], tokens, rate))
                for log, _ in found:
                    log.end("result", {"value": None})
                pieces = (await reading)["events"] - streams
                if number >= 0:
                    costs.append((read - alone) / (streams * tokens) * 1e6)
                    sends.append(sent / (streams * tokens) * 1e6)
            what = f"{streams} streams of {rate} tokens/s"
            report.add(f"a streamed token, {what}", median(costs), "us CPU", at_most=15.0)
            report.add(f"tokens an event, {what}", streams * tokens / pieces, "")
            report.add(f"a send alone, {what}", median(sends), "us CPU")


async def _write(logs: list[EventLog], tokens: int, rate: int) -> int:
    """A token into each log, time and again."""
    for number in range(tokens):
        for log in logs:
            await log.output(f" token{number}")
        await asyncio.sleep(1 / rate)
    return len(logs) * tokens


async def _send(requests: list[web.Request], tokens: int, rate: int) -> int:
    """As many bytes as an event of one token takes, as a comment, past everything of ours."""
    comment = b": " + b"-" * (EVENT_BYTES - 4) + b"\n\n"
    for _ in range(tokens):
        for request in requests:
            assert request.transport is not None, "the client reads to the end"
            request.transport.write(b"%x\r\n%b\r\n" % (len(comment), comment))
        await asyncio.sleep(1 / rate)
    return len(requests) * tokens


async def _took(work: Awaitable[int], clock: Callable[[], float] = time.process_time) -> tuple[float, int]:
    gc.collect()
    start = clock()
    answer = await work
    return clock() - start, answer


async def bench_completions(
    report: Report,
    engines: tuple[Engine, Engine],
    home: Path,
    guest: bytes,
    work: Workload,
    rounds: int,
    endpoint: Path | None = None,
) -> None:
    """Tokens a CPU-second (a second on a GPU) in four ways; the second engine is the host's, and `endpoint` the
    program that answers OpenAI's routes (default: ours). Raises Unavailable."""
    on_gpu = engines[1].info.device.startswith("cuda")
    clock, unit = (time.perf_counter, "tok/s") if on_gpu else (time.process_time, "tok/CPU-s")
    core = Core([engines[0]])
    waiting: dict[int, asyncio.Event] = {}
    core.connect(lambda op, _payload: waiting[op].set())
    running = asyncio.create_task(core.run())
    numbers = count(1)

    async def alone(prompt: list[int]) -> int:
        session, op = core.open_session("bench"), next(numbers)
        waiting[op] = arrived = asyncio.Event()
        options = GenerateOptions(max_tokens=work.new_tokens)
        await core.generate(session, await core.create(session, None), op, prompt, options)
        chunk, told = None, 0
        while chunk is None or chunk.finish is None:
            await arrived.wait()
            arrived.clear()
            chunk = await core.next(session, op)
            told += len(chunk.tokens) if chunk is not None else 0
        await core.close_session(session)
        del waiting[op]
        return told

    async with (
        Runtime([engines[1]], home=home, config=Config(openai=endpoint)) as rt,
        served(create_app(rt), home) as clients,
    ):
        program = (await rt.upload(guest)).id
        vocab, seeds = engines[0].info.vocab_size, count()

        def prompts() -> list[list[int]]:
            return [arguments(work, vocab, next(seeds))["prompt"] for _ in range(work.rows)]

        async def by_core() -> int:
            return sum(await asyncio.gather(*map(alone, prompts())))

        async def by_lip() -> int:
            args = [{"prompt": prompt, "n": work.new_tokens, "generate": True} for prompt in prompts()]
            processes = [await rt.launch(program, given, LaunchOptions()) for given in args]
            return sum([len(await process.wait()) for process in processes])

        async def by_endpoint(**more: Any) -> int:
            asked = {"max_tokens": work.new_tokens, "temperature": 0, **more}
            ends = (await clients.post("/v1/completions", [{"prompt": p, **asked} for p in prompts()]))["ends"]
            return sum(int(found[1]) for end in ends if (found := re.search(r'"completion_tokens": ?(\d+)', end)))

        streamed = partial(by_endpoint, stream=True, stream_options={"include_usage": True})
        ways: dict[str, Callable[[], Awaitable[int]]] = {
            "core": by_core,
            "program": by_lip,
            "/v1/completions": by_endpoint,
            "/v1/completions, streamed": streamed,
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(-1, rounds):
            turn = number % len(ways)  # who is first changes
            for name in (*list(ways)[turn:], *list(ways)[:turn]):
                took, told = await _took(ways[name](), clock)
                if number >= 0:
                    rates[name].append(told / took)
    await core.close()
    await running
    size = f"{work.rows} x {work.prompt_tokens} in, {work.new_tokens} out"
    for name, found in rates.items():
        report.add(f"{size}: {name}", median(found), unit)
    for name, bound in (("program", 0.99), ("/v1/completions", 0.95), ("/v1/completions, streamed", 0.90)):
        ratio = median(a / b for a, b in zip(rates[name], rates["core"], strict=True))
        report.add(f"{size}: {name} / core", ratio, "", at_least=bound)
