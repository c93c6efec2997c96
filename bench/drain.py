"""SIGTERM under load, again and again: is any request lost without a word?

    python bench/drain.py [--rounds 20] [--clients 16]

Each round starts a server (the real runtime over a fake engine), has clients run a small program over and over, each
request on a connection of its own, sends SIGTERM at a random moment, and sorts what every client got: a result, an
error that says why (503 with Retry-After, or the run's own), no connection (the server was gone), or nothing, which is
what must not be.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter

import aiohttp

SERVER = """
import sys
import symphony.host
from symphony.engine.fake import FakeEngine
real = symphony.host.Runtime
symphony.host.Runtime = lambda model, **options: real([FakeEngine()], **options)
from symphony.cli.main import main
main()
"""
PROGRAM = b"""
from lip import Context, emit, main

@main
async def app(n: int = 5) -> int:
    async with Context() as ctx:
        ctx.feed("hello")
        token = (await ctx.pred()).argmax()
        for _ in range(n):
            token = (await ctx.pred(token)).argmax()
            emit(str(token))
    return token
"""


async def ask(url: str, events: bool) -> str:
    """What one request came to."""
    headers = {"Accept": "text/event-stream"} if events else {}
    try:
        async with aiohttp.ClientSession() as session, session.post(url, data=PROGRAM, headers=headers) as answer:
            text = await answer.text()
            if answer.status == 503:
                return "503" if "Retry-After" in answer.headers else "503 without Retry-After"
            if answer.status == 200 and (not events or "event: result" in text):
                return "result"
            return "error" if '"code"' in text else f"LOST: {answer.status}, cut off"
    except aiohttp.ClientConnectorError:
        return "no connection"
    except (aiohttp.ClientError, ConnectionError) as gone:
        return f"LOST: {gone!r}"


async def one_round(clients: int, home: str, chance: random.Random) -> tuple[Counter[str], float]:
    """What the requests came to, and the seconds from the signal to the end."""
    words = [sys.executable, "-c", SERVER, "serve", "--port", "0", "--home", home]
    child = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert child.stdout is not None
        url = (await child.stdout.readline()).decode().split()[-1] + "/v1/run"
        assert await ask(url, events=False) == "result"
        got: Counter[str] = Counter()

        async def client(number: int) -> None:
            while "no connection" not in got:
                got[await ask(url, events=number % 2 == 0)] += 1

        load = [asyncio.create_task(client(number)) for number in range(clients)]
        await asyncio.sleep(0.2 + chance.random() * 0.5)
        child.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert await child.wait() == 0, "the server failed"
        took = time.monotonic() - began
        await asyncio.gather(*load)
        return got, took
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def measure(rounds: int, clients: int) -> None:
    total: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as home:
        for number in range(rounds):
            got, took = await one_round(clients, home, random.Random(number))
            total += got
            slowest = max(slowest, took)
    print(f"{rounds} times SIGTERM, {clients} clients: {dict(sorted(total.items()))}; slowest end {slowest:.2f} s")
    assert not any(what.startswith("LOST") for what in total)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=16)
    given = parser.parse_args()
    asyncio.run(measure(given.rounds, given.clients))
