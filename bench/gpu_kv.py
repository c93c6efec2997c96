"""What it costs to move K/V: swap against recompute, decode steps beside moves, entries copied with turned keys.

    PYTHONPATH=runtime:kernels:. python bench/gpu_kv.py [--shape llama-1b] [--layers N] [--tokens N] [--part-mib N]
    PYTHONPATH=runtime:kernels:. python bench/gpu_kv.py --shape llama-8b --layers 8 --swap-only

Random weights; times and ratios do not depend on them. Exit status 1 if two files that take turns on a pool too small
for both need more than a fifth of computing one again (out, back and the next token, through the core), or if moves
slow the median step down by more than a twentieth.
Runs on a CPU too (`--device cpu --shape small-gqa --tokens 512`), where it says nothing about a GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import torch

from bench.model_shapes import SHAPES, write
from symphony import param
from symphony.core.core import Core
from symphony.core.inspect import Inspector
from symphony.engine import host_tier
from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, EntryCopy, Readings, Row

SWAP_BOUND = 0.20
STEP_BOUND = 1.05
ASK = Readings(sample=GREEDY)


def tokens(count: int, vocab: int, seed: int = 0) -> list[int]:
    return [11 + (i * 7919 + seed * 104729) % (vocab - 11) for i in range(count)]


async def timed(work: Callable[[], Awaitable[object]], times: int = 7) -> float:
    """Median seconds, after one run that compiles."""
    await work()
    found: list[float] = []
    for _ in range(times):
        begin = time.perf_counter()
        await work()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


async def prefill(engine: LocalEngine, text: Sequence[int], table: Sequence[int], chunk: int) -> None:
    """Compute a text in chunks; one distribution at its end."""
    for start in range(0, len(text), chunk):
        part = text[start : start + chunk]
        last = start + len(part) == len(text)
        [result] = await engine.step(Batch([Row(part, start, table, [len(part) - 1] if last else [], ASK)]))
        if result.error is not None:
            raise RuntimeError(result.error)


async def swap(engine: LocalEngine, count: int) -> bool:
    """`count` tokens: out, back in, one step, one after the other; against all of them computed again."""
    info = engine.info
    size = info.page_size
    text = tokens(count, info.vocab_size)
    pages = -(-(count + 1) // size)
    here, there = list(range(1, 1 + pages)), list(range(1 + pages, 1 + 2 * pages))
    slots = list(range(pages))
    recompute = {
        chunk: await timed(lambda c=chunk: prefill(engine, text, here, c)) for chunk in (param.STEP_TOKENS, count)
    }

    async def resume(table: Sequence[int]) -> int | None:
        [result] = await engine.step(Batch([Row([12], count, table, (0,), ASK)]))
        return result.readings[0].sampled

    before = await resume(here)
    out = await timed(lambda: engine.move(list(zip(here, slots, strict=True)), []))
    back = await timed(lambda: engine.move([], list(zip(slots, there, strict=True))))
    after = await resume(there)
    await engine.move(list(zip(there, [s + pages for s in slots], strict=True)), [])
    both = await timed(
        lambda: engine.move(
            list(zip(here, slots, strict=True)), [(s + pages, p) for s, p in zip(slots, there, strict=True)]
        )
    )
    step = await timed(lambda: resume(there))
    best = min(recompute.values())
    gib = pages * info.bytes_per_page / 2**30
    print(f"\n{count} tokens, {pages} pages of {size}, {gib:.3f} GiB")
    for chunk, seconds in recompute.items():
        print(f"{f'compute again, {chunk} tokens a step':44} {seconds * 1e3:9.2f} ms {seconds / best:8.1%}")
    for what, seconds, amount in (
        ("out", out, gib),
        ("back", back, gib),
        ("both ways at once", both, 2 * gib),
        ("next step", step, 0),
        ("back and next step (out ran beside)", back + step, 0),
        ("out, back and next step", out + back + step, 0),
    ):
        rate = f"{amount * 1.073741824 / seconds:6.1f} GB/s" if amount else ""
        print(f"{what:44} {seconds * 1e3:9.2f} ms {seconds / best:8.1%} {rate}")
    print(f"the next token is the same: {before == after}")
    return before == after


async def take_turns(engine: LocalEngine, count: int, pause: float, turns: int = 12) -> bool:
    """Two agents, whose files do not fit into the pool together, through the core: each in turn takes a token after a
    pause, as it does when a tool has answered; the other one's K/V makes room. Against a file computed anew."""
    core, answers = Core([engine]), dict[int, asyncio.Future[object]]()
    core.connect(lambda op, answer: answers.pop(op).set_result(answer))
    running = asyncio.create_task(core.run())
    session, numbers = core.open_session("agents"), itertools.count(1)

    async def ask(file: int, given: Sequence[int]) -> float:
        """Seconds until the answer is there."""
        op = next(numbers)
        answers[op] = answer = asyncio.get_running_loop().create_future()
        begin = time.perf_counter()
        await core.pred(session, file, op, given, [len(given) - 1], ASK)
        if isinstance(found := await answer, Exception):
            raise found
        return time.perf_counter() - begin

    files: list[int] = []
    computing: list[float] = []
    for seed in range(4):  # the first one compiles; each makes room for the next
        files = [*files[-1:], await core.create(session, None)]
        computing.append(await ask(files[-1], tokens(count, engine.info.vocab_size, seed)))
        await asyncio.sleep(pause)
    found: list[float] = []
    for turn in range(turns):
        found.append(await ask(files[turn % 2], [12]))
        await asyncio.sleep(pause)
    [gauge] = Inspector(core).gauges()
    core.check_integrity()
    await core.close()
    await running
    again, swapped = statistics.median(computing[1:]), statistics.median(found[2:])
    moved = f"{gauge.moved_out} pages out, {gauge.moved_back} back, {gauge.dropped_tokens} tokens dropped"
    room = f"{engine.info.pages - 1} pages, pauses of {pause * 1e3:.0f} ms"
    print(f"\ntwo files of {count} tokens in turns, {room}: {moved}")
    print(f"{'computed anew':44} {again * 1e3:9.2f} ms")
    print(f"{'swapped and resumed':44} {swapped * 1e3:9.2f} ms {swapped / again:8.1%}")
    print(f"{'  each':44} {' '.join(f'{seconds * 1e3:.1f}' for seconds in found)} ms")
    return swapped / again <= SWAP_BOUND


