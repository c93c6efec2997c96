"""From a batch of rows to what the kernels and the model take: checked, packed, one bad row never in the others' way.

A row that cannot run is replaced by a harmless one of the same shape on the scratch page, so that the others are
computed exactly as they would be beside a healthy row. It knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from symphony.engine.messages import EntryCopy, Mask, Row, mask_bytes
from symphony.engine.sampler import Request
from symphony.errors import InternalError
from symphony_kernels.interface import IntArray, Ragged


@dataclass(frozen=True, slots=True)
class Limits:
    """What a row is checked against."""

    vocab_size: int
    context_limit: int
    pages: int
    page_size: int
    window: int | None = None
    """Positions that queries of windowed layers see; None: there are no such layers."""
    bucket: int = 1
    """Batches of more than 64 tokens are padded to a multiple of this: oneDNN sets up a kernel a shape."""


@dataclass(slots=True)
class Packed:
    """A batch, packed. Rows are in the kernels' favourite order: several queries first, then decodes, longest first."""

    order: list[int]
    """Index into the batch of each packed row."""
    errors: dict[int, str]
    """By index into the batch."""
    rows: Ragged
    ids: IntArray
    """[T]"""
    wanted: list[int]
    """Indexes into T after which a distribution is wanted."""
    requests: list[Request]
    """One for each of `wanted`."""
    owners: list[int]
    """The index into the batch for each of `wanted`."""
    follows: IntArray | None = None
    """Of each packed row, see `Row.follows`; None: no row follows."""
    kept: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Indexes into `wanted`, and the numbers under which they are kept."""


def pack(rows: Sequence[Row], limits: Limits) -> Packed:
    """Check and pack. Never raises for a bad row: it is in `errors`, and asks for nothing."""
    errors: dict[int, str] = {}
    checked: list[Row] = []
    for i, row in enumerate(rows):
        problem = check(row, limits)
        if problem is not None:
            errors[i] = problem
            row = _harmless(row, limits)
        checked.append(row)
    order = sorted(range(len(rows)), key=lambda i: _rank(checked[i]))
    size = limits.page_size
    queries = np.array([len(checked[i].tokens) for i in order], np.int64)
    starts = np.array([checked[i].start for i in order], np.int64)
    entries = starts + queries
    table = _table([checked[i] for i in order], -(-entries // size))
    real = int(queries.sum())
    row_of = np.repeat(np.arange(len(order)), queries)
    indexes = np.arange(real) - np.repeat(np.cumsum(queries) - queries - starts, queries)
    shifts = [row.position - row.start if row.position >= 0 else 0 for row in (checked[i] for i in order)]
    writes = np.repeat([checked[i].write and i not in errors for i in order], queries)
    slots = np.where(writes, table[row_of, indexes // size] * size + indexes % size, indexes % size)
    positions = indexes + np.repeat(np.array(shifts, np.int64), queries)
    first = 0
    for i in order:
        row = checked[i]
        if row.positions is not None:
            positions[first : first + len(row.tokens)] = row.positions
        first += len(row.tokens)
    ids = np.concatenate([np.asarray(checked[i].tokens, np.int64) for i in order])
    padding = np.zeros(-real % limits.bucket if real > 64 else 0, np.int64)
    firsts = None
    if limits.window is not None:
        firsts = np.concatenate([*(_firsts(checked[i], limits.window) for i in order), padding])
    positions, slots = np.concatenate([positions, padding]), np.concatenate([slots, padding])
    ragged = Ragged(queries, entries, table, positions, slots, firsts)
    if any(row.masks is not None for row in checked):
        ragged.masks, ragged.mask_of = _masks([checked[i] for i in order], len(padding))
    packed = Packed(order, errors, ragged, np.concatenate([ids, padding]), [], [], [])
    if any(row.follows >= 0 for row in checked):
        packed.follows = np.array([checked[i].follows for i in order], np.int64)
    first = 0
    for i in order:
        row = checked[i]
        masks = _allowed(row, limits.vocab_size)
        for output, mask in zip(row.outputs, masks, strict=True):
            packed.wanted.append(first + output)
            packed.requests.append(_request(row, output, mask))
            packed.owners.append(i)
        packed.kept += zip(range(len(packed.wanted) - len(row.keep), len(packed.wanted)), row.keep, strict=True)
        first += len(row.tokens)
    return packed


def _firsts(row: Row, window: int) -> IntArray:
    """[tokens]: the first entry whose position is within the window of each token's own."""
    position = row.start if row.position == -1 else row.position
    own = np.arange(position, position + len(row.tokens), dtype=np.int64)
    if row.positions is not None:
        own = np.array(row.positions, np.int64)
    hidden = own - window  # the last position not seen
    earlier = np.array(row.earlier[: row.start], np.int64)
    last = int(earlier[-1]) if len(earlier) else -1
    before = np.searchsorted(earlier, hidden, side="right") + np.maximum(hidden - last, 0)
    return np.minimum(before, row.start) + np.searchsorted(own, hidden, side="right")


