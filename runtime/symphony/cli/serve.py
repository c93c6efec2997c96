"""`symphony serve`: a runtime behind HTTP, from the boot report to a clean end on SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from symphony.cli.boot import booted
from symphony.cli.options import config_option, models_option
from symphony.cli.terminal import pairs


@click.command(context_settings={"auto_envvar_prefix": "SYMPHONY"})
@config_option
@models_option("tiny")
@click.option("--host", default="127.0.0.1", show_default=True, help="The loopback address to serve on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--device", metavar="cpu|cuda[:N]", help="Where the model runs (default: CUDA if there is one).")
@click.option("--attention", type=click.Choice(["flash", "triton", "torch"]), help="The attention back end.")
@click.option("--tools", metavar="FILE.py", help="Offer the public functions of a Python file as tools.")
@click.option(
    "--pages", type=click.IntRange(2), metavar="N", help="KV pages on the model's device (default: by memory)."
)
@click.option("--host-pages", type=click.IntRange(0), metavar="N", help="KV pages in host memory; 0: no such tier.")
@click.option(
    "--least-nice",
    type=click.IntRange(-20, 19),
    default=0,
    show_default=True,
    metavar="N",
    help="The least nice value that clients may ask for; lower ones go first.",
)
@click.option(
    "--debug", is_flag=True, help="Poison freed KV pages, and audit the books when nothing is in flight. Slow."
)
def serve(
    host: str,
    port: int,
    tools: str | None,
    model: tuple[str, ...],
    pages: int | None,
    host_pages: int | None,
    least_nice: int,
    debug: bool,
    **options: Any,
) -> None:
    """Serve programs over HTTP until SIGINT or SIGTERM; what still runs then is ended with an error.

    Each option has a default in the environment, such as SYMPHONY_HOST_PAGES, and in the file of --config.
    """
    from symphony.cli.tools import load_tools
    from symphony.core.config import CoreConfig
    from symphony.host import Config

    functions = load_tools(Path(tools)) if tools is not None else None
    config = Config(core=CoreConfig(debug=debug), pages=pages, host_pages=host_pages, least_nice=least_nice)
    asyncio.run(serve_until_signal(host, port, model, tools=functions, config=config, **options))


async def serve_until_signal(host: str, port: int, model: Sequence[str], **options: Any) -> None:
    """Bind first (a taken port shows before a model is loaded), boot, report, serve, stop.

    The first SIGINT or SIGTERM stops in order; a second one ends the process at once.
    """
    from symphony.http.app import create_app
    from symphony.http.server import bind, serving, url_of

    with bind(host, port) as listener:
        stop = _stop_signal()
        async with booted(model, **options) as runtime, serving(create_app(runtime), listener):
            click.echo(_report(url_of(listener), runtime.describe()))
            for note in runtime.notes:
                click.echo(f"note: {note}", err=True)
            await stop.wait()
            click.echo("stopping", err=True)


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def handle() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle)
    return stop


def _report(url: str, description: Mapping[str, str]) -> str:
    lines = pairs(description).replace("\n", "\n  ")
    return f"serving programs on {url}\n  {lines}\n  try: curl --data-binary @my.py {url}/v1/run"
