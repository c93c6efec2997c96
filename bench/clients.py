"""Clients that do nothing, and clients that read slowly: what they cost the server, and whether others feel them.

    python -m bench.clients [--idle 1000] [--slow 200] [--seconds 10] [--rounds 3]

A server of its own (`symphony serve`, the model `tiny`) is asked for short completions, one after the other, in windows
of `--seconds` that alternate: undisturbed, and beside idle connections (half HTTP, half WebSocket) and readers that
take 1 KiB a second from programs that print without end. Printed: the latency of the completions either way, and the
memory of the server for one connection of each kind (proportional set size, before and after).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

SERVE = [sys.executable, "-m", "symphony.cli.main", "serve", "--port", "0"]
HEALTHY = """
from lip import Context, main

@main
async def app() -> str:
    async with Context() as ctx:
        ctx.user("Hello")
        return (await ctx.generate(max_tokens=16)).text
"""
FLOOD = """
from lip import emit, main

@main
def app() -> None:
    while True:
        emit("x" * 10_000)
"""
BYTES_A_SECOND = 1024


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with server() as (process, url):
        async with aiohttp.ClientSession(url) as session:
            for name, source in (("healthy", HEALTHY), ("flood", FLOOD)):
                await session.post("/v1/programs", params={"name": name}, data=source)
            await completions(session, 2)
            await memories(process.pid, url, asked.idle, asked.slow)
            alone: list[float] = []
            beside: list[float] = []
            for _ in range(asked.rounds):
                alone += await completions(session, asked.seconds)
                async with idle(url, asked.idle), slow(url, asked.slow):
                    beside += await completions(session, asked.seconds)
    for what, taken in (("undisturbed", alone), ("beside them", beside)):
        p50, p99 = (1e3 * statistics.quantiles(taken, n=100)[i] for i in (49, 98))
        print(f"{what}: {len(taken)} completions, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    ratio = statistics.quantiles(beside, n=100)[98] / statistics.quantiles(alone, n=100)[98]
    print(f"p99 beside {asked.idle} idle connections and {asked.slow} slow readers: {ratio:.2f} of undisturbed")


@contextlib.contextmanager
def server() -> Generator[tuple[subprocess.Popen[str], str]]:
    """A server, and where it listens."""
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(SERVE, stdout=subprocess.PIPE, text=True, env=environment(home))
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if "http://" in line:
                    yield process, "http://" + line.split("http://")[1].split()[0].rstrip("/")
                    break
        finally:
            process.terminate()
            process.wait()


def environment(home: str) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "SYMPHONY_HOME": home}


async def completions(session: aiohttp.ClientSession, seconds: float) -> list[float]:
    """Seconds that each completion took, one after the other."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        async with session.post("/v1/programs/healthy/run") as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        taken.append(time.perf_counter() - start)
    return taken


@contextlib.asynccontextmanager
async def idle(url: str, count: int, kinds: tuple[str, ...] = ("HTTP", "WebSocket")) -> AsyncGenerator[None]:
    """Connections that were used once."""
    host, port = address(url)
    handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    handshake += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    requests = {
        "HTTP": f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "WebSocket": f"GET /v1/ws HTTP/1.1\r\nHost: {host}\r\n{handshake}\r\n",
    }
    opened = []
    for i in range(count):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(requests[kinds[i % len(kinds)]].encode())
        await reader.readuntil(b"\r\n\r\n")
        opened.append(writer)
    yield
    for writer in opened:
        writer.transport.abort()
    await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def slow(url: str, count: int) -> AsyncGenerator[None]:
    """Readers of programs that print without end; what is on its way to them is small. They are there when all of
    their programs are held up."""
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(count):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        await loop.sock_connect(reader, address(url))
        request = "POST /v1/programs/flood/run HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        await loop.sock_sendall(reader, request.encode())
        opened.append(reader)
    reading = [asyncio.create_task(sip(reader)) for reader in opened]
    while await states(url) != {"blocked": count}:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    yield
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    for reader in opened:
        reader.close()
    while await states(url):  # noqa: ASYNC110
        await asyncio.sleep(0.2)


async def states(url: str) -> dict[str, int]:
    async with aiohttp.ClientSession(url) as session, session.get("/v1/status") as answer:
        return (await answer.json())["processes"]["states"]


async def sip(reader: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(reader, BYTES_A_SECOND // 2):  # noqa: ASYNC110
        await asyncio.sleep(0.5)


async def memories(pid: int, url: str, idlers: int, readers: int) -> None:
    for kind in ("HTTP", "WebSocket"):
        before = memory(pid)
        async with idle(url, idlers, (kind,)):
            print(f"an idle {kind} connection: {(memory(pid) - before) / idlers / 1024:.1f} KiB")
    before = memory(pid)
    async with slow(url, readers):
        print(f"a slow reader and its program: {(memory(pid) - before) / readers / 1024:.0f} KiB")


def memory(pid: int) -> int:
    """Bytes of the proportional set size."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


if __name__ == "__main__":
    asyncio.run(main())
