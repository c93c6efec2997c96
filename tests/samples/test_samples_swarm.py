"""A swarm of children: each question is answered once, by whoever is free, and the document is computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from symphony.errors import ProgramError

if TYPE_CHECKING:
    from conftest import Stage


def test_children_answer_from_the_document_that_they_inherit(tiny: Stage) -> None:
    run = tiny.run("swarm")
    assert {one["question"]: one["answer"] for one in run.result["answers"]} == {
        "What does the error code E42 mean?": "disk full [2]",
        "Where is the red clock?": "in the museum [3]",
        "Who founded Zeltro?": "Ada Park [4]",
        "Who owns the green lamp?": "Nora [1]",
    }
    assert sum(worker["answered"] for worker in run.result["workers"]) == 4
    assert run.usage["generated_tokens"] == 0  # the parent only reads


def test_each_question_is_answered_once_and_the_document_is_computed_once(chance: Stage) -> None:
    questions = [f"number {n}?" for n in range(7)]
    run = chance.run("swarm", questions=questions, document="some words " * 20, workers=2, max_tokens=3)
    result = run.result
    assert sorted(one["question"] for one in result["answers"]) == questions
    assert len(result["workers"]) == 2
    assert sum(worker["answered"] for worker in result["workers"]) == 7
    asking = sum(worker["computed"] for worker in result["workers"])
    assert result["computed"] == run.usage["prompt_tokens"] + asking
    assert result["computed_alone"] - result["computed"] == run.usage["prompt_tokens"] > 40


def test_a_worker_that_fails_ends_the_swarm(chance: Stage) -> None:
    with pytest.raises(ProgramError, match="max_tokens"):
        chance.run("swarm", max_tokens=-1)
    assert chance.runtime.sandbox.live == 0