def _masks(rows: Sequence[Row], padding: int) -> tuple[npt.NDArray[np.uint32], IntArray]:
    """Bit words of the different masks, and [T] which of them each token has."""
    known: dict[Mask, int] = {}
    mask_of: list[int] = []
    for row in rows:
        masks = row.masks or ()
        distinct = {id(mask): mask for mask in masks}  # many tokens may have a long one in common: it is hashed once
        number_of = {one: known.setdefault(mask, len(known)) for one, mask in distinct.items()}
        numbers = [-1] if row.masks is None else [number_of[id(mask)] for mask in masks]
        mask_of += numbers if len(numbers) == len(row.tokens) else numbers * len(row.tokens)
    ends = [mask[-1][1] for mask in known if mask]
    words = np.zeros((len(known), max([-(-end // 32) for end in ends], default=1)), np.uint32)
    every = np.uint32(0xFFFFFFFF)
    for mask, number in known.items():
        for start, end in mask:
            first, last = start // 32, (end - 1) // 32
            low, high = every << np.uint32(start % 32), every >> np.uint32(31 - (end - 1) % 32)
            if first == last:
                words[number, first] |= low & high
            else:
                words[number, first] |= low
                words[number, first + 1 : last] = every
                words[number, last] |= high
    return words, np.array(mask_of + [-1] * padding, np.int64)


def spread(copies: Sequence[EntryCopy], limits: Limits) -> tuple[IntArray, IntArray, IntArray]:
    """Source slot, target slot and shift of every entry to copy. Raises InternalError for what cannot be copied."""
    source, source_offset, target, target_offset, count, shift = np.array(copies, np.int64).T
    size = limits.page_size
    pages, offsets = np.stack([source, target]), np.stack([source_offset, target_offset])
    if pages.min() < 1 or pages.max() >= limits.pages or np.abs(shift).max() >= limits.context_limit:
        raise InternalError("an entry copy names a page or a shift that is not there")
    if count.min() < 1 or offsets.min() < 0 or (offsets + count).max() > size:
        raise InternalError(f"an entry copy leaves its page of {size} entries")
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    sources, targets = (np.repeat(first, count) + within for first in pages * size + offsets)
    if len(np.unique(targets)) < len(targets):
        raise InternalError("two entry copies have the same target")
    return sources, targets, np.repeat(shift, count)


def check(row: Row, limits: Limits) -> str | None:
    """What is wrong with a row."""
    count, end = len(row.tokens), row.start + len(row.tokens)
    if count == 0 or row.start < 0 or row.position < -1:
        return "a row needs tokens, a start of at least 0, and a position of at least 0 if any"
    last = end - 1 if row.position == -1 else row.position + count - 1
    if row.positions is not None:
        last = max(row.positions, default=-1)
    if last >= limits.context_limit:
        return f"position {last} is beyond the context limit of {limits.context_limit}"
    if problem := _check_ids(row.tokens, limits.vocab_size, "token"):
        return problem
    need = -(-end // limits.page_size)
    if len(row.block_table) < need:
        return f"{end} entries need {need} pages, the block table has {len(row.block_table)}"
    table = row.block_table[:need]
    if min(table) < 1 or max(table) >= limits.pages:
        return f"the block table names pages outside 1..{limits.pages - 1}"
    if row.keep and len(row.keep) != len(row.outputs):
        return f"{len(row.keep)} numbers to keep {len(row.outputs)} outputs under"
    outputs = list(row.outputs)
    if outputs and (outputs[0] < 0 or outputs[-1] >= count or any(a >= b for a, b in pairwise(outputs))):
        return f"outputs must be ascending indexes into {count} tokens"
    if problem := _check_shape(row, limits):
        return problem
    readings = row.readings
    if problem := _check_ids(readings.logprobs, limits.vocab_size, "token") or _check_allowed(row, limits.vocab_size):
        return problem
    if readings.sample is not None:
        bias = [token for token, _ in readings.sample.logit_bias]
        return _check_ids(bias, limits.vocab_size, "biased token") or _check_ids(
            row.history, limits.vocab_size, "history token"
        )
    return None


def _check_shape(row: Row, limits: Limits) -> str | None:
    """What is wrong with a row's positions and masks."""
    count, end, positions, masks = len(row.tokens), row.start + len(row.tokens), row.positions, row.masks
    if positions is None and masks is None:
        return None
    if row.position < 0:
        return "a row with positions or masks gives its position"
    if positions is not None:
        if len(positions) != count or positions[0] != row.position or min(positions) < 0:
            return f"{len(positions)} positions for {count} tokens, of which the first is at {row.position}"
        if limits.window is not None and any(a > b for a, b in pairwise(positions)):
            return "positions descend in a model with a sliding window"
    if masks is None:
        return None
    if len(masks) not in (1, count):
        return f"{len(masks)} masks for {count} tokens"
    for mask in {id(mask): mask for mask in masks}.values():
        bounds = [0, *(bound for part in mask for bound in part), end]
        if any(a > b for a, b in pairwise(bounds)) or any(start == stop for start, stop in mask):
            return f"a mask's ranges must ascend within the {end} entries"
    return None


def _check_allowed(row: Row, vocab_size: int) -> str | None:
    allowed = row.readings.allowed
    if allowed is None or not row.outputs:
        return None
    size = mask_bytes(vocab_size)
    if len(allowed) not in (size, size * len(row.outputs)):
        return f"a mask of {len(allowed)} bytes for {len(row.outputs)} outputs, each of {size}"
    if not all(mask.strip(b"\0") for mask in _allowed(row, vocab_size) if mask is not None):
        return "a mask allows no token"
    return None


def _check_ids(ids: Sequence[int], vocab_size: int, what: str) -> str | None:
    if len(ids) and (min(ids) < 0 or max(ids) >= vocab_size):
        return f"a {what} is outside the vocabulary of {vocab_size}"
    return None


def _harmless(row: Row, limits: Limits) -> Row:
    count = min(max(len(row.tokens), 1), limits.context_limit)
    start = min(max(row.start, 0), limits.context_limit - count)
    pages = -(-(start + count) // limits.page_size)
    return Row([0] * count, start, [0] * pages, write=False)


def _rank(row: Row) -> tuple[bool, int]:
    count = len(row.tokens)
    return (count == 1, -count if count > 1 else -row.start)


def _table(rows: Sequence[Row], pages: IntArray) -> IntArray:
    """[rows, most pages]; short rows repeat their last page."""
    table = np.empty((len(rows), int(pages.max())), np.int64)
    for i, (row, n) in enumerate(zip(rows, pages.tolist(), strict=True)):
        table[i, :n] = row.block_table[:n]
        table[i, n:] = table[i, n - 1]
    return table


def _request(row: Row, output: int, allowed: bytes | None) -> Request:
    later = len(row.tokens) - 1 - output
    history = row.history[: len(row.history) - later] if later else row.history
    return Request(row.readings, row.start + output + 1, history, max(row.generated - later, 0), allowed)


def _allowed(row: Row, vocab_size: int) -> Sequence[bytes | None]:
    """The mask of each output's tokens."""
    allowed, outputs = row.readings.allowed, len(row.outputs)
    if allowed is None or len(allowed) == (size := mask_bytes(vocab_size)):
        return [allowed] * outputs
    return [allowed[at : at + size] for at in range(0, len(allowed), size)]
