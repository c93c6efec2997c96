"""Options that several commands share."""

from __future__ import annotations

import click

from symphony.cli.remote import DEFAULT_URL

server_option = click.option(
    "--url", default=DEFAULT_URL, show_default=True, envvar="SYMPHONY_URL", help="The server (or SYMPHONY_URL)."
)
