"""What an operator says about the world outside: the sections `endpoints`, `mcp` and `grants` of the configuration.

A value `env:NAME` of a header, or of a server's environment, is read from the host's environment when it starts, so
that secrets stay out of the file. Paths of commands are the operator's; nothing here comes from a program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from symphony.errors import Invalid
from symphony.outside.fetch import METHODS, check_headers
from symphony.outside.grants import Grant
from symphony.outside.places import target_of
from symphony.param import TOOL_SECONDS

OPEN: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": True}
"""The schema of a tool that takes anything."""


@dataclass(slots=True, frozen=True)
class EndpointConfig:
    """`[endpoints.NAME]`: a URL as a tool. GET and DELETE have the arguments in the query, others in a JSON body."""

    url: str
    summary: str = ""
    """What it does, for the model."""
    schema: Mapping[str, Any] = field(default_factory=lambda: dict(OPEN))
    """JSON schema of its arguments."""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = TOOL_SECONDS
    """That one call may take."""


@dataclass(slots=True, frozen=True)
class McpConfig:
    """`[mcp.NAME]`: a server of the Model Context Protocol. Its tools are called NAME_TOOL."""

    command: tuple[str, ...] = ()
    """Started by the host, spoken to over its standard input and output. Either this...."""
    url: str = ""
    """...or this: spoken to over HTTP."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beside PATH, HOME and the language: the command's environment has nothing else of the host's."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = TOOL_SECONDS
    """That one call may take."""


@dataclass(slots=True, frozen=True)
class OutsideConfig:
    """All of it."""

    endpoints: Mapping[str, EndpointConfig] = field(default_factory=dict[str, EndpointConfig])
    mcp: Mapping[str, McpConfig] = field(default_factory=dict[str, McpConfig])
    grants: tuple[Grant, ...] = ()
    """None at all: every program may call every tool, and fetch nothing. Else: what they say, and no more."""


def revealed(where: str, values: Mapping[str, str]) -> dict[str, str]:
    """The values with `env:NAME` replaced. Raises Invalid for a variable that is not set."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if value.startswith("env:"):
            variable = value.removeprefix("env:")
            if variable not in os.environ:
                raise Invalid(f"{where}.{name}: the environment has no {variable}", "set it, or write the value itself")
            value = os.environ[variable]
        found[name] = value
    return found


def check_endpoint(name: str, config: EndpointConfig) -> None:
    """Raises Invalid: which field it is, and what to do."""
    where = f"endpoints.{name}"
    _check_url(f"{where}.url", config.url)
    if config.method not in METHODS:
        raise Invalid(f"{where}.method: {config.method!r}", f"use one of {', '.join(METHODS)}")
    if config.schema.get("type") != "object":
        raise Invalid(
            f"{where}.schema: it is not of an object", 'write schema = { type = "object", properties = {...} }'
        )
    _check_rest(where, config.headers, config.seconds)


def check_mcp(name: str, config: McpConfig) -> None:
    """Raises Invalid: which field it is, and what to do."""
    where = f"mcp.{name}"
    if bool(config.command) == bool(config.url):
        raise Invalid(
            f"{where}: it needs either a command or a url", 'write command = ["npx", "server"], or url = "..."'
        )
    if config.url:
        _check_url(f"{where}.url", config.url)
    _check_rest(where, config.headers, config.seconds)


def _check_url(where: str, url: str) -> None:
    try:
        target_of(url)
    except Invalid as e:
        raise Invalid(f"{where}: {e.message}", e.hint) from None


def _check_rest(where: str, headers: Mapping[str, str], seconds: float) -> None:
    try:
        check_headers(list(headers.items()))
    except Invalid as e:
        raise Invalid(f"{where}.headers: {e.message}", e.hint) from None
    if not 0 < seconds <= 86_400:
        raise Invalid(f"{where}.seconds: {seconds:g}", "use a positive number, up to 86400")
