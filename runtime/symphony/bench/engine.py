"""`symphony bench engine`: tokens per second through the whole host, on a real model.

With `--in-loop`, LIPs that choose every token themselves (argmax of a prediction) run beside LIPs that call
`generate`, and the report gives the ratio and the share of LIPs that produced the very same tokens: all of them on the
CPU; on an accelerator a product rounds as the size of its batch has it, so near ties may fall either way. CPU figures
are tokens per CPU-second of the whole process.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.bench.report import Report
from symphony.engine.engine import Engine
from symphony.host import Config, Runtime
from symphony.process.process import LaunchOptions
from symphony.sandbox.config import SandboxConfig

GENERATE_PY = '''
from lip import Context, main


@main
async def generate(prompt: list, n: int) -> list:
    """Let the host write n tokens."""
    async with Context() as ctx:
        ctx.feed(prompt)
        return (await ctx.generate(max_tokens=n, stop_tokens=[])).tokens
'''
CHOOSE_PY = '''
from lip import Context, main


@main
async def choose(prompt: list, n: int) -> list:
    """Choose each of n tokens in the program."""
    async with Context() as ctx:
        tokens = [(await ctx.feed(prompt).pred()).argmax()]
        while len(tokens) < n:
            tokens.append((await ctx.pred(tokens[-1])).argmax())
        return tokens
'''


@dataclass(slots=True, frozen=True)
class Workload:
    """So many LIPs at once, each with a prompt of its own."""

    rows: int = 64
    prompt_tokens: int = 8
    new_tokens: int = 64


@dataclass(slots=True, frozen=True)
class Round:
    """One run of a workload."""

    tokens: list[list[int]]
    wall: float
    cpu: float


async def run_round(rt: Runtime, program: str | bytes, work: Workload, seed: int) -> Round:
    """All rows at once; seconds from the first launch to the last result."""
    vocab = rt.model_infos()[0].vocab_size
    options = LaunchOptions(wall_seconds=float("inf"), cpu_seconds=float("inf"))
    wall, cpu = time.perf_counter(), time.process_time()
    processes = [
        await rt.launch(program, arguments(work, vocab, seed * work.rows + row), options) for row in range(work.rows)
    ]
    tokens = [await process.wait() for process in processes]
    return Round(tokens, time.perf_counter() - wall, time.process_time() - cpu)


def arguments(work: Workload, vocab: int, row: int) -> Mapping[str, Any]:
    """A prompt that no other row shares: ids from a linear congruence, above the special ones."""
    low = min(512, vocab // 2)
    prompt = [low + (row * 7919 + i * 104729 + 13) % (vocab - low) for i in range(work.prompt_tokens)]
    return {"prompt": prompt, "n": work.new_tokens}


async def bench_engine(
    report: Report, engine: Engine, home: Path, guest: bytes, work: Workload, *, in_loop: bool, rounds: int
) -> None:
    """Alternate the kinds of guests `rounds` times; the report has medians and, in-loop, ratios to `generate`."""
    kinds: dict[str, str | bytes] = {"generate": GENERATE_PY}
    if in_loop:
        kinds |= {"in-loop, wasm": guest, "in-loop, Python": CHOOSE_PY}
    times: dict[str, list[Round]] = {kind: [] for kind in kinds}
    config = Config(sandbox=SandboxConfig(max_instances=work.rows + 8))
    async with Runtime([engine], home=home, config=config) as rt:
        for program in kinds.values():
            await run_round(rt, program, work, 0)  # warms up
        for seed in range(1, rounds + 1):
            for kind, program in kinds.items():
                times[kind].append(await run_round(rt, program, work, seed))
    total = work.rows * work.new_tokens
    base = _median([total / r.wall for r in times["generate"]])
    for kind, results in times.items():
        wall = _median([total / r.wall for r in results])
        report.add(f"{kind}", wall, "tok/s")
        report.add(f"{kind}, CPU", _median([total / r.cpu for r in results]), "tok/CPU-s")
        if kind != "generate":
            report.add(f"{kind} / generate", wall / base, "", at_least=0.9 if "wasm" in kind else 0.7)
            exact = 1.0 if engine.info.device == "cpu" else None
            report.add(f"{kind}, same tokens", _same(results, times["generate"]), "", at_least=exact)


def _same(results: list[Round], expected: list[Round]) -> float:
    """The share of LIPs whose every token is what `generate` produced."""
    pairs = [pair for r, e in zip(results, expected, strict=True) for pair in zip(r.tokens, e.tokens, strict=True)]
    return sum(a == b for a, b in pairs) / len(pairs)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
