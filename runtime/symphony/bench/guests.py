"""Where the compiled guest of the benchmarks lies; its source is beside it (`bench/guests/bench_guest`)."""

from __future__ import annotations

from pathlib import Path

from symphony.errors import NotFound


def directory() -> Path:
    """In a checkout `bench/guests`, in an installed wheel the packaged copy."""
    here = Path(__file__).resolve()
    for candidate in (here.parents[3] / "bench" / "guests", here.parents[1] / "_data" / "guests"):
        if (candidate / "guest.wasm").is_file():
            return candidate
    raise NotFound("the benchmark guest is missing", "reinstall symphony-lip, or run from a checkout")
