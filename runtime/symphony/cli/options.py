"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from symphony.cli.remote import DEFAULT_URL, KEY_VARIABLE

Command = TypeVar("Command", bound=Callable[..., Any])


def server_option(command: Command) -> Command:
    """`--url` and `--key`. The key is not passed on: what talks to servers has it from the environment, as it has when
    nothing is said here."""
    return key_option(_url_option(command))


_url_option = click.option(
    "--url", default=DEFAULT_URL, show_default=True, envvar="SYMPHONY_URL", help="The server (or SYMPHONY_URL)."
)


def _remember(ctx: click.Context, parameter: click.Parameter, key: str | None) -> None:
    if key is not None:
        ctx.with_resource(_environment(KEY_VARIABLE, key))


@contextmanager
def _environment(name: str, value: str) -> Generator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


key_option = click.option(
    "--key", metavar="KEY", expose_value=False, callback=_remember, help=f"Your key (better: {KEY_VARIABLE})."
)


def models_option(*defaults: str) -> Callable[[Command], Command]:
    """`--model`, any number of times."""
    return click.option(
        "--model",
        default=defaults,
        multiple=True,
        type=click.Path(),  # in the environment, several are separated by colons
        metavar="[NAME=]MODEL",
        help="A model's name or directory (default: tiny). Given several times, the first is the programs' default.",
    )
