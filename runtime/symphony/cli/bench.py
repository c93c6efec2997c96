"""`symphony bench`: measurements of this machine, as a table or JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from symphony.errors import Invalid

if TYPE_CHECKING:
    from symphony.bench.engine import Workload
    from symphony.bench.report import Report
    from symphony.engine.local import LocalEngine


@click.group()
def bench() -> None:
    """Measure the host, or a model through it."""


def _conditions(cores: str) -> dict[str, str]:
    return {"cores": cores, "machine": platform.machine(), "python": platform.python_version()}


def _guests() -> Path:
    from symphony.bench.guests import directory

    return directory()


@bench.command("host")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quick", is_flag=True, help="Fewer instances: a smoke test, not a measurement.")
@click.option("--all-cores", is_flag=True, help="Do not pin this process to one core.")
def host(as_json: bool, quick: bool, all_cores: bool) -> None:
    """What a syscall, a token, a launch and a waiting program cost, the engine faked."""
    from symphony.bench.host import bench_host
    from symphony.bench.report import Report

    if not all_cores:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    report = Report("host, engine faked", _conditions(str(len(os.sched_getaffinity(0)))))
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(bench_host(report, _guests(), Path(home), quick=quick))
    click.echo(report.as_json() if as_json else report.as_text())


@bench.command("engine")
@click.option("--model", default="tiny", show_default=True, help="A name or a model directory.")
@click.option("--device", help="cpu, cuda or cuda:N.")
@click.option("--attention", type=click.Choice(["flash", "triton", "torch"]), help="Force an attention back end.")
@click.option("--in-loop", is_flag=True, help="Also LIPs that choose every token themselves.")
@click.option("--decode", is_flag=True, help="Instead: decode steps on a GPU, without LIPs, beside what memory allows.")
@click.option("--transformers", "attention_there", metavar="ATTENTION", help="Also transformers, with sdpa or another.")
@click.option("--rows", default=64, show_default=True, help="LIPs at once.")
@click.option("--workers", default=0, show_default=True, help="Processes that run the LIPs; 0: the host's own.")
@click.option("--prompt-tokens", default=8, show_default=True)
@click.option("--new-tokens", default=64, show_default=True)
@click.option("--rounds", type=int, help="Alternated rounds, of which medians are reported: 3, or 9 with --peers.")
@click.option("--threads", type=int, help="Threads of the model's arithmetic on the CPU; 1 with --peers.")
@click.option("--peers", "beside", is_flag=True, help="Instead: our engine beside other ones, on the CPU.")
@click.option("--peer", "interpreters", multiple=True, metavar="NAME=PYTHON", help="With --peers: where one is.")
@click.option("--only", multiple=True, metavar="TEXT", help="With --peers: rows whose name contains it.")
@click.option("--eager", is_flag=True, help="With --peers: do not try the compiled ways, which take minutes to start.")
@click.option("--shape", default="llama-29m", show_default=True, help="With --peers: see bench/model_shapes.py.")
@click.option("--dtype", default="float32", show_default=True, help="With --peers: of the weights.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def engine(
    model: str,
    device: str | None,
    attention: str | None,
    in_loop: bool,
    decode: bool,
    attention_there: str | None,
    rows: int,
    workers: int,
    prompt_tokens: int,
    new_tokens: int,
    rounds: int | None,
    threads: int | None,
    beside: bool,
    interpreters: tuple[str, ...],
    only: tuple[str, ...],
    eager: bool,
    shape: str,
    dtype: str,
    as_json: bool,
) -> None:
    """Tokens per second of a model through the whole host."""
    from symphony.bench.engine import Workload, bench_engine
    from symphony.bench.peers import bench_transformers
    from symphony.bench.report import Report
    from symphony.engine import registry
    from symphony.engine.local import LocalEngine
    from symphony.engine.placement import find_device

    if beside:
        _peers(shape, dtype, threads or 1, rounds or 9, interpreters, only, eager, as_json)
        return
    work = Workload(rows, prompt_tokens, new_tokens)
    report = Report(f"engine, {registry.short_name(model)}", _conditions(str(os.cpu_count())))
    if attention_there:  # first: our pages take what memory there is
        size, where = (rows, prompt_tokens, new_tokens), str(find_device(device))
        bench_transformers(report, sys.executable, registry.find(model), where, attention_there, size)
    loaded = LocalEngine.load(model, device=device, attention=attention, threads=threads)
    report.conditions |= loaded.describe() | {"workers": str(workers)}
    if decode:
        _decode(report, loaded)
    else:
        guest = (_guests() / "guest.wasm").read_bytes()
        with tempfile.TemporaryDirectory() as home:
            measured = bench_engine(
                report, loaded, Path(home), guest, work, in_loop=in_loop, rounds=rounds or 3, workers=workers
            )
            asyncio.run(measured)
    click.echo(report.as_json() if as_json else report.as_text())


def _decode(report: Report, engine: LocalEngine) -> None:
    from symphony.bench.decode import bench_decode

    if not engine.info.device.startswith("cuda"):
        raise Invalid("decode steps are measured on a GPU", "give --device cuda on a machine that has one")
    asyncio.run(bench_decode(report, engine))
    engine.close()


def _peers(
    shape: str,
    dtype: str,
    threads: int,
    rounds: int,
    interpreters: tuple[str, ...],
    only: tuple[str, ...],
    eager: bool,
    as_json: bool,
) -> None:
    from symphony.bench.peers import Setting, bench_peers, find_peers, write_model
    from symphony.bench.report import Report

    def tell(text: str) -> None:
        click.echo(f"  {text}", err=True)

    given = dict(item.split("=", 1) for item in interpreters if "=" in item)
    engines = find_peers(given, tell)
    if eager:
        engines = [[way for way in ways if way.how != "compiled"] for ways in engines]
    report = Report(f"engines, {shape}, {dtype}, {threads} threads", _conditions(str(os.cpu_count())))
    with tempfile.TemporaryDirectory() as home:
        vocab = write_model(shape, Path(home))
        bench_peers(report, engines, Setting(Path(home), dtype, threads, vocab), only, rounds, tell)
    click.echo(report.as_json() if as_json else report.as_text())


@bench.command("constraint")
@click.option("--model", default="tiny", show_default=True, help="A name or a model directory.")
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path), help="Masks of this tokenizer.json alone.")
@click.option("--steps", default=2000, show_default=True, help="Masks of each grammar.")
@click.option("--rounds", default=5, show_default=True, help="Alternated rounds; medians are reported.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def constraint(model: str, tokenizer: Path | None, steps: int, rounds: int, as_json: bool) -> None:
    """What a constraint costs a step, and what its forced tokens save."""
    from symphony.bench.constraint import bench_answers, bench_masks
    from symphony.bench.report import Report
    from symphony.engine.local import LocalEngine
    from symphony.engine.tokenizer import Tokenizer

    if tokenizer is not None:
        tokens = Tokenizer.load(tokenizer)
        report = Report(f"constraints, {tokens.vocab_size} tokens", _conditions("1"))
        bench_masks(report, tokens, tokens.vocab_size, (0,), steps)
    else:
        engine = LocalEngine.load(model, device="cpu", threads=1)
        report = Report(f"constraints, {engine.info.name}", {**_conditions("1"), **engine.describe()})
        bench_masks(report, engine.tokenizer, engine.info.vocab_size, engine.info.stop_tokens, steps)
        asyncio.run(bench_answers(report, engine, rounds))
        engine.close()
    click.echo(report.as_json() if as_json else report.as_text())


@bench.command("kv")
@click.option("--model", default="tiny", show_default=True, help="A name or a model directory.")
@click.option("--device", help="cpu, cuda or cuda:N.")
@click.option("--attention", type=click.Choice(["flash", "triton", "torch"]), help="Force an attention back end.")
@click.option("--agents", default=8, show_default=True, help="Programs at once; --disk: five times as many.")
@click.option("--context", default=512, show_default=True, help="Tokens of each at the start.")
@click.option("--tokens", default=1024, show_default=True, help="Tokens of the file that goes and comes back.")
@click.option("--rounds", default=3, show_default=True, help="Alternated rounds; medians are reported.")
@click.option("--disk", is_flag=True, help="Instead: what it costs to make a file durable, and what that is worth.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def kv(
    model: str,
    device: str | None,
    attention: str | None,
    agents: int,
    context: int,
    tokens: int,
    rounds: int,
    disk: bool,
    as_json: bool,
) -> None:
    """What forks cost, and what the host tier of KV files is worth."""
    from symphony.bench.disk import bench_disk, bench_disk_agents
    from symphony.bench.kv import Agents, bench_agents, bench_forks, bench_resume
    from symphony.bench.report import Report
    from symphony.engine.local import LocalEngine

    def load(pages: int, slots: int | None) -> LocalEngine:
        return LocalEngine.load(model, device=device, attention=attention, pages=pages, host_pages=slots)

    async def measure() -> None:
        if disk:
            with tempfile.TemporaryDirectory(dir=".") as folder:
                await bench_disk(report, load, Path(folder), tokens, rounds)
                work = Agents(count=5 * agents, context=context, turns=3, share=0.1)
                await bench_disk_agents(report, load, Path(folder), work, rounds)
            return
        await bench_forks(report)
        await bench_resume(report, load, tokens, rounds)
        await bench_agents(report, load, Agents(count=agents, context=context), rounds)

    report = Report(f"KV files, {model}", _conditions(str(os.cpu_count())))
    asyncio.run(measure())
    click.echo(report.as_json() if as_json else report.as_text())


@bench.command("programs")
@click.option("--model", default="tiny", show_default=True, help="A name or a model directory.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--only", multiple=True, metavar="NAME", help="This application alone; any number of times.")
@click.option("--rounds", default=3, show_default=True, help="Alternated rounds; medians are reported.")
@click.option("--jobs", type=click.IntRange(1), help="Of each application, instead of its own number.")
@click.option("--threads", default=1, show_default=True, help="Threads of the model's arithmetic on the CPU.")
@click.option("--pages", type=click.IntRange(2), help="KV pages of the server (default: by memory).")
@click.option("--without-library", is_flag=True, help="Leave transformers out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def programs(
    model: str,
    device: str,
    only: tuple[str, ...],
    rounds: int,
    jobs: int | None,
    threads: int,
    pages: int | None,
    without_library: bool,
    as_json: bool,
) -> None:
    """Nine applications: as programs, as clients of our endpoint, and of transformers."""
    from symphony.bench.child import ending_on_sigterm
    from symphony.bench.programs.measure import bench_programs, choose
    from symphony.bench.programs.ways import Clients, Library, Programs, Server, Way, stop_tokens
    from symphony.bench.report import Report
    from symphony.engine import registry

    def tell(text: str) -> None:
        click.echo(f"  {text}", err=True)

    chosen, directory = choose(only), registry.find(model)
    report = Report(f"programs, {registry.short_name(model)}", _conditions(str(os.cpu_count())))
    with ending_on_sigterm(), contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        options = () if pages is None else ("--pages", str(pages))

        def serve(label: str) -> Server:
            server = Server(directory, device, threads, home / label, options)
            return stack.enter_context(contextlib.closing(server))

        programs, clients = serve("LIP"), serve("endpoint")
        report.conditions |= programs.report
        ways: list[Way] = [Programs(programs, "LIP"), Clients(clients, "endpoint", stop_tokens(directory))]
        if not without_library:
            library = stack.enter_context(contextlib.closing(Library(directory, device, threads, home)))
            report.conditions["transformers"] = json.dumps(library.report)
            ways.append(library)
        bench_programs(report, ways, chosen, rounds, tell, jobs)
    click.echo(report.as_json() if as_json else report.as_text())


@bench.command("serving")
@click.option("--shape", default="llama-29m", show_default=True, help="See bench/model_shapes.py; random weights.")
@click.option("--model", help="Instead of a shape: a model directory.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--streams", default=64, show_default=True, help="Event streams at once.")
@click.option("--tokens", default=200, show_default=True, help="Told by each of them.")
@click.option(
    "--rows", "sizes", multiple=True, type=int, default=(1, 16), show_default=True, help="Completions at once."
)
@click.option("--new-tokens", default=128, show_default=True, help="Of a completion.")
@click.option(
    "--openai",
    "endpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The program that answers completions, such as a build of samples/openai/rust (default: ours).",
)
@click.option("--rounds", default=3, show_default=True, help="Alternated rounds; medians are reported.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def serving(
    shape: str,
    model: str | None,
    device: str,
    streams: int,
    tokens: int,
    sizes: tuple[int, ...],
    new_tokens: int,
    endpoint: Path | None,
    rounds: int,
    as_json: bool,
) -> None:
    """What a streamed token costs, and a completion next to the bare engine."""
    from symphony.bench.child import ending_on_sigterm
    from symphony.bench.engine import Workload
    from symphony.bench.peers import write_model
    from symphony.bench.report import Report
    from symphony.bench.serving import bench_completions, bench_streams
    from symphony.engine.local import LocalEngine

    report = Report(f"serving, {model or shape}", _conditions(str(os.cpu_count())))
    guest = (_guests() / "guest.wasm").read_bytes()
    with ending_on_sigterm(), tempfile.TemporaryDirectory() as home:
        asyncio.run(bench_streams(report, Path(home), streams, tokens, rounds))
        if sizes and model is None:
            write_model(shape, Path(home) / "model")
        for rows in sizes:
            work = Workload(rows, 8, new_tokens)
            load = partial(LocalEngine.load, model or str(Path(home) / "model"), device=device, threads=1)
            if device != "cpu":  # else the first one takes what memory there is
                load = partial(load, pages=_pages(work), host_pages=0)
            first, second = load(), load()
            report.conditions |= second.describe()
            asyncio.run(bench_completions(report, (first, second), Path(home), guest, work, rounds, endpoint))
            first.close()
    click.echo(report.as_json() if as_json else report.as_text())


def _pages(work: Workload) -> int:
    """Of 16 tokens or more: four times what all rows need, since pages that were used stay cached."""
    return 1 + 4 * work.rows * (2 + (work.prompt_tokens + work.new_tokens) // 16)


@bench.command("tiny")
@click.option("--model", default="tiny", show_default=True, help="A name or a model directory.")
@click.option("--draft", default="tiny-draft", show_default=True, help="The model that writes drafts; '' for none.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--only", multiple=True, metavar="TEXT", help="Tasks whose name contains it; any number of times.")
@click.option(
    "--manner", "manners", multiple=True, type=click.Choice(["plain", "varied", "unseen"]), help="Default: all."
)
@click.option("--items", default=200, show_default=True, type=click.IntRange(1), help="Fresh ones of each task.")
@click.option("--seed", default=0, show_default=True, help="Another one asks other questions.")
@click.option("--misses", default=0, show_default=True, help="Show so many wrong answers of each figure.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tiny(
    model: str,
    draft: str,
    device: str,
    only: tuple[str, ...],
    manners: tuple[str, ...],
    items: int,
    seed: int,
    misses: int,
    as_json: bool,
) -> None:
    """What the model that ships gets right: plain, varied and unseen wordings (in a checkout)."""
    sys.path.append(str(Path(__file__).parents[3]))
    try:
        from tiny.evaluate import MEASURES, Manner, as_lines, measure_all, measure_drafts
    except ModuleNotFoundError as e:
        raise Invalid(
            "the evaluation is part of the repository, not of the package", "run it in a checkout of Symphony"
        ) from e
    from symphony.bench.report import Report
    from symphony.engine.local import LocalEngine

    chosen = [m for m in MEASURES if not only or any(text in m.name for text in only)]
    if not chosen:
        raise Invalid(f"no task is named like {', '.join(only)}", f"there are {'; '.join(m.name for m in MEASURES)}")
    engine = LocalEngine.load(model, device=device, threads=1)
    report = Report(f"answers of {engine.info.name}, {items} items a task", {**_conditions("1"), **engine.describe()})
    asked = [Manner(manner) for manner in manners] or list(Manner)
    missed = asyncio.run(measure_all(report, engine, chosen, asked, items, seed, partial(click.echo, err=True)))
    if draft and not only:
        small = LocalEngine.load(draft, device=device, threads=1)
        asyncio.run(measure_drafts(report, engine, small, max(items // 10, 1), seed))
        small.close()
    engine.close()
    click.echo(report.as_json() if as_json else report.as_text())
    for line in as_lines(missed, misses):
        click.echo(line)


@bench.command("sched")
@click.option(
    "--mix", "mixes", multiple=True, metavar="NAME|FILE", help="A shipped mix or a file; default: all shipped."
)
@click.option("--policy", "policies", multiple=True, help="adaptive, eager, formula, rows:K, rows:K:MS, time:MS.")
@click.option("--seed", default=0, show_default=True)
@click.option("--invent", default=0, metavar="N", help="Also N mixes that are made up at random.")
@click.option("--runs", default=1, show_default=True, help="Seeds at most, where one does not tell policies apart.")
@click.option("--soak", "histories", default=0, metavar="N", help="Instead: N small random histories; all must end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: every figure of every run.")
def sched(
    mixes: tuple[str, ...], policies: tuple[str, ...], seed: int, invent: int, runs: int, histories: int, as_json: bool
) -> None:
    """Schedulers compared in simulation, on virtual time."""
    from symphony.bench import sched as simulated
    from symphony.bench.report import Report

    def tell(text: str) -> None:
        click.echo(f"  {text}", err=True)

    report = Report("schedulers, simulated", {"seed": str(seed)})
    if histories:
        simulated.soak(report, histories, seed, tell)
        click.echo(report.as_json() if as_json else report.as_text())
        return
    chosen = simulated.choose(mixes, seed, invent)
    comparison = simulated.compare(chosen, policies or (*simulated.FIXED, "formula"), seed, tell, runs)
    simulated.judge_dispatch(report, comparison)
    simulated.judge_promises(report, comparison)
    click.echo(simulated.as_json(report, comparison) if as_json else f"{comparison.as_text()}\n\n{report.as_text()}")
