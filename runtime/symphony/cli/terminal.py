"""What a terminal may see: text without control sequences, tables without a library, one-line cost cards."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click

from symphony.errors import InternalError

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NUMBER = re.compile(r"[0-9.,]*|-")


def visible(text: str, stream: TextIO) -> str:
    """`text` as `stream` may show it: a program is not trusted with the terminal, so on one its control characters
    (escape sequences, carriage returns, bidirectional overrides) are made visible. Pipes and files get it as it is."""
    if not stream.isatty():
        return text
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, width: int = 0, give: str = "") -> str:
    """Columns under `header`: of numbers to the right, others to the left. Beyond `width` (0: none) the cells of the
    column `give` are cut."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    right = [bool(rows) and all(_NUMBER.fullmatch(line[n]) for line in lines[1:]) for n in range(len(header))]
    widths = [max(cells(line[column]) for line in lines) for column in range(len(header))]
    if give and width and (beyond := sum(widths) + 2 * len(widths) - 2 - width) > 0:
        n = header.index(give)
        widths[n] = max(widths[n] - beyond, len(give))
        for line in lines:
            line[n] = cut(line[n], widths[n])
    return "\n".join(
        "  ".join(_aligned(*cell) for cell in zip(line, widths, right, strict=True)).rstrip() for line in lines
    )


def cells(text: str) -> int:
    """The width of a text on a terminal: some characters take two cells, some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, an ellipsis at its end if something is missing."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + "…"


def terminal_width() -> int:
    """Of standard output; 0 if that is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _aligned(text: str, width: int, right: bool) -> str:
    space = " " * (width - cells(text))
    return space + text if right else text + space


def pairs(fields: Mapping[str, object]) -> str:
    """`name  value` lines, aligned."""
    width = max((len(name) for name in fields), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in fields.items())


def cost_card(usage: Mapping[str, int]) -> str:
    """What a run cost, in one line."""
    prompt, generated = usage["prompt_tokens"], usage["generated_tokens"]
    return (
        f"{usage['forwards']} forwards, {prompt + generated} tokens ({prompt} prompt, {generated} generated), "
        f"{usage['reused_tokens']} KV reused, {usage['wall_us'] / 1e6:.2f} s"
    )


class RunPrinter:
    """Shows a run's events: output to stdout as it comes, log lines and errors to stderr, the result last.

    A result that says exactly what was streamed already is not repeated, and a result of None is not printed.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        """The exit status, once the run has ended."""
        self.pid = 0
        self._output: list[str] = []

    def show(self, kind: str, data: Mapping[str, Any]) -> None:
        """Show one event of the kinds start, output, log, result, error."""
        if kind == "start":
            self.pid = data["pid"]
        elif kind == "output":
            self._write(data["text"])
        elif kind == "log":
            self._say(f"{data['level']}: {data['text']}", dim=True)
        elif kind == "result":
            self._result(data["value"])
            self.status = 0
        elif kind == "error":
            self._end_line()
            self._error(data)
            self.status = 1
        else:
            raise InternalError(f"unknown event {kind!r}", "the server is newer than this command: upgrade it")

    def card(self, usage: Mapping[str, int]) -> None:
        self._say(cost_card(usage), dim=True)

    def _write(self, text: str) -> None:
        self._output.append(text)
        sys.stdout.write(visible(text, sys.stdout))
        sys.stdout.flush()

    def _result(self, value: Any) -> None:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        repeated = text.strip() == "".join(self._output).strip()
        self._end_line()
        if value is not None and not repeated:
            sys.stdout.write(visible(text, sys.stdout) + "\n")
            sys.stdout.flush()

    def _end_line(self) -> None:
        last = next((text for text in reversed(self._output) if text), "\n")
        if not last.endswith("\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _error(self, data: Mapping[str, Any]) -> None:
        traceback = data.get("traceback") or ""
        if traceback:
            self._say(traceback.rstrip(), dim=True)
        click.echo(click.style("error: ", fg="red", bold=True) + visible(data["message"], sys.stderr), err=True)
        if data["hint"]:
            click.echo(f"  {click.style('fix:', bold=True)} {visible(data['hint'], sys.stderr)}", err=True)

    def _say(self, text: str, *, dim: bool) -> None:
        click.secho(visible(text, sys.stderr), err=True, dim=dim)
