"""`symphony run`: one program, here or on a server; its output as it comes, its result last.

    PROGRAM + key=value --> Target, arguments --> a Runtime in this process, or --url --> events --> RunPrinter

Exit status: 0, 1 if the program failed or was ended, 2 if what was asked for is wrong, 130 after Ctrl-C.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from symphony.cli import target
from symphony.cli.arguments import Words, from_annotations
from symphony.cli.boot import booted
from symphony.cli.messages import forward, to_process
from symphony.cli.options import key_option, models_option
from symphony.cli.packages import runnable
from symphony.cli.processes import save_trace
from symphony.cli.remote import Remote, segment
from symphony.cli.terminal import RunPrinter
from symphony.cli.tools import load_tools
from symphony.errors import Busy, Invalid, NotFound
from symphony.param import DEFAULT_WALL_SECONDS

if TYPE_CHECKING:
    from symphony.cli.target import Target
    from symphony.host import Config, Runtime
    from symphony.outside.config import OutsideConfig
    from symphony.process.process import Process
    from symphony.program.programs import ProgramInfo

PATIENCE_SECONDS = 2.0
"""A launch that takes longer is explained."""
QUERY_BYTES = 4000
"""Arguments up to this size travel in the query of a one-shot run; servers refuse much longer request lines."""


@click.command()
@click.argument("program")
@click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--json", "whole", metavar="JSON", help="All arguments as one JSON object; KEY=VALUE overrides it.")
@models_option()
@click.option("--device", metavar="cpu|cuda[:N]", help="Where the model runs (default: CUDA if there is one).")
@click.option("--attention", type=click.Choice(["flash", "triton", "torch"]), help="The attention back end.")
@click.option("--tools", metavar="FILE.py", help="Offer the public functions of a Python file as tools.")
@click.option("--fetch", multiple=True, metavar="PLACE", help="Let it fetch from there: https://api.example.com.")
@click.option("--config", metavar="FILE", help="Tools and grants from a server's configuration file (docs/tools.md).")
@click.option("--url", help="Run on this server instead of in this process.")
@key_option
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="End the run after this.")
@click.option(
    "--nice", type=click.IntRange(-20, 19), metavar="N", help="Stand back behind others: 1 to 19; -20: first."
)
@click.option("--trace", metavar="FILE", help="Save its timeline there, for chrome://tracing or ui.perfetto.dev.")
@click.option("--stdin", is_flag=True, help="Send it each line of the input as a message; at the end, an empty one.")
@click.pass_context
def run(
    ctx: click.Context,
    program: str,
    assignments: tuple[str, ...],
    whole: str | None,
    url: str | None,
    timeout: float | None,
    nice: int | None,
    model: tuple[str, ...],
    fetch: tuple[str, ...],
    config: str | None,
    trace: str | None,
    stdin: bool,
    **local: str | None,
) -> None:
    """Run PROGRAM: a .py, a .wasm, or the name of a sample or of an uploaded program.

    A value is text where the program's parameter is annotated str, else JSON. Output streams to stdout and the
    result is printed last, unless it is what was streamed; the log and the cost go to stderr.
    """
    chosen = target.resolve(program)
    words = Words(assignments, whole)
    if chosen.path is not None:
        words.parse(chosen.signature)  # a wrong word is refused before anything is built or loaded
        chosen = replace(chosen, path=runnable(chosen.path))
    if url is not None:
        once = {"model": next(iter(model), None), "fetch": next(iter(fetch), None), "config": config}
        _refuse_local_options({**once, **local})
        status = run_remote(Remote(url), chosen, words, timeout, nice, trace, stdin)
    else:
        reach = outside(config, fetch)
        work = run_local(
            chosen, words, timeout, nice, model=model or ("tiny",), reach=reach, trace=trace, stdin=stdin, **local
        )
        status = asyncio.run(work)
    ctx.exit(status)


async def run_local(
    chosen: Target,
    words: Words,
    timeout: float | None,
    nice: int | None,
    *,
    model: Sequence[str] = ("tiny",),
    device: str | None = None,
    attention: str | None = None,
    tools: str | None = None,
    reach: OutsideConfig | None = None,
    trace: str | None = None,
    stdin: bool = False,
) -> int:
    """Run in this process and print; returns the exit status. Cancelled (Ctrl-C), it kills the process first."""
    file = Path(tools) if tools is not None else chosen.tools
    functions = load_tools(file) if file is not None else None
    options = {} if reach is None and trace is None else {"config": _config(reach, trace is not None)}
    from symphony.process.trace import chrome_trace

    async with booted(model, device=device, attention=attention, tools=functions, **options) as runtime:
        for note in runtime.notes:
            click.secho(f"note: {note}", err=True, dim=True)
        process = await _launch(runtime, chosen, words, timeout, nice)
        if stdin:
            forward(to_process(process))
        printer = RunPrinter()
        try:
            async for event in process.events():
                printer.show(event.kind, event.data)
        finally:
            if not process.state.ended:
                await runtime.kill(process)
        printer.card(process.usage._asdict())
        if trace is not None:
            save_trace(chrome_trace(process), Path(trace))
    return printer.status or 0


def outside(config: str | None, places: Sequence[str]) -> OutsideConfig | None:
    """What the program may reach beside `--tools`: of the configuration's sections only those that say so."""
    if config is None and not places:
        return None
    from symphony.outside.config import OutsideConfig
    from symphony.outside.grants import Grant
    from symphony.settings.reader import read
    from symphony.settings.sections import Settings

    settings = read(Settings, Path(config)) if config is not None else Settings()
    grants = settings.grants
    if places:
        grants = (*(grants or (Grant(tools=("*",)),)), Grant(fetch=tuple(places)))
    return OutsideConfig(settings.endpoints, settings.mcp, grants)


