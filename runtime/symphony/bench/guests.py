"""Where the compiled guests of the benchmarks lie; their sources are beside them in `bench/guests`."""

from __future__ import annotations

from pathlib import Path

from symphony.errors import NotFound
from symphony.resources import resource


def directory() -> Path:
    """The folder that holds `guest.wasm` (Rust) and `pred_loop.wasm` (written by hand).

    Raises NotFound if the installation is incomplete.
    """
    found = resource("guests", "bench/guests")
    if not (found / "guest.wasm").is_file():
        raise NotFound("the benchmark guest is missing", "reinstall symphony-lip, or run from a checkout")
    return found
