"""Where the compiled guests of the benchmarks lie; their sources are beside them (`bench/guests/*.wat`)."""

from __future__ import annotations

from pathlib import Path

from symphony.errors import NotFound


def directory() -> Path:
    """In a checkout `bench/guests`, in an installed wheel the packaged copy."""
    here = Path(__file__).resolve()
    for candidate in (here.parents[3] / "bench" / "guests", here.parents[1] / "_data" / "guests"):
        if (candidate / "tokens.wasm").is_file():
            return candidate
    raise NotFound("the benchmark guests are missing", "reinstall symphony-lip, or run from a checkout")