class Decoding:
    """Rows that decode, a token a step, from a context that stays where it is."""

    def __init__(self, engine: LocalEngine, rows: int, context: int, first_page: int) -> None:
        self._engine = engine
        pages = -(-(context + 1) // engine.info.page_size)
        tables = [list(range(first_page + i * pages, first_page + (i + 1) * pages)) for i in range(rows)]
        self.free = first_page + rows * pages
        self._prompts = [Row(tokens(context, engine.info.vocab_size, i), 0, t) for i, t in enumerate(tables)]
        self._rows = [Row([12 + i], context, table, (0,), ASK) for i, table in enumerate(tables)]

    async def start(self) -> None:
        for row in self._prompts:
            await prefill(self._engine, row.tokens, row.block_table, param.STEP_TOKENS)

    async def steps(self, count: int) -> list[float]:
        times: list[float] = []
        for _ in range(count):
            begin = time.perf_counter()
            await self._engine.step(Batch(self._rows))
            times.append(time.perf_counter() - begin)
        return times


async def beside(engine: LocalEngine, rows: int, context: int, moved: int, steps: int) -> bool:
    """The same steps alone and beside moves, in turns."""
    info = engine.info
    decoding = Decoding(engine, rows, context, 1)
    await decoding.start()
    pages = range(decoding.free, decoding.free + moved)
    if pages[-1] >= info.pages:
        raise RuntimeError(f"{info.pages} pages are too few")
    out = list(zip(pages, range(moved), strict=True))
    back = [(slot, page) for page, slot in out]
    going, carried = True, 0

    async def travel() -> None:
        nonlocal carried
        while going:
            await engine.move(out, [])
            await engine.move([], back)
            carried += 2 * moved

    await decoding.steps(steps)
    alone: list[float] = []
    accompanied: list[float] = []
    seconds = 0.0
    for _ in range(4):
        alone += await decoding.steps(steps)
        going, begin = True, time.perf_counter()
        traveller = asyncio.ensure_future(travel())
        accompanied += await decoding.steps(steps)
        going = False
        await traveller
        seconds += time.perf_counter() - begin
    print(f"\n{rows} rows decode at {context} tokens, {moved} pages travel out and back all the time")
    ratios: list[float] = []
    for what, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99)):
        one, two = (sorted(times)[int(share * (len(times) - 1))] for times in (alone, accompanied))
        ratios.append(two / one)
        print(f"{f'step, {what}':44} {one * 1e3:9.3f} ms alone {two * 1e3:9.3f} ms beside moves {two / one:8.3f}")
    print(f"{'moves meanwhile':44} {carried * info.bytes_per_page / seconds / 1e9:9.1f} GB/s")
    return ratios[0] <= STEP_BOUND


