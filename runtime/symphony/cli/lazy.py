"""A click group whose commands are imported when they are called, so that `symphony --help` stays fast.

It is also where an expected failure ends: printed as what, why and the fix, with the documented exit status.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from symphony.errors import Invalid, NotFound, SymphonyError

PROGRAM_ERROR, USAGE_ERROR, INTERRUPTED = 1, 2, 130


class Lazy(NamedTuple):
    """Where a command is, and its line in the help of its group."""

    target: str
    """`module:attribute`"""
    summary: str


class LazyGroup(click.Group):
    """A group over a table `name -> Lazy`, in the table's order."""

    def __init__(self, *args: Any, table: Mapping[str, Lazy], **options: Any) -> None:
        super().__init__(*args, **options)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        module, attribute = entry.target.split(":")
        return getattr(importlib.import_module(module), attribute)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown command names its nearest neighbours (without importing them all)."""
        if args and args[0] not in self._table and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}.{did_you_mean(args[0], self._table)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._table.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SymphonyError as error:
            click.echo(explain(error), err=True)
            ctx.exit(exit_status(error))
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


def exit_status(error: SymphonyError) -> int:
    """2 for what the user typed or named wrongly, else 1."""
    return USAGE_ERROR if isinstance(error, (Invalid, NotFound)) else PROGRAM_ERROR


def explain(error: SymphonyError) -> str:
    """`error` for a person, the fix on a line of its own."""
    text = click.style("error: ", fg="red", bold=True) + error.message
    return f"{text}\n  {click.style('fix:', bold=True)} {error.hint}" if error.hint else text


def did_you_mean(word: str, known: Mapping[str, Any] | list[str]) -> str:
    """A sentence with what comes close to `word`, with a leading space; empty if nothing does."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=3, cutoff=0.7)
    return f" Did you mean {' or '.join(close)}?" if close else ""
