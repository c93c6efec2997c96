"""`symphony serve`: a runtime behind HTTP, from the boot report to a clean end.

SIGTERM drains it: what it has accepted may end (`http/drain.py`). SIGINT, a person's Ctrl-C, does not wait for that. A
second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from symphony import param
from symphony.cli.boot import booted
from symphony.cli.configured import host_config, requests_pace, settings_options
from symphony.cli.terminal import pairs
from symphony.settings.sections import Settings

if TYPE_CHECKING:
    from symphony.access.gate import Gate


@click.command()
@settings_options
def serve(settings: Settings) -> None:
    """Serve programs over HTTP until SIGINT (Ctrl-C), or SIGTERM, which lets accepted work end (--drain-seconds). What
    still runs then is ended with an error.

    Every option can be a line of the file of --config too (`port = 8080` below `[server]`), and a variable such as
    SYMPHONY_PORT. Options win over variables, and those over the file.
    """
    from symphony.access.gate import Gate
    from symphony.access.keys import KeyFile
    from symphony.cli.keys import keys_path
    from symphony.cli.tools import load_tools
    from symphony.http.guard import is_loopback
    from symphony.observe.logs import written

    server, models = settings.server, settings.models
    gate = Gate(KeyFile(keys_path(server.home)), exposed=not is_loopback(server.host), pace=requests_pace(settings))
    functions = load_tools(Path(server.tools)) if server.tools is not None else None
    work = serve_until_signal(
        server.host,
        server.port,
        models.model,
        gate=gate,
        patience=server.drain_seconds,
        device=models.device,
        attention=models.attention,
        tools=functions,
        home=Path(server.home) if server.home is not None else None,
        config=host_config(settings),
    )
    with written(settings.observe.log, settings.observe.log_level):
        asyncio.run(work)


async def serve_until_signal(
    host: str, port: int, model: Sequence[str], *, gate: Gate, patience: float = param.DRAIN_SECONDS, **options: Any
) -> None:
    """Bind first (a taken port shows before a model is loaded), boot, report, serve, drain for `patience` seconds at
    most if the signal is SIGTERM, stop."""
    from symphony.http.app import create_app
    from symphony.http.context import DRAIN
    from symphony.http.server import bind, serving, url_of

    with bind(host, port, keyed=gate.shut) as listener:
        stop = _stop_signal()
        async with booted(model, **options) as runtime, serving(app := create_app(runtime, gate=gate), listener):
            click.echo(_report(url_of(listener), runtime.describe(), gate.shut))
            for note in runtime.notes:
                click.echo(f"note: {note}", err=True)
            if await stop == signal.SIGTERM:
                click.echo(f"draining: what was accepted has {patience:g} s to end", err=True)
                app[DRAIN].close()
                if left := await app[DRAIN].drained(runtime.processes, patience):
                    click.echo(f"{left} requests and processes have not ended", err=True)
            click.echo("stopping", err=True)


def _stop_signal() -> asyncio.Future[signal.Signals]:
    """Which signal came first."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[signal.Signals] = loop.create_future()

    def handle(number: signal.Signals) -> None:
        stop.set_result(number)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle, number)
    return stop


def _report(url: str, description: Mapping[str, str], keyed: bool) -> str:
    keys = "every request needs one" if keyed else "none: this machine only"
    lines = pairs({**description, "keys": keys}).replace("\n", "\n  ")
    key = '-H "Authorization: Bearer $SYMPHONY_KEY" ' if keyed else ""
    return f"serving programs on {url}\n  {lines}\n  try: curl {key}--data-binary @my.py {url}/v1/run"
