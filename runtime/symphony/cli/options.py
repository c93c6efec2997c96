"""Options that several commands share."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from symphony.cli.lazy import did_you_mean
from symphony.cli.remote import DEFAULT_URL
from symphony.errors import Invalid, NotFound

Command = TypeVar("Command", bound=Callable[..., Any])

server_option = click.option(
    "--url", default=DEFAULT_URL, show_default=True, envvar="SYMPHONY_URL", help="The server (or SYMPHONY_URL)."
)


def _load_config(ctx: click.Context, parameter: click.Parameter, file: str | None) -> None:
    """Options of the command by their long names, in TOML; the command line and the environment win."""
    if file is None:
        return
    try:
        values: dict[str, Any] = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"there is no configuration file {file}", "check the path") from None
    except OSError as cause:
        raise Invalid(f"cannot read {file}: {cause.strerror}", "check the file's permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise Invalid(f"{file} is not TOML: {cause}", 'write lines such as port = 8080, or model = "tiny"') from None
    options = {option.name or "": option for option in ctx.command.params if option.name != parameter.name}
    known = list(options)
    names = {name: name.replace("-", "_") for name in values}
    for name, option in names.items():
        if option not in known:
            hint = f"the names are {', '.join(known)}"
            raise Invalid(f"{file}: there is no setting {name!r}.{did_you_mean(option, known)}", hint)
        several = getattr(options[option], "multiple", False)
        if several and not isinstance(values[name], list):
            values[name] = [values[name]]
        if any(isinstance(v, dict | list) for v in (values[name] if several else [values[name]])):
            raise Invalid(f"{file}: {name} is not a single value", f"write {name} = a text, a number, true or false")
    ctx.default_map = {option: values[name] for name, option in names.items()}


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


config_option = click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="Defaults of these options, in TOML: port = 8080, host-pages = 4096.",
)
