"""Advisory locks: order, cycles, and random schedules against a plain model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.errors import Busy, LimitExceeded
from symphony.kvfs.locks import Lock, Locks


def test_one_writer_or_many_readers() -> None:
    locks = Locks()
    readers = [locks.request("f", n, shared=True) for n in range(3)]
    assert all(lock.held for lock in readers)
    writer = locks.request("f", "w", shared=False)
    assert not writer.held
    for reader in readers[:2]:
        assert locks.release(reader) == []
    assert locks.release(readers[2]) == [writer]
    assert writer.held
    assert not locks.request("f", 9, shared=True).held
    assert locks.request("g", 9, shared=False).held, "another file"


def test_a_writer_is_not_passed_by_later_readers() -> None:
    locks = Locks()
    first = locks.request("f", 1, shared=True)
    writer = locks.request("f", 2, shared=False)
    late = [locks.request("f", n, shared=True) for n in (3, 4)]
    assert not any(lock.held for lock in late)
    with pytest.raises(Busy, match="waits for its lock already"):
        locks.attempt("f", 5, shared=True)
    assert locks.release(first) == [writer]
    assert locks.release(writer) == late, "both readers at once"


def test_who_leaves_the_line_lets_others_through() -> None:
    locks = Locks()
    reader = locks.request("f", 1, shared=True)
    writer = locks.request("f", 2, shared=False)
    late = locks.request("f", 3, shared=True)
    assert locks.release(writer) == [late]
    assert locks.release(writer) == [], "twice is fine"
    assert locks.release(reader) == []
    assert locks.release(late) == []
    assert len(locks) == 0
    assert locks.attempt("f", 4, shared=False).held


def test_attempts_never_wait() -> None:
    locks = Locks()
    held = locks.attempt("f", 1, shared=False)
    for shared in (True, False):
        with pytest.raises(Busy, match="is locked"):
            locks.attempt("f", 2, shared=shared)
    locks.release(held)
    assert locks.attempt("f", 2, shared=True).held
    assert len(locks) == 1


def test_waiting_for_oneself_is_refused() -> None:
    locks = Locks()
    locks.request("f", 1, shared=True)
    assert locks.request("f", 1, shared=True).held, "two readers of one process"
    with pytest.raises(Busy, match="never end"):
        locks.request("f", 1, shared=False)
    assert len(locks) == 2


def test_a_wait_that_would_close_a_cycle_is_refused_at_once() -> None:
    locks = Locks()
    a, b, c = (locks.request(name, n, shared=False) for n, name in enumerate("abc"))
    waits = [locks.request("b", 0, shared=False), locks.request("c", 1, shared=True)]
    with pytest.raises(Busy, match="one order"):
        locks.request("a", 2, shared=True)
    assert locks.release(c) == [waits[1]]
    assert locks.release(b) == [waits[0]]
    assert locks.request("a", 1, shared=False).held is False, "not a cycle any more"
    assert locks.release(a)


def test_a_cycle_through_who_stands_in_line_before() -> None:
    """1 reads f; 2 waits to write f; 3 would wait behind 2; 2 must not wait for 3 then."""
    locks = Locks()
    locks.request("f", 1, shared=True)
    locks.request("g", 3, shared=False)
    locks.request("f", 2, shared=False)
    behind = locks.request("f", 3, shared=True)
    assert not behind.held
    with pytest.raises(Busy):
        locks.request("g", 2, shared=True)
    locks.release(behind)
    assert not locks.request("g", 2, shared=True).held


def test_readers_behind_readers_do_not_wait_for_each_other() -> None:
    locks = Locks()
    locks.request("f", 1, shared=False)
    locks.request("f", 2, shared=True)
    locks.request("f", 3, shared=True)
    locks.request("g", 3, shared=False)
    assert not locks.request("g", 2, shared=False).held, "2 waits for 3, 3 waits for 1 only"


def test_the_number_of_locks_is_limited() -> None:
    locks = Locks(max_locks=2)
    locks.request("f", 1, shared=False)
    held = locks.request("g", 1, shared=False)
    for ask in (locks.request, locks.attempt):
        with pytest.raises(LimitExceeded, match="2 locks"):
            ask("h", 1, shared=True)
    locks.release(held)
    assert locks.attempt("h", 1, shared=True).held
    assert locks.request("h", 2, shared=True).held, "the limit is a process'"


def test_long_lines_are_searched_in_linear_time() -> None:
    """Each of 2,000 sessions holds a lock and waits in one line; the last asks whether it may wait for the first."""
    looks = 0

    class Session:
        def __init__(self, number: int) -> None:
            self.number = number

        def __hash__(self) -> int:
            nonlocal looks
            looks += 1
            return self.number

        def __eq__(self, other: object) -> bool:
            return self is other

    locks = Locks()
    sessions = [Session(n) for n in range(2000)]
    for session in sessions:
        locks.request(("own", session.number), session, shared=False)
        locks.request("line", session, shared=session.number % 2 == 0)
    looks = 0
    with pytest.raises(Busy):
        locks.request(("own", 1999), sessions[1000], shared=False)
    assert looks < 20 * len(sessions)


class Model:
    """The rules, written down as plainly as can be."""

    def __init__(self) -> None:
        self.held: list[tuple[int, str, str, bool]] = []
        self.line: list[tuple[int, str, str, bool]] = []

    def bars(self, a: Any, b: Any) -> bool:
        return a[1] == b[1] and not (a[3] and b[3])

    def edges(self, wait: Any, line: list[Any]) -> set[str]:
        before = line[: line.index(wait)]
        return {other[2] for other in [*self.held, *before] if self.bars(other, wait)}

    def cyclic(self, line: list[Any]) -> bool:
        graph: dict[str, set[str]] = {}
        for wait in line:
            graph.setdefault(wait[2], set()).update(self.edges(wait, line))
        for _ in range(6):
            graph = {s: t.union(*(graph.get(x, set()) for x in t)) for s, t in graph.items()}
        return any(s in t for s, t in graph.items())

    def settle(self) -> list[int]:
        granted: list[int] = []
        for wait in list(self.line):
            ahead = [other for other in self.line[: self.line.index(wait)] if other[1] == wait[1]]
            if not ahead and not any(self.bars(other, wait) for other in self.held):
                self.line.remove(wait)
                self.held.append(wait)
                granted.append(wait[0])
        return granted

    def request(self, wait: Any) -> str:
        self.line.append(wait)
        if self.settle() == [wait[0]]:
            return "held"
        if self.cyclic(self.line):
            self.line.remove(wait)
            return "refused"
        return "waits"

    def attempt(self, wait: Any) -> str:
        if any(w[1] == wait[1] for w in self.line) or any(self.bars(h, wait) for h in self.held):
            return "refused"
        self.held.append(wait)
        return "held"

    def release(self, number: int) -> list[int]:
        self.held = [h for h in self.held if h[0] != number]
        self.line = [w for w in self.line if w[0] != number]
        return self.settle()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["request", "request", "attempt", "release"]),
        st.sampled_from("fgh"),
        st.sampled_from("1234"),
        st.booleans(),
        st.integers(0, 30),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=400, deadline=None)
def test_random_schedules_equal_the_model(steps: list[tuple[str, str, str, bool, int]]) -> None:
    locks, model = Locks(), Model()
    made: dict[int, Lock] = {}
    for number, (what, file, session, shared, pick) in enumerate(steps):
        if what == "release":
            if made:
                chosen = list(made)[pick % len(made)]
                granted = locks.release(made.pop(chosen))
                expected = model.release(chosen)
                assert [n for n, lock in made.items() if lock in granted] == sorted(expected)
                assert len(granted) == len(expected)
            continue
        ask, answer = (locks.request, model.request) if what == "request" else (locks.attempt, model.attempt)
        expected = answer((number, file, session, shared))
        try:
            lock = ask(file, session, shared)
        except Busy:
            assert expected == "refused"
            continue
        made[number] = lock
        assert expected == ("held" if lock.held else "waits")
        assert not model.cyclic(model.line)
    assert {n for n, lock in made.items() if lock.held} == {h[0] for h in model.held}
    for number in list(made):  # whoever is left gives up: everybody gets through
        locks.release(made.pop(number))
    assert len(locks) == 0
    assert not locks._queues
    assert not locks._waiting
