"""Dispatch policies by name: for configurations, benchmarks and simulations."""

from __future__ import annotations

from collections.abc import Callable

from symphony.errors import Invalid
from symphony.sched.adaptive import Adaptive, Formula
from symphony.sched.dispatch import Dispatch, Eager, FixedRows, FixedTime

_PLAIN: dict[str, Callable[[], Dispatch]] = {"adaptive": Adaptive, "eager": Eager, "formula": Formula}
_ROWS_AT_MOST = 20e-3
"""Seconds that `rows:K` waits at most unless told otherwise."""


def policy(name: str) -> Callable[[], Dispatch]:
    """What makes the policy: `adaptive`, `eager`, `formula`, `rows:K`, `rows:K:MS` (at most so long), `time:MS`.

    Raises Invalid.
    """
    if name in _PLAIN:
        return _PLAIN[name]
    kind, *numbers = name.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    if kind == "rows" and len(values) in (1, 2) and values[0] >= 1 and values[-1] > 0:
        rows, at_most = int(values[0]), values[1] * 1e-3 if len(values) == 2 else _ROWS_AT_MOST
        return lambda: FixedRows(rows, at_most)
    if kind == "time" and len(values) == 1 and values[0] > 0:
        seconds = values[0] * 1e-3
        return lambda: FixedTime(seconds)
    raise Invalid(f"there is no dispatch policy {name}", "use adaptive, eager, formula, rows:K, rows:K:MS or time:MS")
