"""`symphony programs`: the store of a running server."""

from __future__ import annotations

import time
from typing import Any

import click

from symphony.cli import target
from symphony.cli.options import server_option
from symphony.cli.packages import runnable
from symphony.cli.remote import Remote, segment
from symphony.cli.terminal import pairs, table


@click.group()
def programs() -> None:
    """List, add, remove and inspect the programs of a server."""


@programs.command()
@server_option
def ls(url: str) -> None:
    """List the programs."""
    rows = [
        (info["name"], info["id"][:12], info["kind"], info["size"], _when(info))
        for info in Remote(url).call("GET", "/v1/programs")["programs"]
    ]
    click.echo(table(("NAME", "ID", "KIND", "BYTES", "CREATED"), rows))


@programs.command()
@click.argument("file")
@click.option("--name", help="The name to give it (default: the file's, without suffix).")
@server_option
def add(file: str, name: str | None, url: str) -> None:
    """Upload FILE: a .py, a .wasm or the name of a sample. A .py that names packages is built first, here."""
    chosen = target.resolve(file)
    if chosen.path is None:
        raise target.unknown_name(file, [])
    query = {"name": name or chosen.name}
    info = Remote(url).call("POST", "/v1/programs", query, runnable(chosen.path).read_bytes())
    click.echo(f"{info['name']}  {info['id']}")


@programs.command()
@click.argument("ref")
@server_option
def rm(ref: str, url: str) -> None:
    """Remove the program with the name or id REF. Processes that run it go on."""
    Remote(url).call("DELETE", f"/v1/programs/{segment(ref)}")
    click.echo(f"removed {ref}")


@programs.command()
@click.argument("ref")
@server_option
def inspect(ref: str, url: str) -> None:
    """Show what is known of the program with the name or id REF."""
    info = Remote(url).call("GET", f"/v1/programs/{segment(ref)}")
    parameters = info.get("parameters")
    shown = {
        "name": ", ".join(info.get("names") or [info["name"]]),
        "id": info["id"],
        "kind": info["kind"],
        "size": f"{info['size']} bytes",
        "created": _when(info),
        "parameters": "unknown" if parameters is None else _parameters(parameters),
    }
    click.echo(pairs(shown))


def _parameters(parameters: dict[str, str]) -> str:
    return ", ".join(f"{name}: {kind}" if kind else name for name, kind in parameters.items()) or "none"


def _when(info: dict[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info["created"]))
