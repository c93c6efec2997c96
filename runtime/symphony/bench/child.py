"""A process that answers one line with one line, and is stopped while others are measured.

It says `READY {...}` when it can be asked, then `RESULT {...}` to every line of JSON; whatever else it prints is not
ours. `bench/peers/serve.py` is its other end. Knows nothing of what is asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from symphony.errors import Unavailable

ANSWER_SECONDS = 1800.0
"""For one answer; loading counts as one."""


@contextlib.contextmanager
def ending_on_sigterm() -> Generator[None]:
    """Inside, SIGTERM unwinds the stack, so that children are closed: one that is stopped does not end by itself."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(_number: int, _frame: object) -> None:
    sys.exit(1)


class Child:
    """Asked one thing at a time, and stopped in between."""

    def __init__(self, label: str, command: Sequence[str], threads: int, log: Path) -> None:
        """Starts it; raises Unavailable if it does not come up."""
        self.label = label
        self._log = log
        limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                env=os.environ | limits,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        try:
            self.options = self._read("READY")
            self._signal(signal.SIGSTOP)
        except BaseException:
            self.close()
            raise

    def request(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers. Raises Unavailable if it died."""
        self._signal(signal.SIGCONT)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        answer = self._read("RESULT")
        self._signal(signal.SIGSTOP)
        return answer

    def close(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGKILL)
        self._process.communicate()

    def _read(self, what: str) -> dict[str, Any]:
        watch = threading.Timer(ANSWER_SECONDS, self._process.kill)
        watch.start()
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                if line.startswith(what + " "):
                    return json.loads(line.removeprefix(what))
        finally:
            watch.cancel()
        end = self._log.read_text(errors="replace").strip()[-2000:]
        raise Unavailable(f"{self.label} ended: {end}", "run its script by hand")

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
