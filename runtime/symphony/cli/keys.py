"""`symphony keys`: who may use the servers of this machine's home. Works on the file; servers see it at once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from symphony.access.identity import Role
from symphony.access.keys import Key, KeyFile
from symphony.cli.terminal import table

home_option = click.option(
    "--home", envvar="SYMPHONY_HOME", metavar="DIR", help="The server's home (default: your data directory)."
)


def keys_path(home: str | None) -> Path:
    """The file of keys of a server's home."""
    from symphony.host import data_directory

    return (Path(home) if home is not None else data_directory()) / "keys.json"


@click.group()
def keys() -> None:
    """Make, list and remove the keys that clients need.

    A server whose home has keys asks for one, also on this machine; one that others can reach does not start without.
    """


@keys.command()
@click.argument("tenant")
@click.option(
    "--user", metavar="NAME", help="Who of the tenant it is; files are a user's (default: the tenant's name)."
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([role.value for role in Role]),
    default=(Role.RUN.value, Role.UPLOAD.value),
    show_default=True,
    help="Run programs; store programs and run new ones; see and manage all of the tenant's. Any number.",
)
@click.option("--note", default="", metavar="TEXT", help="What it is for.")
@home_option
def add(tenant: str, user: str | None, roles: tuple[str, ...], note: str, home: str | None) -> None:
    """Make a key for TENANT and print it: it is not kept, and cannot be shown again."""
    key, text = KeyFile(keys_path(home)).add(tenant, user or tenant, map(Role, roles), note)
    click.echo(text)
    click.echo(
        f"key {key.id} of {key.tenant}/{key.user}: {', '.join(key.roles)}; keep it, it is not shown again", err=True
    )


@keys.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def ls(as_json: bool, home: str | None) -> None:
    """List the keys, without what opens anything."""
    found = KeyFile(keys_path(home)).all()
    if as_json:
        click.echo(json.dumps([_shown(key) for key in found], indent=2))
        return
    rows = [(key.id, key.tenant, key.user, ",".join(key.roles), _day(key.created), key.note) for key in found]
    click.echo(table(("ID", "TENANT", "USER", "ROLES", "MADE", "NOTE"), rows))


@keys.command()
@click.argument("ident", metavar="ID")
@home_option
def rm(ident: str, home: str | None) -> None:
    """Remove the key with that ID: from its next request on, who has it is refused."""
    key = KeyFile(keys_path(home)).remove(ident)
    click.echo(f"removed {key.id} of {key.tenant}/{key.user}")


def _shown(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "user": key.user,
        "roles": list(key.roles),
        "created": key.created,
        "note": key.note,
    }


def _day(created: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(created))
