"""`symphony top`: what a server does, again and again in a terminal, or once.

GET /v1/status, /v1/processes --> frame: a few lines of text --> rich shows it in place until q or Ctrl-C
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from symphony.cli.draw import bar
from symphony.cli.options import server_option
from symphony.cli.processes import HEADER, row
from symphony.cli.remote import Remote
from symphony.cli.terminal import cut, table, visible

BAR = 32
"""Characters."""
PLAIN_WIDTH = 120
"""Columns where there is no terminal."""
Answer = Mapping[str, Any]


@click.command()
@server_option
@click.option("--once", is_flag=True, help="Print one frame and end; so it is where the output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one frame as JSON.")
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between frames.")
def top(url: str, once: bool, as_json: bool, interval: float) -> None:
    """Watch a server: steps, tokens a second, pages by tier, and what each process waits for. Ends with q or Ctrl-C."""
    remote = Remote(url)
    if as_json:
        click.echo(json.dumps({**_status(remote), "list": _processes(remote)}, ensure_ascii=False, indent=2))
    elif once or not sys.stdout.isatty():
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH
        text = "\n".join(frame(_status(remote), _processes(remote), {}, width))
        click.echo(visible(text, sys.stdout))
    else:
        _watch(remote, interval)


def frame(status: Answer, processes: Sequence[Answer], rates: Mapping[int, float], width: int) -> list[str]:
    """The lines of one look. `rates`: tokens a second of processes, as far as they are known."""
    lines = [_summary(status["processes"])]
    for model in status["models"]:
        lines += [cut(line, width) for line in _model(model)]
    live = [process for process in processes if process["state"] not in ("done", "killed")]
    live.sort(key=lambda process: (-rates.get(process["pid"], 0.0), -sum(process["pages"].values()), process["pid"]))
    header = (*HEADER[:8], "TOK/S", *HEADER[8:])
    rows = [_row(process, rates) for process in live]
    return [*lines, "", *table(header, rows, width=width, give="PROGRAM").splitlines()]


def _summary(processes: Answer) -> str:
    states = ", ".join(f"{count} {state}" for state, count in sorted(processes["states"].items()))
    noun = "process" if processes["live"] == 1 else "processes"
    return f"{processes['live']:,} {noun}" + (f": {states}" if states else "")


def _model(model: Answer) -> Iterator[str]:
    pages, slots = model["pages"], model["slots"]
    yield (
        f"{model['model']} on {model['device']}: {model['tokens_per_second']:,.0f} tokens/s; "
        f"step {model['steps']:,} had {model['rows']:,} rows, {model['tokens']:,} tokens"
    )
    yield (
        f"  operations: {model['active']:,} active ({model['starved']:,} wait for pages), "
        f"{model['parked']:,} wait for programs"
    )
    yield _tier("device", pages)
    if slots["capacity"]:
        yield _tier("host", slots)
    yield (
        f"  moved {model['moved_out']:,} out, {model['moved_back']:,} back, {model['moving']:,} now; "
        f"dropped {model['dropped_tokens']:,} tokens; preempted {model['preemptions']:,}"
    )
    if len(pages["tenants"]) > 1:
        held = sorted(pages["tenants"].items(), key=lambda item: -item[1])
        yield "  device pages by tenant: " + ", ".join(f"{tenant} {count:,}" for tenant, count in held)


def _tier(name: str, tier: Answer) -> str:
    drawn = bar(((tier["used"], "█"), (tier["cached"], "▒")), tier["capacity"], BAR)
    cached = f"{tier['cached']:,} cached, " if name == "device" else ""
    return f"  {name:<6} {drawn} {tier['used']:,} used, {cached}{tier['free']:,} free"


def _row(process: Answer, rates: Mapping[int, float]) -> tuple[object, ...]:
    cells = row(process)
    rate = rates.get(process["pid"])
    return (*cells[:8], "-" if rate is None else f"{rate:,.0f}", *cells[8:])


class _Rates:
    """Tokens a second of each process, from one look to the next."""

    def __init__(self) -> None:
        self._before: dict[int, int] = {}
        self._at = 0.0

    def update(self, processes: Sequence[Answer], now: float) -> dict[int, float]:
        counts = {p["pid"]: p["usage"]["prompt_tokens"] + p["usage"]["generated_tokens"] for p in processes}
        before, seconds = self._before, now - self._at
        self._before, self._at = counts, now
        return {pid: (count - before[pid]) / seconds for pid, count in counts.items() if pid in before}


def _watch(remote: Remote, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    rates = _Rates()
    status, processes = _status(remote), _processes(remote)  # what fails, fails before the screen is taken
    console = Console(highlight=False, markup=False)
    with _Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            width, height = shutil.get_terminal_size()
            lines = frame(status, processes, rates.update(processes, time.monotonic()), width)
            if len(lines) > height - 1:
                lines = [*lines[: height - 2], f"({len(lines) - height + 2} more lines)"]
            live.update(Text(visible("\n".join(lines), sys.stdout), no_wrap=True, overflow="crop"), refresh=True)
            if keys.quit(interval):
                return
            status, processes = _status(remote), _processes(remote)


class _Keys:
    """While the block lasts, keys arrive as they are pressed."""

    def __enter__(self) -> _Keys:
        self._before = None
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def quit(self, seconds: float) -> bool:
        """Wait so long, or until a key is pressed; whether it was q."""
        if self._before is None:
            time.sleep(seconds)
            return False
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return bool(ready) and b"q" in os.read(sys.stdin.fileno(), 64).lower()


def _status(remote: Remote) -> Answer:
    return remote.call("GET", "/v1/status")


def _processes(remote: Remote) -> list[Answer]:
    return remote.call("GET", "/v1/processes")["processes"]
