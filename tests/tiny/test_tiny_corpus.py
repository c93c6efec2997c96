"""The corpus is the same for everybody, and keeps what evaluation asks from training."""

from __future__ import annotations

import json

import pytest

from tiny import calls, tasks
from tiny.corpus import MIX, Task, dialogue, rendered
from tiny.evaluate import MEASURES, valid_step
from tiny.newcomer import load
from tiny.pen import Manner, Pen

SOME = range(200)


def test_a_document_depends_on_its_seed_alone() -> None:
    assert dialogue("1/7") == dialogue("1/7")
    assert len({rendered(dialogue(i)) for i in SOME}) > 190


@pytest.mark.parametrize("task", MIX, ids=lambda task: task.__name__)
@pytest.mark.parametrize("manner", Manner)
def test_every_task_ends_with_an_answer(task: Task, manner: Manner) -> None:
    for i in range(20):
        turns = task(Pen(i, manner))
        assert turns[-1][0] == "assistant"
        assert all(content.strip() and "{" + "k}" not in content for _, content in turns)


def test_wordings_words_and_tools_are_held_out() -> None:
    bank = list(range(40))
    drawn = {m: {Pen(i, m).wording(bank) for i in SOME} for m in Manner}
    assert drawn[Manner.PLAIN] < drawn[Manner.VARIED]
    assert not drawn[Manner.VARIED] & drawn[Manner.UNSEEN]
    words = {m: {Pen(i, m).word(bank) for i in SOME} for m in Manner}
    assert not words[Manner.VARIED] & words[Manner.UNSEEN]
    assert words[Manner.UNSEEN]
    daily = {tool.name for tool in calls.TOOLS}
    known = {m: {calls.known(Pen(i, m))[0]["name"] for i in SOME} for m in Manner}
    assert not known[Manner.VARIED] & known[Manner.UNSEEN]
    assert known[Manner.VARIED] | known[Manner.UNSEEN] == daily


def test_sums_that_are_asked_for_were_never_trained() -> None:
    trained = {tasks.pair(Pen(i), 10) for i in range(2000)}
    asked = {tasks.pair(Pen(i, Manner.PLAIN), 10) for i in SOME}
    assert not trained & asked


def test_answers_follow_from_what_is_asked() -> None:
    for i in SOME:
        turns = tasks.extraction(Pen(i))
        assert all(str(value) in turns[0][1] for value in json.loads(turns[1][1]).values())
        request, call = calls.call(Pen(i))[1:]
        arguments = json.loads(call[1].removeprefix("<tool_call>").removesuffix("</tool_call>"))["arguments"]
        assert all(str(value).lower() in request[1].lower() for value in arguments.values())
        asked, answer = tasks.propose(Pen(i))
        assert valid_step(asked[1], answer[1])


def test_steps_that_are_wrong_are_told() -> None:
    asked = "Numbers: 4 6 8\nPropose a step."
    assert valid_step(asked, "8 - 4 = 4 (left: 4 6)")
    assert not valid_step(asked, "8 - 4 = 5 (left: 5 6)")
    assert not valid_step(asked, "8 - 4 = 4 (left: 4 8)")
    assert not valid_step(asked, "9 - 4 = 5 (left: 5 6 8)")
    assert not valid_step(asked, "8 - 4 = 4")


def test_measures_and_prompts_are_there() -> None:
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    prompts = load()
    assert len(prompts) == 40
    assert not any(prompt.acceptable("") for prompt in prompts)