def _config(reach: OutsideConfig | None, trace: bool) -> Config:
    from symphony.host import Config

    return Config(trace=trace) if reach is None else Config(outside=reach, trace=trace)


def run_remote(
    server: Remote,
    chosen: Target,
    words: Words,
    timeout: float | None,
    nice: int | None,
    trace: str | None = None,
    stdin: bool = False,
) -> int:
    """Run on a server and print; returns the exit status. Interrupted, the connection closes, which cancels the run."""
    path, query, body = _request(server, chosen, words)
    if timeout is not None:
        query["timeout"] = str(timeout)
    if nice is not None:
        query["nice"] = str(nice)
    if trace is not None:
        query["trace"] = "1"
    printer = RunPrinter()
    for kind, data in server.events("POST", path, query, body):
        printer.show(kind, data)
        if kind == "start" and stdin:
            forward(partial(_post, server, printer.pid))
    if printer.status is None:
        click.secho("error: the server closed the connection before the run ended", err=True, fg="red")
        return 1
    printer.card(server.call("GET", f"/v1/processes/{printer.pid}")["usage"])
    if trace is not None:
        save_trace(server.call("GET", f"/v1/processes/{printer.pid}/trace"), Path(trace))
    return printer.status


def _post(server: Remote, pid: int, text: str) -> None:
    """Send a message; waits while the program is far behind."""
    while True:
        try:
            return server.call("POST", f"/v1/processes/{pid}/messages", body=text.encode())
        except Busy:
            time.sleep(0.05)


def _request(server: Remote, chosen: Target, words: Words) -> tuple[str, dict[str, str], bytes]:
    """The path, query and body that run `chosen` on `server`: one shot where the arguments fit into a query."""
    if chosen.path is None:
        stored = _uploaded_there(server, chosen.name)
        args = json.dumps(words.parse(from_annotations(stored.get("parameters"))))
    else:
        content, args = chosen.path.read_bytes(), json.dumps(words.parse(chosen.signature))
        if len(args) <= QUERY_BYTES:
            return "/v1/run", {"args": args}, content
        stored = server.call("POST", "/v1/programs", body=content)
    return f"/v1/programs/{stored['id']}/run", {}, args.encode()


async def _launch(runtime: Runtime, chosen: Target, words: Words, timeout: float | None, nice: int | None) -> Process:
    from symphony.process.process import LaunchOptions

    options = LaunchOptions(wall_seconds=DEFAULT_WALL_SECONDS if timeout is None else timeout, nice=nice or 0)
    if chosen.path is not None:
        program, signature = chosen.path, chosen.signature
    else:
        info = _uploaded_here(runtime, chosen.name)
        program, signature = info.id, from_annotations(info.parameters)
    launch = asyncio.ensure_future(runtime.launch(program, words.parse(signature), options))
    done, _ = await asyncio.wait([launch], timeout=PATIENCE_SECONDS)
    if not done:
        click.secho("note: compiling; once for each program, half a minute for the first .py", err=True, dim=True)
    return await launch


def _uploaded_here(runtime: Runtime, name: str) -> ProgramInfo:
    try:
        return runtime.program(name)
    except NotFound:
        raise target.unknown_name(name, [info.name for info in runtime.programs()]) from None


def _uploaded_there(server: Remote, name: str) -> dict[str, Any]:
    try:
        return server.call("GET", f"/v1/programs/{segment(name)}")
    except NotFound:
        names = [info["name"] for info in server.call("GET", "/v1/programs")["programs"]]
        raise target.unknown_name(name, names) from None


def _refuse_local_options(options: dict[str, str | None]) -> None:
    for name, value in options.items():
        if value is not None:
            raise Invalid(f"--{name} does not go with --url", f"the server decides it: symphony serve --{name} {value}")
