"""Pages of documentation as something to try: their programs become files, their commands are run in order.

    ```python           a program; its first line, `# NAME.py`, says what file it is
    ```console          `$ COMMAND` lines, each followed by exactly what it prints

`symphony ...` runs in this process, each command with a host of its own, as at a prompt. `symphony serve ... &` is a
process of its own, on a free port instead of 8080, until `kill -9 %1` or the end of the page. Times and ports differ
from run to run and are not compared. Who shares a step with whom is a matter of moments too, so that forwards may
differ by a few. Knows nothing of what the pages say.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner

from symphony.cli.main import cli

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")
_FORWARDS = re.compile(r"\b\d+(?= forwards?\b)")
_VARIES = (
    (re.compile(r"^note: compiling.*\n", re.MULTILINE), ""),
    (re.compile(r"\b\d+\.\d+ s$", re.MULTILINE), "0.00 s"),
    (re.compile(r"\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d\b"), "Nov 25 07:06"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "http://127.0.0.1:8080"),
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and what the page says that it prints."""

    line: str
    printed: str


@dataclass(slots=True)
class Page:
    """One Markdown file."""

    path: Path
    files: dict[str, str] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Blocks that are neither: the language, and the first line."""

    @classmethod
    def read(cls, path: Path) -> Page:
        page = cls(path)
        for language, text in _BLOCK.findall(path.read_text("utf-8")):
            name = _FILE.match(text)
            if language == "python" and name:
                page.files[name[1]] = text
            elif language == "console" and text.startswith("$ "):
                page.commands += [Command(*(c + "\n").split("\n", 1)) for c in re.split(r"^\$ ", text, flags=re.M)[1:]]
            else:
                page.others.append(f"{language}: {text.splitlines()[0] if text else ''}")
        return page


def alike(printed: str) -> str:
    """What two runs of a command have in common."""
    for pattern, instead in _VARIES:
        printed = pattern.sub(instead, printed)
    return "\n".join(line.rstrip() for line in printed.strip().splitlines())


def agreed(printed: str, shown: str) -> str:
    """`printed`, with the forwards that are `shown` where they are as many but for a few."""
    expected = iter(_FORWARDS.findall(shown))

    def close(found: re.Match[str]) -> str:
        count = next(expected, "-1")
        return count if abs(int(found[0]) - int(count)) <= 2 + int(count) // 8 else found[0]

    return _FORWARDS.sub(close, printed)


class Desk:
    """Where a page is tried: the current directory, and the server that it started. Close it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[str] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._url = f"http://127.0.0.1:{free.getsockname()[1]}"

    def try_page(self, page: Page) -> Iterator[tuple[Command, str]]:
        """Every command of the page, and what it printed."""
        for name, text in page.files.items():
            (self._folder / name).write_text(text)
        for command in page.commands:
            yield command, self._run(command.line)

    def _run(self, line: str) -> str:
        words = shlex.split(line.replace("http://127.0.0.1:8080", self._url))
        if words[:2] == ["symphony", "serve"]:
            assert words.pop() == "&", "a server runs beside the commands that follow"
            return self._serve(words[2:])
        if words == ["kill", "-9", "%1"]:
            self.close()
            return ""
        assert words[0] == "symphony", f"how is this run? {line}"
        return CliRunner().invoke(cli, words[1:], prog_name="symphony").output

    def _serve(self, words: list[str]) -> str:
        """The address that it prints. Returns as soon as it serves."""
        port = self._url.rpartition(":")[2]
        command = [sys.executable, "-m", "symphony.cli.main", "serve", "--port", port, *words]
        with (self._folder / "serve.log").open("a") as log:
            self._server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ)
        assert self._server.stdout is not None
        said = next((line for line in self._server.stdout if self._url in line), "")
        assert said, (self._folder / "serve.log").read_text()
        with urllib.request.urlopen(f"{self._url}/healthz", timeout=60):
            return ""

    def close(self) -> None:
        """The server's end, without a warning to it."""
        if self._server is not None:
            self._server.kill()
            self._server.communicate()
            self._server = None
