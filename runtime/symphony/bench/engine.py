"""`symphony bench engine`: tokens per second through the whole host, on a real model.

LIPs are WebAssembly components that call `generate`. With `--in-loop`, LIPs that choose every token themselves (argmax
of a prediction) run beside them, and the report gives the ratio and the share of LIPs that produced the very same
tokens: all of them on the CPU; on an accelerator a product rounds as the size of its batch has it, so near ties may
fall either way. CPU figures are tokens per CPU-second of the whole process.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.bench.report import Report
from symphony.core.config import CoreConfig
from symphony.engine.engine import Engine
from symphony.host import Config, Runtime
from symphony.process.process import LaunchOptions, Process
from symphony.sandbox.config import SandboxConfig

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


PROMISED = {(64, 128, 128): 33_000.0, (256, 128, 128): 63_000.0}
"""Tokens a second of LIPs, tokens in, tokens out, on one H200 and the 1B shape."""


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


async def run_round(
    rt: Runtime, program: str, work: Workload, seed: int, extra: Mapping[str, Any] | None = None
) -> Round:
    """All rows at once, as many callers have it; seconds from the first launch to the last result."""
    vocab = rt.model_infos()[0].vocab_size
    options = LaunchOptions(wall_seconds=float("inf"), cpu_seconds=float("inf"))
    given = [arguments(work, vocab, seed * work.rows + row) | dict(extra or {}) for row in range(work.rows)]
    wall, cpu = time.perf_counter(), time.process_time()
    processes: list[Process] = []
    for args in given:
        processes.append(await rt.launch(program, args, options))
        await asyncio.sleep(0)  # a launch does not suspend, and the next caller is another task
    tokens = [await process.wait() for process in processes]
    return Round(tokens, time.perf_counter() - wall, time.process_time() - cpu)


def arguments(work: Workload, vocab: int, row: int) -> dict[str, Any]:
    """A prompt that no other row shares: ids from a linear congruence, above the special ones."""
    low = min(512, vocab // 2)
    prompt = [low + (row * 7919 + i * 104729 + 13) % (vocab - low) for i in range(work.prompt_tokens)]
    return {"prompt": prompt, "n": work.new_tokens}


async def bench_engine(
    report: Report,
    engine: Engine,
    home: Path,
    guest: bytes,
    work: Workload,
    *,
    in_loop: bool,
    rounds: int,
    core: CoreConfig | None = None,
    workers: int = 0,
) -> None:
    """Alternate the kinds of guests `rounds` times; the report has medians and, in-loop, ratios to `generate`.
    `workers`: processes that run the guests; 0: this one does."""
    sandbox = SandboxConfig(max_instances=work.rows + 8)
    config = Config(sandbox=sandbox, core=core or CoreConfig(), workers=workers)
    async with Runtime([engine], home=home, config=config) as rt:
        compiled = (await rt.upload(guest)).id
        kinds: dict[str, tuple[str, dict[str, Any]]] = {"generate": (compiled, {"generate": True})}
        if in_loop:
            python = (await rt.upload(CHOOSE_PY, name="choose.py")).id
            kinds |= {"in-loop, wasm": (compiled, {}), "in-loop, Python": (python, {})}
        times: dict[str, list[Round]] = {kind: [] for kind in kinds}
        for program, extra in kinds.values():
            await run_round(rt, program, work, 0, extra)  # warms up
        gc.collect()
        gc.freeze()  # as `symphony serve` does; else the longest pauses are the collector's
        for seed in range(1, rounds + 1):
            for kind, (program, extra) in kinds.items():
                times[kind].append(await run_round(rt, program, work, seed, extra))
        gc.unfreeze()
    total = work.rows * work.new_tokens
    size = f"{work.rows} LIPs, {work.prompt_tokens} in, {work.new_tokens} out"
    on_gpu = engine.info.device.startswith("cuda")
    cpu = "CPU of the host" if workers else "CPU"
    base = _median([total / r.wall for r in times["generate"]])
    for kind, results in times.items():
        wall = _median([total / r.wall for r in results])
        promised = PROMISED.get((work.rows, work.prompt_tokens, work.new_tokens)) if on_gpu else None
        report.add(f"{kind}, {size}", wall, "tok/s", at_least=promised if kind == "generate" else None)
        report.add(f"{kind}, {cpu}", _median([total / r.cpu for r in results]), "tok/CPU-s")
        if kind != "generate":
            share = _promised_share(kind, on_gpu, workers)
            report.add(f"{kind} / generate", wall / base, "", at_least=share)
            exact = None if on_gpu else 1.0
            report.add(f"{kind}, same tokens", _same(results, times["generate"]), "", at_least=exact)


def _promised_share(kind: str, on_gpu: bool, workers: int) -> float | None:
    """Of `generate`'s tokens a second, for guests that choose every token."""
    if not on_gpu:
        return 0.9 if "wasm" in kind else 0.7
    return {(True, 0): 0.6, (False, 4): 0.5}.get(("wasm" in kind, workers))


def _same(results: list[Round], expected: list[Round]) -> float:
    """The share of LIPs whose every token is what `generate` produced."""
    pairs = [pair for r, e in zip(results, expected, strict=True) for pair in zip(r.tokens, e.tokens, strict=True)]
    return sum(a == b for a, b in pairs) / len(pairs)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
