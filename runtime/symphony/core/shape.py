"""Predictions out of the ordinary: tokens at positions of their own, or which do not see everything before them.

    Shape       what a caller says: positions, runs of visible and hidden entries
    Placement   what that means for the entries of one file, from the first derived one on (semantics 5, 7)

Leading tokens that come where they would come anyway, and see all they would see, are plain. Knows no engine and no
page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from symphony.core.checks import check_context
from symphony.engine.messages import Mask, ModelInfo
from symphony.errors import Invalid, LimitExceeded
from symphony.kvfs.file import File
from symphony.param import MAX_MASK_RUNS


@dataclass(slots=True)
class Shape:
    """What a prediction may say about its tokens."""

    positions: Sequence[int] | None = None
    """One a token; None: they count on."""
    masks: Sequence[Sequence[int]] = ()
    """None, one for all tokens, or one for each: lengths of runs of entries that are in turn visible and hidden, from
    the file's first entry on. Entries behind the runs are visible."""


@dataclass(slots=True)
class Placement:
    """How entries from `first` on are computed; those before it in the ordinary way."""

    first: int
    positions: Sequence[int] | None
    """Of the entries from `first` on; None: they count on."""
    masks: Sequence[Mask] | None
    """What the entries from `first` on see: one for all, or one for each. None: everything."""

    def masks_of(self, start: int, end: int) -> Sequence[Mask] | None:
        """Of the row of entries `[start, end)`."""
        masks, first = self.masks, self.first
        if masks is None or end <= first:
            return None
        if len(masks) > 1:
            own = masks[max(start - first, 0) : end - first]
        else:
            own = [clipped(masks[0], end)] * (1 if start >= first else end - first)
        return [*[((0, end),)] * (first - start), *own]


def place(shape: Shape, file: File, count: int, info: ModelInfo) -> Placement | None:
    """What the shape of `count` new tokens means (0: the last entry, asked again); None: nothing special.

    Raises Invalid, LimitExceeded.
    """
    start = file.length if count else file.length - 1
    end = start + max(count, 1)
    positions = _positions(shape.positions, file, count, info)
    masks = _masks(shape.masks, start, end)
    first = start
    if count:
        while first < end and _is_plain(file, start, first, positions, masks):
            first += 1
        if first == end:
            return None
    return Placement(
        first,
        None if positions is None else positions[first - start :],
        None if masks is None else masks if len(masks) == 1 else masks[first - start :],
    )


def clipped(mask: Mask, end: int) -> Mask:
    """What it shows of `[0, end)`."""
    return tuple([(a, min(b, end)) for a, b in mask if a < end])


def _is_plain(
    file: File, start: int, entry: int, positions: Sequence[int] | None, masks: Sequence[Mask] | None
) -> bool:
    if positions is not None and positions[entry - start] != file.position(file.length) + entry - start:
        return False
    if masks is None or not entry:
        return True
    seen = masks[0 if len(masks) == 1 else entry - start]
    return bool(seen) and seen[0][0] == 0 and seen[0][1] >= entry


def _positions(given: Sequence[int] | None, file: File, count: int, info: ModelInfo) -> Sequence[int] | None:
    if given is None:
        return None
    if len(given) != count or not count:
        raise Invalid(f"{len(given)} positions for {count} tokens", "give one for each token, or none")
    if min(given) < 0:
        raise Invalid(f"position {min(given)} is negative", "positions count from 0")
    check_context(max(given) + 1, info)
    if info.window is not None:
        before = file.position(file.length - 1) if file.length else 0
        if any(a > b for a, b in pairwise([before, *given])):
            raise Invalid(
                "positions go back, and this model has a sliding window", "let them ascend, or stay where they are"
            )
    return given


def _masks(given: Sequence[Sequence[int]], start: int, end: int) -> Sequence[Mask] | None:
    if not given:
        return None
    if len(given) not in (1, end - start):
        raise Invalid(f"{len(given)} masks for {end - start} tokens", "give one for all tokens, or one for each")
    runs = sum(map(len, given))
    if runs > MAX_MASK_RUNS:
        raise LimitExceeded(f"masks of {runs} runs, at most {MAX_MASK_RUNS}", "predict over fewer tokens at a time")
    if len(given) == 1:
        return [_mask(given[0], end, end)]
    return [_mask(mask, entry + 1, end) for entry, mask in enumerate(given, start)]


def _mask(runs: Sequence[int], upto: int, end: int) -> Mask:
    """What runs show of `[0, upto)`."""
    parts: list[tuple[int, int]] = []
    at = shown = 0
    for index, run in enumerate(runs):
        if index % 2 and run:
            if at > shown:
                parts.append((shown, at))
            shown = at + run
        at += run
    if at > end or min(runs, default=0) < 0:
        raise Invalid(f"a mask speaks of {at} entries, there are {end}", "count the file's tokens and the new ones")
    return clipped((*parts, (shown, end)), upto) if shown < end else clipped(tuple(parts), upto)