async def entry_copies(engine: LocalEngine, count: int) -> None:
    """A batch of entry copies, by itself; from the middle of pages to the middle of others."""
    size = engine.info.page_size
    pages = -(-count // size)
    half = size // 2
    print(f"\n{count} entries copied")
    for shift in (0, -7):
        copies = [
            EntryCopy(1 + i, half * part, 1 + pages + i + part, half * (1 - part), half, shift)
            for i in range(pages)
            for part in (0, 1)
        ]
        host: list[float] = []

        async def copy(copies: list[EntryCopy] = copies, host: list[float] = host) -> None:
            begin = time.perf_counter()
            await engine.step(Batch([], entries=copies))
            host.append(time.perf_counter() - begin)
            if engine.info.device != "cpu":
                torch.cuda.synchronize(engine.info.device)

        whole = await timed(copy)
        print(
            f"{f'shift {shift}':44} {whole * 1e3:9.3f} ms, {statistics.median(host) * 1e3:.3f} ms of them on the host"
        )


async def measure(engine: LocalEngine, arguments: argparse.Namespace) -> bool:
    good = await swap(engine, arguments.tokens)
    if arguments.swap_only:
        return good
    for rows in arguments.rows:
        good &= await beside(engine, rows, arguments.context, arguments.moved, arguments.steps)
    await entry_copies(engine, arguments.tokens // 2)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure moves of K/V.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", default="llama-1b", choices=[*SHAPES])
    parser.add_argument("--layers", type=int, help="fewer layers than the shape has: ratios stay, loading is faster")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--moved", type=int, default=128, help="pages that travel beside steps")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pages", type=int, default=3000)
    parser.add_argument("--swap-only", action="store_true", help="swap and resume against recomputing; nothing else")
    parser.add_argument("--pauses", type=float, nargs="*", default=[100], help="ms, between turns of agents")
    parser.add_argument("--part-mib", type=int, default=host_tier.PART_BYTES >> 20, help="queued at a time by a move")
    parser.add_argument("--parts", type=int, default=host_tier.PARTS)
    arguments = parser.parse_args()
    host_tier.PART_BYTES, host_tier.PARTS = arguments.part_mib << 20, arguments.parts
    shape = SHAPES[arguments.shape]
    layers = arguments.layers or shape.num_hidden_layers
    limit = max(shape.max_position_embeddings, 2 * arguments.tokens)
    shape = dataclasses.replace(shape, num_hidden_layers=layers, max_position_embeddings=limit)
    on_gpu = arguments.device != "cpu"
    with tempfile.TemporaryDirectory() as root:
        write(shape, Path(root), dtype=torch.bfloat16 if on_gpu else torch.float32)
        bare = "unknown"
        if not arguments.swap_only:
            begin = time.perf_counter()
            engine = LocalEngine.load(root, device=arguments.device, pages=arguments.pages, host_pages=0, threads=1)
            bare = f"{time.perf_counter() - begin:.2f} s"
            engine.close()
        begin = time.perf_counter()
        engine = LocalEngine.load(root, device=arguments.device, pages=arguments.pages, threads=1)
        print(f"{arguments.shape}, {layers} layers: {engine.describe()}")
        print(f"loaded in {time.perf_counter() - begin:.2f} s, without a host tier in {bare}")
        good = asyncio.run(measure(engine, arguments))
        engine.close()
        pages = 3 * -(-arguments.tokens // engine.info.page_size) // 2
        engine = LocalEngine.load(root, device=arguments.device, pages=pages, threads=1)
        for pause in arguments.pauses:
            good &= asyncio.run(take_turns(engine, arguments.tokens, pause / 1e3))
        engine.close()
    print("\nall within bounds" if good else "\nOUT OF BOUNDS")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
