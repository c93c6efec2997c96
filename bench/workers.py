"""What workers take off the host: CPU a token that a guest chooses, and a syscall that does nothing, with and without.

    python bench/workers.py [--workers 3] [--guests 64] [--tokens 64] [--rounds 3]

A fake engine (its own cost, which is most of what is left to the host, is the same in all ways), Python guests. Ways
take turns. CPU seconds: of the thread that runs the event loop, and of the worker processes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from symphony import Config, Runtime
from symphony.engine.fake import FakeEngine
from symphony.sandbox import SandboxConfig

CHOOSE = b"""
from lip import Context, main
@main
async def choose(n: int) -> int:
    ctx = Context()
    token = (await ctx.pred("go")).argmax()
    for _ in range(n - 1):
        token = (await ctx.pred(token)).argmax()
    return token
"""
ASK = b"""
from lip import Context, main
@main
async def ask(n: int) -> int:
    ctx = Context()
    return sum(ctx.stat().length for _ in range(n))
"""


@dataclass(slots=True)
class Cost:
    host: float
    workers: float
    wall: float
    steps: int


class Way:
    def __init__(self, runtime: Runtime, workers: int) -> None:
        self.runtime = runtime
        self.workers = workers

    async def cost(self, program: str, guests: int, count: int) -> Cost:
        runtime = self.runtime
        host, workers, wall, steps = time.thread_time(), self._cpu(), time.perf_counter(), runtime.gauges()[0].steps
        await asyncio.gather(*(runtime.run(program, n=count) for _ in range(guests)))
        return Cost(
            time.thread_time() - host,
            self._cpu() - workers,
            time.perf_counter() - wall,
            runtime.gauges()[0].steps - steps,
        )

    def _cpu(self) -> float:
        crew = self.runtime.crew
        return sum(_cpu_seconds(worker.pid) for worker in crew.workers) if crew is not None else 0.0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(workers: int, guests: int, tokens: int, rounds: int) -> None:
    async with AsyncExitStack() as stack:
        ways: list[Way] = []
        for count in (0, workers):
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            config = Config(workers=count, sandbox=SandboxConfig(max_instances=2 * guests))
            runtime = Runtime([FakeEngine(pages=64 * guests)], home=home, config=config)
            ways.append(Way(await stack.enter_async_context(runtime), count))
            await runtime.upload(CHOOSE, "choose")
            await runtime.upload(ASK, "ask")
            await ways[-1].cost("choose", guests, 4)
        for _ in range(rounds):
            for way in ways:
                _show(way, "token", guests * tokens, await way.cost("choose", guests, tokens))
            for way in ways:
                _show(way, "syscall", 4000, await way.cost("ask", 1, 4000))


def _show(way: Way, what: str, count: int, cost: Cost) -> None:
    rows = f", {count / cost.steps:.1f} rows a step" if cost.steps > 1 else ""
    each = ", ".join(
        f"{name} {seconds / count * 1e6:.1f}"
        for name, seconds in (("host", cost.host), ("workers", cost.workers), ("wall", cost.wall))
    )
    print(f"{way.workers} workers: us a {what}: {each}{rows}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("workers", 3), ("guests", 64), ("tokens", 64), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    asyncio.run(measure(given.workers, given.guests, given.tokens, given.rounds))


if __name__ == "__main__":
    main()
