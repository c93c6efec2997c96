"""`symphony bench kv --disk`: what it costs to make a file durable, what it is worth after a restart, and what the disk
is worth as a tier below the host's.

    sync       a synced file, beside `dd conv=fsync` of as many bytes on the same disk
    reopen     another core on the same store: the file opened, its K/V read, the next token; against computing it anew
    agents     as in `bench kv`, on a pool of a tenth of their contexts and a host tier of a fifth: the rest goes to
               disk and back, unsynced; against a pool alone (what left is computed again). So many that several fit in:
               a step of one row reads as many weights as one of eight, and would hide what a context costs

The restart is that of the core and its store, in one process: page tables, prefix cache and names are new, the loaded
weights are not. The page cache of the operating system stays warm, as it does when only the host goes down.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from symphony.bench.kv import Agents, Client, Load, model_info, run_agents, running
from symphony.bench.report import Report
from symphony.errors import SymphonyError, Unavailable
from symphony.store.disk import Folder
from symphony.store.store import Store

PATH = "/kept"
HOST_SHARE = 0.2


async def bench_disk(report: Report, load: Load, folder: Path, tokens: int, rounds: int = 5) -> None:
    """`folder` is on the disk to be measured; what is put there is removed."""
    info = model_info(load)
    pages = -(-tokens // info.page_size)
    size = pages * info.image_bytes
    engine = load(2 * pages + 4, 0)
    computed: list[float] = []
    synced: list[float] = []
    reopened: list[float] = []
    plain: list[float] = []
    same, reused = 0, 0
    try:
        for turn in range(rounds + 1):
            home = folder / f"kv-{turn}"
            store = Store(Folder(home))
            async with running(engine, store) as (core, inbox):
                client = Client(core, inbox, turn + 1)
                text = client.text(tokens, engine.info.vocab_size)
                file = await core.open(client.session, None, PATH, write=True, create=True)
                start = time.perf_counter()
                drawn = await client.pred(file, text)
                computed.append(time.perf_counter() - start)
                start = time.perf_counter()
                op = client.next_op()
                await core.sync(client.session, file, op)
                if isinstance(error := await inbox.arrival(op), SymphonyError):
                    raise error
                synced.append(time.perf_counter() - start)
                after = await client.pred(file, [drawn or 0])
            await store.close()
            store = Store(Folder(home))
            async with running(engine, store) as (core, inbox):
                client = Client(core, inbox, turn + 1)
                start = time.perf_counter()
                file = await core.open(client.session, None, PATH)
                again = await client.pred(file, [drawn or 0])
                reopened.append(time.perf_counter() - start)
                kept = await core.tokens(client.session, file, 0, tokens)
                same += (again, kept) == (after, text)
                reused += core.usage(client.session).reused_tokens
            await store.close()
            plain.append(await asyncio.to_thread(_dd, folder / "plain", size))
            shutil.rmtree(home)
    finally:
        engine.close()
    compute, sync, reopen, dd = (statistics.median(times[1:]) for times in (computed, synced, reopened, plain))
    report.add(f"computing {tokens} tokens", compute * 1e3, "ms")
    report.add("after a restart: open, read back, next token", reopen * 1e3, "ms")
    report.add("computing / reopening", compute / reopen, "", at_least=5)
    report.add("share of the prefix that was reused", reused / (rounds + 1) / tokens, "", at_least=0.95)
    report.add("files with the same tokens", same / (rounds + 1), "", at_least=1)
    report.add(f"sync, {size / 1e6:.1f} MB", sync * 1e3, "ms")
    report.add("sync", size / sync / 1e6, "MB/s")
    report.add("dd conv=fsync of the same bytes", size / dd / 1e6, "MB/s")


async def bench_disk_agents(report: Report, load: Load, folder: Path, work: Agents, rounds: int = 3) -> None:
    """Agents on a small pool with tiers below it and without, in turns; processor seconds of the whole process too."""
    info = model_info(load)
    pages, slots = 1 + work.pages(info.page_size, work.share), work.pages(info.page_size, HOST_SHARE)
    rates: dict[bool, list[float]] = {True: [], False: []}
    costs: dict[bool, list[float]] = {True: [], False: []}
    answers: dict[bool, list[list[int]]] = {}
    for turn in range(rounds):
        for tiered in (True, False):
            engine = load(pages, slots if tiered else 0)
            store = Store(Folder(folder / f"tier-{turn}")) if tiered else None
            before = time.process_time()
            try:
                seconds, answers[tiered] = await run_agents(engine, work, store)
            finally:
                engine.close()
                if store is not None:
                    await store.close()
            costs[tiered].append(time.process_time() - before)
            rates[tiered].append(work.count * work.turns * work.answer / seconds)
    with_tiers, without = statistics.median(rates[True]), statistics.median(rates[False])
    report.add(f"{work.count} agents, with host and disk tiers", with_tiers, "tok/s")
    report.add(f"{work.count} agents, recompute only", without, "tok/s")
    report.add("with / without", with_tiers / without, "", at_least=1.5)
    cpu = statistics.median(a / b for a, b in zip(costs[False], costs[True], strict=True))
    report.add("processor time, contexts too, without / with", cpu, "")
    same = sum(answers[True][i] == answers[False][i] for i in range(work.count)) / work.count
    report.add("agents with the same tokens", same, "", at_least=1 if not info.device.startswith("cuda") else None)


def _dd(target: Path, size: int) -> float:
    """Seconds of writing so many bytes, the start of the program not counted (a run without bytes)."""
    seconds: list[float] = []
    source = target.with_suffix(".source")
    source.write_bytes(os.urandom(size))
    for count in (0, size):
        start = time.perf_counter()
        command = ["dd", f"if={source}", f"of={target}", "bs=1M", f"count={count}", "iflag=count_bytes", "conv=fsync"]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except OSError as e:
            raise Unavailable(f"dd cannot be run: {e}", "install coreutils") from e
        seconds.append(time.perf_counter() - start)
        target.unlink()
    source.unlink()
    return max(seconds[1] - seconds[0], 1e-6)
