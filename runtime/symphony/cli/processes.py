"""`symphony ps`, `kill`, `logs`: the processes of a running server."""

from __future__ import annotations

import time

import click

from symphony.cli.options import server_option
from symphony.cli.remote import Remote
from symphony.cli.terminal import RunPrinter, table


@click.command()
@server_option
def ps(url: str) -> None:
    """List the processes of a server, the ended ones that it remembers too."""
    rows = [
        (
            process["pid"],
            process["program"],
            process["state"],
            time.strftime("%H:%M:%S", time.localtime(process["started"])),
            process["usage"]["generated_tokens"],
            process["usage"]["pages"],
            f"{process['usage']['cpu_us'] / 1e6:.3f}",
        )
        for process in Remote(url).call("GET", "/v1/processes")["processes"]
    ]
    click.echo(table(("PID", "PROGRAM", "STATE", "STARTED", "GENERATED", "PAGES", "CPU-S"), rows))


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
