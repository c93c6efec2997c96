"""Bounding what a copy of many entries holds at a time. Knows no pool."""

from __future__ import annotations

import numpy as np

from symphony_kernels.interface import IntArray


def overlap(sources: IntArray, targets: IntArray) -> bool:
    """Whether an entry is read that is written too, so that all must be read before any is written."""
    return bool(np.isin(sources, targets).any())


def parts(sources: IntArray, targets: IntArray, most: int) -> list[slice]:
    """Which entries may be read and written together, one part after another: at most `most`, unless they overlap."""
    count = len(sources)
    if count <= most or overlap(sources, targets):
        return [slice(0, count)]
    return [slice(a, min(a + most, count)) for a in range(0, count, most)]
