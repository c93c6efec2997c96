"""Numbers in the text format that Prometheus and its kin read.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4). It knows how numbers are written, not what
they mean or where they come from.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

MEDIA_TYPE = "text/plain; version=0.0.4"

Labels = Mapping[str, str]
Sample = tuple[Labels, float]

LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of a histogram of seconds."""


class Histogram:
    """How many values lay where. Cheap enough for every request: one binary search."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCIES) -> None:
        """`bounds` ascend; values above the last one count too."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Exposition:
    """A page of metrics in the making. A name is given once, with all its samples."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def gauge(self, name: str, says: str, samples: Iterable[Sample]) -> None:
        """A number that goes up and down."""
        self._family(name, "gauge", says)
        self._lines += [f"{name}{_braces(labels)} {_number(value)}" for labels, value in samples]

    def counter(self, name: str, says: str, samples: Iterable[Sample]) -> None:
        """A number that only grows; its name ends with `_total`."""
        self._family(name, "counter", says)
        self._lines += [f"{name}{_braces(labels)} {_number(value)}" for labels, value in samples]

    def histogram(self, name: str, says: str, samples: Iterable[tuple[Labels, Histogram]]) -> None:
        self._family(name, "histogram", says)
        for labels, histogram in samples:
            bounds = [*map(_number, histogram.bounds), "+Inf"]
            totals = list(accumulate(histogram.counts))
            for bound, total in zip(bounds, totals, strict=True):
                self._lines.append(f"{name}_bucket{_braces({**labels, 'le': bound})} {total}")
            self._lines.append(f"{name}_sum{_braces(labels)} {_number(histogram.sum)}")
            self._lines.append(f"{name}_count{_braces(labels)} {totals[-1]}")

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def _family(self, name: str, kind: str, says: str) -> None:
        self._lines.append(f"# HELP {name} {says.replace(chr(92), chr(92) * 2).replace(chr(10), ' ')}")
        self._lines.append(f"# TYPE {name} {kind}")


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
