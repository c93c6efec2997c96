"""An agenda against a plain dict of times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from symphony.kvfs.agenda import Agenda

ACTIONS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 4), st.integers(0, 20)),
    st.tuples(st.just("discard"), st.integers(0, 4), st.just(0)),
    st.tuples(st.just("due"), st.just(0), st.integers(0, 20)),
)


@given(st.lists(ACTIONS, max_size=60))
def test_it_does_what_a_dict_does(actions: list[tuple[str, int, int]]) -> None:
    agenda: Agenda[int] = Agenda()
    model: dict[int, int] = {}
    for what, key, time in actions:
        if what == "add":
            agenda.add(key, time)
            model[key] = min(time, model.get(key, time))
        elif what == "discard":
            agenda.discard(key)
            model.pop(key, None)
        else:
            due = agenda.due(time, 3)
            ripe = sorted((t, k) for k, t in model.items() if t <= time)
            assert [model[k] for k in due] == [t for t, _ in ripe[:3]]
            for k in due:
                del model[k]
        assert agenda.first() == min(model.values(), default=None)
        assert len(agenda) == len(model)
        assert all((k in agenda) == (k in model) for k in range(5))


def test_putting_forward_again_and_again_takes_no_memory() -> None:
    agenda: Agenda[str] = Agenda()
    for time in range(10_000, 0, -1):
        agenda.add("x", time)
    assert len(agenda._heap) <= 70
    assert agenda.due(0, 9) == []
    assert agenda.due(1, 9) == ["x"]
