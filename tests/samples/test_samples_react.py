"""The ReAct agent: it finds what it needs on `tiny`; on any model it only ever calls tools that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("question", "answer", "actions"),
    [
        ("What is 12 plus the age of Nora Brandt?", "46", ["lookup[age of Nora Brandt]", "calc[34 + 12]"]),
        (
            "What is the job of the owner of the green lamp?",
            "baker",
            ["lookup[owner of the green lamp]", "lookup[job of Omar Reed]"],
        ),
    ],
)
def test_it_looks_up_what_it_needs_and_then_answers(tiny: Any, question: str, answer: str, actions: list[str]) -> None:
    run = tiny.run("react", question=question)
    assert run.result["answer"] == answer
    assert [step["action"] for step in run.result["steps"]] == actions
    assert 2 * run.result["tokens"] < run.result["tokens_resent"]


def test_a_tool_that_fails_is_an_observation(tiny: Any) -> None:
    run = tiny.run("react", question="What is the boss of Mia?")
    assert "nothing is known about the boss of Mia" in run.result["steps"][0]["observation"]


def test_the_forms_are_kept_and_the_steps_bounded_whatever_the_model_says(chance: Any) -> None:
    run = chance.run("react", max_steps=3, max_tokens=300)
    steps = run.result["steps"]
    assert run.result["answer"] is not None or len(steps) == 3
    assert all(re.fullmatch(r"(lookup|calc)\[[^\[\]\n]{1,60}\]", step["action"]) for step in steps)
    assert run.output.count("Thought: ") >= len(steps)
    assert run.result["tokens"] == run.usage["prompt_tokens"] + run.usage["generated_tokens"]


def test_a_reply_that_is_cut_off_ends_the_run_without_an_answer(chance: Any) -> None:
    assert chance.run("react", max_tokens=3).result["answer"] is None


def test_weather_asks_its_tool_once_and_any_model_gets_by_without(tiny: Any, chance: Any) -> None:
    run = tiny.run("weather", question="What is the weather in Rome?")
    assert [(call["tool"], call["arguments"]) for call in run.result["calls"]] == [("get_weather", {"city": "Rome"})]
    assert str(run.result["calls"][0]["result"]["temperature"]) in run.result["answer"]
    run = chance.run("weather", max_tokens=12)
    assert run.result["calls"] == []
    assert 0 < run.usage["generated_tokens"] <= 12
