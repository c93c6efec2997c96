"""`symphony bench`: measurements of this machine, as a table or JSON."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
from pathlib import Path

import click


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
@click.option("--rows", default=64, show_default=True, help="LIPs at once.")
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
    rows: int,
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
    from symphony.bench.report import Report
    from symphony.engine.local import LocalEngine

    if beside:
        _peers(shape, dtype, threads or 1, rounds or 9, interpreters, only, eager, as_json)
        return
    loaded = LocalEngine.load(model, device=device, attention=attention, threads=threads)
    report = Report(f"engine, {loaded.info.name}", {**_conditions(str(os.cpu_count())), **loaded.describe()})
    guest = (_guests() / "guest.wasm").read_bytes()
    work = Workload(rows, prompt_tokens, new_tokens)
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(bench_engine(report, loaded, Path(home), guest, work, in_loop=in_loop, rounds=rounds or 3))
    click.echo(report.as_json() if as_json else report.as_text())


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
@click.option("--agents", default=8, show_default=True, help="Programs at once.")
@click.option("--context", default=512, show_default=True, help="Tokens of each at the start.")
@click.option("--tokens", default=1024, show_default=True, help="Tokens of the file that goes and comes back.")
@click.option("--rounds", default=3, show_default=True, help="Alternated rounds; medians are reported.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def kv(
    model: str,
    device: str | None,
    attention: str | None,
    agents: int,
    context: int,
    tokens: int,
    rounds: int,
    as_json: bool,
) -> None:
    """What forks cost, and what the host tier of KV files is worth."""
    from symphony.bench.kv import Agents, bench_agents, bench_forks, bench_resume
    from symphony.bench.report import Report
    from symphony.engine.local import LocalEngine

    def load(pages: int, slots: int | None) -> LocalEngine:
        return LocalEngine.load(model, device=device, attention=attention, pages=pages, host_pages=slots)

    async def measure() -> None:
        await bench_forks(report)
        await bench_resume(report, load, tokens, rounds)
        await bench_agents(report, load, Agents(count=agents, context=context), rounds)

    report = Report(f"KV files, {model}", _conditions(str(os.cpu_count())))
    asyncio.run(measure())
    click.echo(report.as_json() if as_json else report.as_text())


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
