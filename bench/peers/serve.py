"""What every peer's script has in common: prompts come in on stdin, tokens and CPU-seconds go out on stdout.

Runs inside the peers' own environments, so it needs nothing but Python. A line in is
`{"prompts": [[id, ...], ...], "new_tokens": n}`, a line out `RESULT {"tokens": ..., "cpu": ..., "wall": ...}`. The
first one is `READY {...}`: the options that the peer runs with. Whatever else a library prints is not ours.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

Run = Callable[[list[list[int]], int], list[list[int]]]
"""Greedily so many new tokens after each of the prompts, all at once."""


def serve(options: dict[str, object], run: Run) -> None:
    """Answer until stdin ends."""

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        wall, cpu = time.perf_counter(), time.process_time()
        tokens = run(asked["prompts"], asked["new_tokens"])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return {"tokens": tokens, "cpu": cpu, "wall": wall}

    answer_lines(options, answer)


def answer_lines(options: dict[str, Any], answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Say what we run with, then answer each line of JSON until stdin ends."""
    _say("READY", options)
    for line in sys.stdin:
        _say("RESULT", answer(json.loads(line)))


def _say(what: str, value: object) -> None:
    print(f"{what} {json.dumps(value)}", flush=True)
