"""The fake engine's derived entries, host tier and races; and that a plain list of entries predicts it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.engine.contents import Entry, computed, context, shifted
from symphony.engine.fake import FakeEngine, content_of
from symphony.engine.messages import GREEDY, Batch, EntryCopy, Readings, Row, RowResult

ASK = Readings(sample=GREEDY)
SIZE = 4


def engine(**options) -> FakeEngine:
    return FakeEngine(**{"pages": 20, "page_size": SIZE, "host_pages": 6, "context_limit": 100} | options)


def step(e: FakeEngine, *rows: Row, **parts) -> list[RowResult]:
    return asyncio.run(e.step(Batch(list(rows), **parts)))


def drawn(result: RowResult) -> int | None:
    assert result.error is None
    return result.readings[-1].sampled


# ---- contents --------------------------------------------------------------------------------------------------------
def test_plain_entries_are_what_the_tokens_say():
    entries = computed(computed([], [5, 6, 7], 0), [8, 9], 3)
    assert [entry.content for entry in entries] == [content_of([5, 6, 7, 8, 9][: i + 1]) for i in range(5)]
    assert engine().greedy_after(entries) == engine().greedy([5, 6, 7, 8, 9])
    assert engine().greedy_after([]) == engine().greedy([])


def test_a_context_depends_on_every_entry_its_place_and_its_position():
    text = computed([], [5, 6, 7, 8], 0)
    other = computed([], [9, 6, 7, 8], 0)
    contexts = [
        context(text),
        context(text[1:]),
        context(shifted(text[1:], -1)),
        context(shifted(text, 1)),
        context([*text[:2], *text[3:]]),
        context([*text[:2], text[3], text[2]]),
        context([*text[:1], *other[1:]]),
        context(computed(text[1:], [3], 4)),
        context(computed(text[1:], [3], 3)),
        context(computed(shifted(text[1:], -1), [3], 3)),
    ]
    assert len(set(contexts)) == len(contexts)
    assert text[1:] == [Entry(t, p, content_of([5, 6, 7, 8][: p + 1])) for t, p in ((6, 1), (7, 2), (8, 3))]


# ---- rows over derived entries ---------------------------------------------------------------------------------------
def test_an_extract_keeps_contents_and_goes_on():
    e = engine()
    step(e, Row([1, 2, 3, 4, 5, 6, 7], 0, [1, 2]))
    text = computed([], [1, 2, 3, 4, 5, 6, 7], 0)
    for page, shift in ((3, 0), (5, -2), (7, 9)):
        entries = [EntryCopy(1, 2, page, 0, 2, shift), EntryCopy(2, 0, page, 2, 2, shift)]
        part = shifted(text[2:6], shift)
        position = part[-1].position + 1
        [result] = step(e, Row([8, 9], 4, [page, page + 1], (1,), ASK, position=position), entries=entries)
        assert drawn(result) == e.greedy_after(computed(part, [8, 9], position))
        # and once more, and the last entry again
        [result] = step(e, Row([3], 6, [page, page + 1], (0,), ASK, position=position + 2))
        assert drawn(result) == e.greedy_after(computed(part, [8, 9, 3], position))
        [again] = step(e, Row([9], 5, [page, page + 1], (0,), ASK, write=False, position=position + 1))
        assert drawn(again) == e.greedy_after(computed(part, [8, 9], position))


def test_asking_a_copied_entry_again():
    e = engine()
    step(e, Row([1, 2, 3], 0, [1]))
    copies = [EntryCopy(1, 1, 2, 0, 2, -1)]
    [result] = step(e, Row([3], 1, [2], (0,), ASK, write=False, position=1), entries=copies)
    assert drawn(result) == e.greedy_after(shifted(computed([], [1, 2, 3], 0)[1:], -1))


def test_pages_shared_with_a_plain_file_need_the_position():
    e = engine()
    step(e, Row(list(range(1, 9)), 0, [1, 2]))
    plain, derived = step(e, Row([9], 4, [2, 3], (0,), ASK), Row([9], 4, [2, 4], (0,), ASK, position=8))
    assert "another context (a row over derived entries gives its position)" in (plain.error or "")
    assert drawn(derived) == e.greedy_after(computed(computed([], list(range(1, 9)), 0)[4:], [9], 8))


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (Row([9], 3, [2], position=3), "never written"),
        (Row([3], 1, [2], write=False, position=2), "another context"),
        (Row([7], 1, [2], write=False, position=1), "another token"),
        (Row([9], 2, [2], position=100), "position 100"),
        (Row([9, 9], 2, [2], position=99), "position 99"),
        (Row([9], 2, [2], position=-2), "position -2"),
    ],
)
def test_wrong_derived_rows(row, word):
    e = engine()
    step(e, Row([1, 2, 3], 0, [1]))
    [result] = step(e, row, entries=[EntryCopy(1, 1, 2, 0, 2, -1)])
    assert word in (result.error or "")


def test_positions_not_lengths_meet_the_limit():
    e = engine(context_limit=8)
    step(e, Row(list(range(1, 9)), 0, [1, 2]))
    copies = [EntryCopy(1, 0, 3, 0, 4, 0), EntryCopy(2, 0, 4, 0, 4, 0), EntryCopy(1, 0, 5, 0, 4, 0)]
    [result] = step(e, Row([1], 12, [3, 4, 5, 6], (0,), ASK, position=7), entries=copies)
    assert result.error is None


def test_poison_makes_pages_unwritten_before_anything_else():
    e = engine()
    step(e, Row([1, 2, 3], 0, [1]))
    [fresh] = step(e, Row([7], 0, [1], (0,), ASK), poison=[1])
    assert drawn(fresh) == e.greedy([7])
    [stale] = step(e, Row([4], 3, [1]))
    assert "entry 1 was never written" in (stale.error or "")
    with pytest.raises(ValueError, match=r"poison names page 20 of 1\.\.19"):
        step(e, poison=[20])


# ---- copies ----------------------------------------------------------------------------------------------------------
def test_entries_are_copied_as_if_all_at_once():
    e = engine()
    step(e, Row([1, 2, 3, 4], 0, [1]))
    step(e, entries=[EntryCopy(1, 0, 1, 1, 3, 1), EntryCopy(1, 3, 1, 0, 1, -3)])
    text = computed([], [1, 2, 3, 4], 0)
    turned = [*shifted(text[3:], -3), *shifted(text[:3], 1)]
    [result] = step(e, Row([9], 4, [1, 2], (0,), ASK, position=4))
    assert drawn(result) == e.greedy_after(computed(turned, [9], 4))


@pytest.mark.parametrize(
    ("copies", "words"),
    [
        ([EntryCopy(1, 0, 2, 0, 2, 0), EntryCopy(1, 0, 2, 1, 1, 0)], "two of them write entry 1 of page 2"),
        ([EntryCopy(1, 2, 2, 0, 2, 0)], "reads entry 3, which was never written"),
        ([EntryCopy(1, 0, 2, 0, 1, -1)], "the position -1"),
        ([EntryCopy(1, 0, 2, 0, 1, 100)], "the position 100"),
        ([EntryCopy(1, 0, 2, 3, 2, 0)], "not inside a page of 4"),
        ([EntryCopy(1, 0, 2, 0, 0, 0)], "not inside a page of 4"),
        ([EntryCopy(1, -1, 2, 0, 2, 0)], "not inside a page of 4"),
        ([EntryCopy(1, 0, 0, 0, 1, 0)], r"page 0 of 1\.\.19"),
        ([EntryCopy(20, 0, 2, 0, 1, 0)], r"page 20 of 1\.\.19"),
    ],
)
def test_wrong_entry_copies(copies, words):
    e = engine()
    step(e, Row([1, 2, 3], 0, [1]))
    with pytest.raises(ValueError, match=words):
        step(e, entries=copies)


def test_a_row_that_writes_over_what_was_just_copied():
    e = engine()
    step(e, Row([1, 2, 3], 0, [1]))
    [result] = step(e, Row([5, 6], 1, [2], position=1), entries=[EntryCopy(1, 0, 2, 0, 3, 0)])
    assert "row 0 writes entry 2, which an entry copy wrote" in (result.error or "")


# ---- moves -----------------------------------------------------------------------------------------------------------
def test_pages_go_out_and_come_back_elsewhere():
    e = engine()
    step(e, Row([1, 2, 3, 4, 5], 0, [1, 2]))

    async def away() -> None:
        await e.move([(1, 5), (2, 0)], [])
        await e.step(Batch([], poison=[1, 2]))
        await e.move([], [(0, 7), (5, 1)])

    asyncio.run(away())
    assert e.moved == 4
    [result] = step(e, Row([6], 5, [1, 7], (0,), ASK))
    assert drawn(result) == e.greedy([1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    ("out", "back", "words"),
    [
        ([(20, 0)], [], r"page 20 of 1\.\.19"),
        ([(0, 0)], [], r"page 0 of 1\.\.19"),
        ([(1, 6)], [], r"host slot 6 of 0\.\.5"),
        ([], [(0, 1)], "host slot 0, which was never written"),
        ([(1, 0), (2, 0)], [], "race with each other"),
        ([(1, 0)], [(0, 2)], "race with each other"),
        ([(1, 0)], [(1, 1)], "race with each other"),
    ],
)
def test_wrong_moves(out, back, words):
    e = engine()
    step(e, Row([1, 2, 3], 0, [1]))
    with pytest.raises(ValueError, match=words):
        asyncio.run(e.move(out, back))


MEETINGS = [
    # a move out reads page 1 and writes slot 0; a move back reads slot 1 and writes page 2
    ("out", Batch([Row([9], 5, [1, 3])]), None),
    ("out", Batch([Row([9], 3, [1])]), "page 1"),
    ("out", Batch([], [(3, 1)]), "page 1"),
    ("out", Batch([], [(1, 3)]), None),
    ("out", Batch([], entries=[EntryCopy(1, 0, 3, 0, 1, 0)]), None),
    ("out", Batch([], entries=[EntryCopy(3, 0, 1, 0, 1, 0)]), "page 1"),
    ("out", Batch([], poison=[1]), "page 1"),
    ("out", ([(1, 2)], []), None),
    ("out", ([(3, 0)], []), "host slot 0"),
    ("out", ([], [(0, 3)]), "host slot 0"),
    ("out", ([], [(1, 1)]), "page 1"),
    ("back", Batch([Row([9], 5, [2, 3])]), "page 2"),
    ("back", Batch([Row([9], 0, [3])]), None),
    ("back", Batch([], [(2, 3)]), "page 2"),
    ("back", Batch([], entries=[EntryCopy(2, 0, 3, 0, 1, 0)]), "page 2"),
    ("back", ([(2, 3)], []), "page 2"),
    ("back", ([(3, 1)], []), "host slot 1"),
    ("back", ([], [(1, 3)]), None),
]


@pytest.mark.parametrize(("way", "other", "place"), MEETINGS)
@pytest.mark.parametrize("first", ["move", "other"])
def test_what_meets_a_move_in_flight(way, other, place, first):
    """In both orders: a move begins beside a step in flight, too."""
    gates: list[asyncio.Event] = []

    async def wait(_seconds: float) -> None:
        gates.append(asyncio.Event())
        await gates[-1].wait()

    e = engine(step_seconds=1.0, move_seconds=1.0, sleep=wait)

    async def passed(call) -> None:
        task = asyncio.ensure_future(call)
        while not task.done():
            await asyncio.sleep(0)
            for gate in gates:
                gate.set()
        await task

    def start(what):
        return e.step(what) if isinstance(what, Batch) else e.move(*what)

    async def scenario() -> None:
        for page in (1, 2, 3):
            await passed(e.step(Batch([Row([1, 2, 3, 4][:page], 0, [page])])))
        await passed(e.move([(2, 1), (3, 0)], []))
        moves = ([(1, 0)], []) if way == "out" else ([], [(1, 2)])
        pair = [moves, other] if first == "move" else [other, moves]
        running = asyncio.ensure_future(start(pair[0]))
        await asyncio.sleep(0)
        if place is None:
            await passed(start(pair[1]))
        else:
            with pytest.raises(ValueError, match=f"races with .* in flight: both touch {place}"):
                await passed(start(pair[1]))
        for gate in gates:
            gate.set()
        await running

    asyncio.run(scenario())


def test_a_failed_move_leaves_its_sources_and_undefines_its_targets():
    def fail(out, back) -> float:
        raise OSError("no bus")

    e = engine(move_seconds=fail)
    step(e, Row([1, 2, 3], 0, [1]), Row([7], 0, [2]))
    with pytest.raises(OSError, match="no bus"):
        asyncio.run(e.move([(1, 0)], []))
    with pytest.raises(ValueError, match="never written"):
        asyncio.run(e.move([], [(0, 2)]))
    [result] = step(e, Row([4], 3, [1], (0,), ASK))
    assert drawn(result) == e.greedy([1, 2, 3, 4])


def test_the_engine_that_does_not_check_moves_too():
    e = engine(check=False)
    asyncio.run(e.move([(1, 0)], [(3, 2)]))
    assert e.moved == 2
    assert e.info.host_pages == 6
    assert step(e, Row([1], 0, [1], (0,), ASK, position=7), entries=[EntryCopy(1, 0, 2, 0, 1, 0)], poison=[3])[
        0
    ].readings


# ---- a plain model ---------------------------------------------------------------------------------------------------
class Files:
    """Files as lists of entries beside files on pages; every draw is predicted by the list."""

    def __init__(self) -> None:
        self.engine = engine(pages=4000, context_limit=2000, host_pages=4)
        self.next_page = 1
        self.lists: list[list[Entry]] = [[]]
        self.tables: list[list[int]] = [[]]
        self.plain = [True]

    def pages(self, count: int) -> list[int]:
        self.next_page += count
        return list(range(self.next_page - count, self.next_page))

    def pred(self, file: int, tokens: list[int]) -> None:
        entries, table = self.lists[file], self.tables[file]
        table += self.pages(-(-(len(entries) + len(tokens)) // SIZE) - len(table))
        position = max([entry.position + 1 for entry in entries], default=0)
        row = Row(tokens, len(entries), table, (len(tokens) - 1,), ASK, position=-1 if self.plain[file] else position)
        self.lists[file] = computed(entries, tokens, position)
        [result] = step(self.engine, row)
        assert drawn(result) == self.engine.greedy_after(self.lists[file])

    def take(self, source: int, start: int, end: int, shift: int) -> None:
        """A new file out of a part of one."""
        found = self.lists[source][start:end]
        shift = max(shift, -min([entry.position for entry in found], default=0))
        table = self.pages(-(-len(found) // SIZE))
        places = range(start, start + len(found))
        old = self.tables[source]
        copies = [
            EntryCopy(old[i // SIZE], i % SIZE, table[n // SIZE], n % SIZE, 1, shift) for n, i in enumerate(places)
        ]
        step(self.engine, entries=copies)
        self.lists.append(shifted(found, shift))
        self.tables.append(table)
        self.plain.append(False)

    def swap(self, file: int) -> None:
        for at, page in enumerate(self.tables[file]):
            asyncio.run(self.engine.move([(page, at % 4)], []))
            step(self.engine, poison=[page])
            [self.tables[file][at]] = self.pages(1)
            asyncio.run(self.engine.move([], [(at % 4, self.tables[file][at])]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_list_of_entries_predicts_every_draw(data):
    files = Files()
    files.pred(0, [1, 2, 3, 4, 5, 6])
    for _ in range(data.draw(st.integers(1, 8))):
        file = data.draw(st.integers(0, len(files.lists) - 1))
        match data.draw(st.sampled_from(["pred", "take", "swap"])):
            case "pred":
                files.pred(file, data.draw(st.lists(st.integers(0, 250), min_size=1, max_size=9)))
            case "take":
                start = data.draw(st.integers(0, len(files.lists[file])))
                end = data.draw(st.integers(start, len(files.lists[file])))
                files.take(file, start, end, data.draw(st.integers(-9, 9)))
                files.pred(len(files.lists) - 1, [7])
            case _:
                files.swap(file)
                files.pred(file, [8])
