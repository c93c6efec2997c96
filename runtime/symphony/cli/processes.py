"""`symphony ps`, `kill`, `logs`, `trace`: the processes of a running server."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from symphony.cli.options import server_option
from symphony.cli.remote import Remote
from symphony.cli.terminal import RunPrinter, table, terminal_width, visible
from symphony.errors import Invalid


@click.command()
@server_option
@click.option("--json", "as_json", is_flag=True, help="Print the server's JSON.")
def ps(url: str, as_json: bool) -> None:
    """List the processes of a server, the ended ones that it remembers too.

    NI is the nice value: lower ones go first among those of a tenant. DEVICE and HOST are the KV pages that a process'
    files have in the two tiers. A process is `swapped` while it is blocked and nothing of its files is on the device.
    """
    answer = Remote(url).call("GET", "/v1/processes")
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        return
    rows = [row(process) for process in answer["processes"]]
    click.echo(visible(table(HEADER, rows, width=terminal_width(), give="PROGRAM"), sys.stdout))


HEADER = ("PID", "PROGRAM", "STATE", "NI", "WAITS FOR", "DEVICE", "HOST", "TOKENS", "CPU-S", "AGE")


def row(process: Mapping[str, Any]) -> tuple[object, ...]:
    """One process in a table under `HEADER`."""
    usage, pages = process["usage"], process["pages"]
    return (
        process["pid"],
        process["program"],
        process["state"],
        process["nice"],
        ", ".join(process["waits_for"]) or "-",
        f"{pages['device']:,}",
        f"{pages['host']:,}",
        f"{usage['prompt_tokens'] + usage['generated_tokens']:,}",
        f"{usage['cpu_us'] / 1e6:.2f}",
        age(usage["wall_us"] / 1e6),
    )


def age(seconds: float) -> str:
    """In the largest unit that it fills."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


@click.command()
@click.argument("pid", type=int)
@server_option
def kill(pid: int, url: str) -> None:
    """End process PID; no error if it has ended."""
    state = Remote(url).call("DELETE", f"/v1/processes/{pid}")["state"]
    click.echo(f"process {pid} is {state}")


@click.command()
@click.argument("pid", type=int)
@server_option
@click.pass_context
def logs(ctx: click.Context, pid: int, url: str) -> None:
    """Print what process PID says, from its beginning until it ends: output and result to stdout, log to stderr."""
    printer = RunPrinter()
    for kind, data in Remote(url).events("GET", f"/v1/processes/{pid}/events"):
        printer.show(kind, data)
    ctx.exit(printer.status or 0)


@click.command()
@click.argument("pid", type=int)
@click.option("-o", "--output", metavar="FILE", help="Where to (default: trace-PID.json).")
@server_option
def trace(pid: int, output: str | None, url: str) -> None:
    """Save when process PID had its turns and what it asked of the host, for chrome://tracing or ui.perfetto.dev.

    Only of a process that was started with trace=1 (symphony run --trace), or on a server with --trace.
    """
    timeline = Remote(url).call("GET", f"/v1/processes/{pid}/trace")
    path = Path(output or f"trace-{pid}.json")
    save_trace(timeline, path)


def save_trace(timeline: Mapping[str, Any], path: Path) -> None:
    """Write a timeline, and say so on stderr. Raises Invalid if it cannot be written there."""
    try:
        path.write_text(json.dumps(timeline), encoding="utf-8")
    except OSError as cause:
        raise Invalid(f"cannot write {path}: {cause.strerror}", "name another file") from None
    counts = timeline["otherData"]
    left_out = f" ({counts['left_out']:,} of them are not kept)" if counts["left_out"] else ""
    click.secho(
        f"{counts['turns']:,} turns and {counts['syscalls']:,} syscalls{left_out} in {path}", err=True, dim=True
    )
