"""Extract and append-from: entries of one file go into another with the K/V that they have (semantics 6).

A *run* is a stretch of source entries whose positions all change by the same shift. Where the positions do not change
and source and target lie alike in their pages, whole pages are shared; the rest is copied entry by entry, with keys
rotated on by the shift. What arrives is derived, except entries that are plain in the source and at the same place
here, behind the same tokens.

Pure bookkeeping: the caller has the device make the copies before anybody reads the target, and then calls `land`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from symphony.errors import Invalid
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Copy, Kvfs, Shortage


class Run(NamedTuple):
    """Source entries `[start, end)`, whose positions grow by `shift`."""

    start: int
    end: int
    shift: int


class Piece(NamedTuple):
    """Entries of one page into one page: (page, offset) twice, how many, and the shift of their positions."""

    source: int
    source_offset: int
    target: int
    target_offset: int
    length: int
    shift: int


@dataclass(slots=True)
class Copies:
    """What the device has to do: the page copies first, then the pieces."""

    pages: list[Copy]
    pieces: list[Piece]


def extract_runs(source: File, ranges: Iterable[tuple[int, int]], rebase: bool) -> list[Run]:
    """The runs of an extract: positions are kept, or count up from 0 (`rebase`). Raises Invalid."""
    runs: list[Run] = []
    position = 0
    for start, end in ranges:
        check_range(source, start, end)
        for first, last in _stretches(source, start, end):
            runs.append(Run(first, last, position - source.position(first) if rebase else 0))
            position += last - first
    _check_order(source, runs)
    return runs


def append_runs(source: File, target: File, start: int, end: int) -> list[Run]:
    """The runs of an append: positions count on from the target's end. Raises Invalid."""
    check_range(source, start, end)
    position = target.position(target.length)
    runs: list[Run] = []
    for first, last in _stretches(source, start, end):
        runs.append(Run(first, last, position - source.position(first)))
        position += last - first
    return runs


def graft(kvfs: Kvfs, source: File, target: File, runs: Sequence[Run]) -> Copies | Shortage:
    """Give `target` pages for the runs and say what is to be copied; all or nothing. Both files are busy, and have K/V
    on the device: the source up to the last run's end, the target for all it holds. Raises NoSpace."""
    arena, size = target.arena, target.arena.page_size
    length = target.computed
    total = length + sum(run.end - run.start for run in runs)
    kvfs.check_fits(target, arena.pages_for(total), total, stays=True)
    steps = list(_steps(runs, length, size))
    partial = length % size and len(steps) and not arena.is_private(target.pages[-1])
    need = sum(1 for at, _, _, share in steps if not share and at % size == 0) + bool(partial)
    missing = kvfs.shortage(target, need, 0, stays=True)
    if missing:
        return missing
    fresh = arena.take(need, target.tenant)
    copies = Copies([], [])
    if partial:
        copies.pages.append(kvfs.replace(target, len(target.pages) - 1, fresh.pop()))
    elif length % size and steps:
        arena.part(target.pages[-1])
    sources = list(source.pages)  # of before, should source and target be one file
    for at, run, entry, share in steps:
        page = sources[entry // size]
        if share:
            arena.ref((page,), target.tenant)
            target.pages.append(page)
            continue
        if at % size == 0:
            target.pages.append(fresh.pop())
        count = _count(at, run, entry, size)
        copies.pieces.append(Piece(page, entry % size, target.pages[-1], at % size, count, run.shift))
    return copies


def extend(source: File, target: File, runs: Sequence[Run]) -> None:
    """Put tokens and positions of the runs behind the target's, for the operation only; before `graft` or after."""
    positions = target.positions
    if positions is None:
        positions = target.tokens[:0]
    positions.extend([target.position(entry) for entry in range(len(positions), len(target.tokens))])
    plain = target.derived is None
    for run in runs:
        length = len(target.tokens)
        known = run.end if source.derived is None else source.derived
        same = plain and run.start == length and run.shift == 0 and source.tokens[:length] == target.tokens
        plain = same and run.end <= known
        if not plain and target.derived is None:
            target.derived = max(known, length) if same else length
        positions.extend([source.position(entry) + run.shift for entry in range(run.start, run.end)])
        target.tokens.extend(source.tokens[run.start : run.end])
    if target.derived is not None:
        target.positions = positions


def land(kvfs: Kvfs, target: File) -> None:
    """The copies are made: the target's entries have K/V."""
    kvfs.commit(target, len(target.tokens))


def _steps(runs: Sequence[Run], length: int, size: int) -> Iterable[tuple[int, Run, int, bool]]:
    """(target entry, run, source entry, whether a whole page is shared) of every page or piece."""
    at = length
    for run in runs:
        entry = run.start
        while entry < run.end:
            share = run.shift == 0 and at % size == 0 and entry % size == 0 and run.end - entry >= size
            yield at, run, entry, share
            count = size if share else _count(at, run, entry, size)
            at += count
            entry += count


def _count(at: int, run: Run, entry: int, size: int) -> int:
    return min(size - at % size, size - entry % size, run.end - entry)


def _stretches(source: File, start: int, end: int) -> Iterable[tuple[int, int]]:
    """Parts of the range whose positions follow on each other."""
    if source.positions is None:
        if start < end:
            yield start, end
        return
    first = start
    for entry in range(start + 1, end + 1):
        if entry == end or source.position(entry) != source.position(entry - 1) + 1:
            yield first, entry
            first = entry


def check_range(file: File, start: int, end: int) -> None:
    """Raises Invalid unless `[start, end)` is a range of the file's entries."""
    if not 0 <= start <= end <= file.length:
        raise Invalid(f"the range {start} to {end} is outside the file", f"the file has {file.length} tokens")


def _check_order(source: File, runs: Sequence[Run]) -> None:
    """What follows an entry comes after it: positions ascend."""
    last = -1
    for run in runs:
        if source.position(run.start) + run.shift <= last:
            raise Invalid("kept positions must ascend", "order the ranges, make them disjoint, or rebase")
        last = source.position(run.end - 1) + run.shift
