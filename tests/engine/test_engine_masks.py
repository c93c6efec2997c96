"""Rows with positions and masks of their own: what is packed for the kernels, what the fake engine makes of them."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.engine.batch import Limits, pack
from symphony.engine.contents import computed
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import GREEDY, Batch, Readings, Row, RowResult

ASK = Readings(sample=GREEDY)
SIZE = 4
LIMITS = Limits(10, 100, 20, SIZE)


def step(e: FakeEngine, *rows: Row) -> list[RowResult]:
    return asyncio.run(e.step(Batch(list(rows))))


@st.composite
def masks(draw, end: int):
    """Ranges over `[0, end)`, none touching the next."""
    bounds = sorted(draw(st.sets(st.integers(0, end), max_size=6)))
    return tuple(zip(bounds[::2], bounds[1::2], strict=False))


# ---- packing ---------------------------------------------------------------------------------------------------------
@settings(max_examples=60)
@given(data=st.data(), start=st.integers(0, 60), count=st.integers(1, 9), each=st.booleans())
def test_bit_words_say_what_the_ranges_say(data, start, count, each):
    given_masks = [data.draw(masks(start + count)) for _ in range(count if each else 1)]
    plain = Row([1], 2, [3])
    row = Row([1] * count, start, list(range(1, 19)), position=start, masks=given_masks)
    packed = pack([plain, row], LIMITS)
    assert not packed.errors
    words, mask_of = packed.rows.masks, packed.rows.mask_of
    assert words is not None
    assert mask_of is not None
    assert words.dtype == np.uint32
    assert (len(mask_of), len(words)) == (count + 1, len(set(given_masks)))
    first = 0 if packed.order == [1, 0] else 1
    assert mask_of[count if first == 0 else 0] == -1
    for i in range(count):
        mask = given_masks[i if each else 0]
        bits = np.unpackbits(words[mask_of[first + i]].view(np.uint8), bitorder="little")
        shown = {entry for a, b in mask for entry in range(a, b)}
        assert {int(entry) for entry in np.flatnonzero(bits)} == shown


def test_a_mask_of_many_tokens_is_looked_at_once():
    class Counted(tuple):
        hashed = 0

        def __hash__(self):
            Counted.hashed += 1
            return super().__hash__()

    mask = Counted([(0, 2), (3, 9)])
    packed = pack([Row([1] * 9, 0, [1, 2, 3], position=0, masks=[mask] * 9)], LIMITS)
    assert not packed.errors
    assert packed.rows.masks is not None
    assert len(packed.rows.masks) == 1
    assert Counted.hashed <= 2


def test_no_masks_no_words():
    packed = pack([Row([1, 2], 0, [1])], LIMITS)
    assert packed.rows.masks is None
    assert packed.rows.mask_of is None


def test_positions_of_their_own():
    rows = [Row([1, 2, 3], 4, [1, 2], position=9, positions=[9, 9, 12]), Row([5], 4, [3, 4])]
    assert pack(rows, LIMITS).rows.positions.tolist() == [9, 9, 12, 4]


@given(
    gaps=st.lists(st.integers(0, 4), min_size=2, max_size=30),
    told=st.integers(0, 30),
    count=st.integers(1, 12),
    window=st.integers(1, 40),
)
def test_windows_count_positions(gaps, told, count, window):
    """Against the definition, entry by entry; positions may stand still, as siblings in a tree do."""
    positions = np.cumsum(gaps).tolist()
    count = min(count, len(positions) - 1)
    start = len(positions) - count
    earlier = positions[: min(told, start)]
    for i in range(len(earlier), start):  # those that are not told count on
        positions[i] = positions[i - 1] + 1 if i else 0
    own = [max(p, positions[start - 1]) for p in positions[start:]]
    every = positions[:start] + own
    row = Row([1] * count, start, list(range(1, 9)), position=own[0], earlier=earlier, positions=own)
    packed = pack([row], Limits(10, 1000, 9, SIZE, window))
    assert not packed.errors
    firsts = packed.rows.firsts
    assert firsts is not None
    for i, first in enumerate(firsts.tolist()):
        seen = [e for e in range(start + i + 1) if every[start + i] - every[e] < window]
        assert seen == list(range(first, start + i + 1))


BAD = [
    {"positions": [4, 5]},
    {"positions": [5, 5, 6], "position": 4},
    {"positions": [4, 5], "position": 4},
    {"positions": [4, 5, 100], "position": 4},
    {"positions": [4, -1, 5], "position": 4},
    {"masks": [((0, 3),)]},
    {"masks": [((0, 3),)] * 2, "position": 4},
    {"masks": [((0, 8),)], "position": 4},
    {"masks": [((3, 2),)], "position": 4},
    {"masks": [((2, 2),)], "position": 4},
    {"masks": [((4, 6), (1, 2))], "position": 4},
]


@pytest.mark.parametrize("fields", BAD, ids=str)
def test_what_does_not_fit_is_the_rows_error(fields):
    row = Row([1, 2, 3], 4, [1, 2], (2,), ASK, **fields)
    assert 1 in pack([Row([1], 0, [3]), row], LIMITS).errors
    e = FakeEngine(pages=20, page_size=SIZE, context_limit=100)
    step(e, Row([1, 2, 3, 4], 0, [1]))
    assert step(e, row)[0].error


def test_positions_may_not_descend_under_a_window():
    row = Row([1, 2], 2, [1], position=5, positions=[5, 4])
    assert "descend" in pack([row], Limits(10, 100, 20, SIZE, 8)).errors[0]
    assert not pack([row], LIMITS).errors


# ---- the fake engine -------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(data=st.data(), start=st.integers(1, 9), count=st.integers(1, 5), each=st.booleans(), placed=st.booleans())
def test_the_fake_engine_sees_what_is_visible(data, start, count, each, placed):
    e = FakeEngine(pages=20, page_size=SIZE, context_limit=100)
    prompt, tokens = list(range(40, 40 + start)), list(range(60, 60 + count))
    given_masks = [data.draw(masks(start + count)) for _ in range(count if each else 1)]
    positions = [data.draw(st.integers(0, 99)) for _ in tokens] if placed else None
    table = list(range(1, 1 + -(-(start + count) // SIZE)))
    step(e, Row(prompt, 0, table[: -(-start // SIZE)]))
    at = start if positions is None else positions[0]
    row = Row(tokens, start, table, range(count), ASK, position=at, masks=given_masks, positions=positions)
    [result] = step(e, row)
    assert result.error is None
    before = computed([], prompt, 0)
    entries = computed(before, tokens, start, positions, given_masks)
    for i, reading in enumerate(result.readings):
        mask = given_masks[i if each else 0]
        seen = [entry for a, b in mask for entry in entries[a : min(b, start + i)]]
        assert reading.sampled == e.greedy_after([*seen, entries[start + i]])
    # what follows sees all of it
    last = entries[-1].position + 1
    if last < 100:
        table = list(range(1, 1 + -(-(start + count + 1) // SIZE)))
        [after] = step(e, Row([7], start + count, table, (0,), ASK, position=last))
        assert after.readings[0].sampled == e.greedy_after(computed(entries, [7], last))


def test_a_tree_says_what_its_branches_say():
    """Two branches behind one prompt in one row: siblings at the same position, each seeing its own ancestors."""
    e = FakeEngine(pages=20, page_size=SIZE, context_limit=100)
    prompt, tree = [1, 2, 3], [10, 20, 11, 21, 12]
    parents = [-1, -1, 0, 1, 2]
    positions, paths = [], []
    for node, parent in enumerate(parents):
        paths.append([*(paths[parent] if parent >= 0 else []), node])
        positions.append(3 + len(paths[-1]) - 1)
    step(e, Row(prompt, 0, [1]))
    given_masks = [((0, 3), *((3 + node, 4 + node) for node in path if node >= 0)) for path in paths]
    given_masks = [_joined(mask) for mask in given_masks]
    row = Row(tree, 3, [1, 2], range(5), ASK, position=3, positions=positions, masks=given_masks)
    [result] = step(e, row)
    assert result.error is None
    for reading, path in zip(result.readings, paths, strict=True):
        text = prompt + [tree[node] for node in path]
        entries = computed([], text, 0)
        assert entries[-1].position == positions[path[-1]]
        assert reading.sampled == e.greedy(text)


def _joined(mask):
    """Ranges that touch become one."""
    parts = []
    for start, end in mask:
        if parts and parts[-1][1] == start:
            parts[-1] = (parts[-1][0], end)
        else:
            parts.append((start, end))
    return tuple(parts)


def test_the_last_entry_asked_again_under_its_mask():
    e = FakeEngine(pages=20, page_size=SIZE, context_limit=100)
    step(e, Row([1, 2, 3], 0, [1]))
    mask = ((0, 1), (2, 5))
    [first] = step(e, Row([4, 5], 3, [1, 2], (1,), ASK, position=3, masks=[mask]))
    [again] = step(e, Row([5], 4, [1, 2], (0,), ASK, write=False, position=4, masks=[mask]))
    [other] = step(e, Row([5], 4, [1, 2], (0,), ASK, write=False, position=4))
    assert first.readings == again.readings != other.readings
