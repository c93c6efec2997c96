"""Samples that keep what the model has read: sessions, prompt modules, a library. Each file is paid for once."""

from __future__ import annotations

from typing import Any

import pytest

PLAIN = """
from lip import Context, main

@main
async def plain(turns: list[str], question: str, max_tokens: int):
    ctx = Context().system("Remember this:")
    for turn in turns:
        ctx.user(turn)
    await ctx.flush()
    known = len(ctx)
    ctx.user(question)
    return [known, (await ctx.generate(max_tokens=max_tokens)).text]
"""
ONE = {"alone": "The port of Brovia is 8181.", "other": "Zeltro has 250 employees."}


def test_a_session_remembers_and_computes_only_what_is_new(tiny: Any) -> None:
    first = tiny.run("sessions", name="a", say="My name is Omar.").result[0]
    second = tiny.run("sessions", name="a", say=["What is the capital of Peru?", "What is my name?"]).result
    assert second[-1]["reply"] == "Your name is Omar."
    assert first["known"] == 0 < second[0]["known"] < second[1]["known"]
    assert max(turn["computed"] for turn in second) <= 20
    other = tiny.run("sessions", name="b", say="What is my name?").result[0]
    assert other["known"] == 0
    assert "Omar" not in other["reply"]


def test_turns_are_taken_back(tiny: Any) -> None:
    tiny.run("sessions", name="c", say=["My name is Omar.", "Call me Grace."])
    after = tiny.run("sessions", name="c", say="What is my name?", back=1).result[0]
    assert after["reply"] == "Your name is Omar."
    assert tiny.run("sessions", name="c", say="Hello", back=9).result[0]["known"] == 0


def test_runs_that_talk_in_one_session_come_one_after_the_other(chance: Any) -> None:
    async def scenario() -> list[Any]:
        runs = [await chance.spawn("sessions", name="busy", say=f"Run {i}.", max_tokens=4) for i in range(5)]
        return [(await run.wait())[0] for run in runs]

    turns = chance.go(scenario)
    known = sorted(turn["known"] for turn in turns)
    assert known[0] == 0
    assert len(set(known)) == 5  # each went on from another turn
    assert chance.run("sessions", name="busy", say="And now?", max_tokens=4).result[0]["known"] > known[-1]


def test_modules_answer_in_any_choice_and_order_and_are_computed_once(tiny: Any) -> None:
    first = tiny.run("modules", folder="/modules-a").result
    assert [answer["answer"] for answer in first] == ["64", "alice", "8181"]
    assert first[0]["computed"] > first[0]["prompt"] - first[0]["new"]
    assert first[2]["computed"] == first[2]["new"]  # an order that was never there before
    second = tiny.run("modules", folder="/modules-a").result
    assert [answer["computed"] for answer in second] == [answer["new"] for answer in second]
    assert [answer["answer"] for answer in second] == ["64", "alice", "8181"]


@pytest.mark.parametrize("stage", ["tiny", "chance"])
def test_a_single_module_is_the_plain_prompt(stage: str, request: pytest.FixtureRequest) -> None:
    host = request.getfixturevalue(stage)
    question = "What is the port of Brovia?"
    known, text = host.run(PLAIN, turns=[ONE["alone"]], question=question, max_tokens=12).result
    for _ in range(2):
        [answer] = host.run("modules", ask={question: ["alone"]}, texts=ONE, folder="/one", max_tokens=12).result
        assert answer["answer"] == text
        assert answer["prompt"] - answer["new"] == known


def test_joined_modules_are_as_long_as_their_text(chance: Any) -> None:
    known, _ = chance.run(PLAIN, turns=[ONE["other"], ONE["alone"]], question="?", max_tokens=1).result
    [answer] = chance.run("modules", ask={"?": ["other", "alone"]}, texts=ONE, folder="/two", max_tokens=1).result
    assert answer["prompt"] - answer["new"] == known


def test_the_library_finds_answers_and_cites(tiny: Any) -> None:
    first = tiny.run("library", folder="/library-a")
    second = tiny.run("library", folder="/library-a")
    for run in (first, second):
        answers = run.result["answers"]
        assert [answer["answer"] for answer in answers] == ["disk full [2]", "in the museum [5]", "Ada Park [7]"]
        assert all(answer["source"] == answer["read"][-1] for answer in answers)
    assert first.result["computed"] > 4 * second.result["computed"]
    assert second.result["prompt"] == first.result["prompt"] > 5 * second.result["computed"]


def test_a_large_library_is_read_once(chance: Any) -> None:
    documents = [f"Shelf {i} holds the books of reader{i}." for i in range(100)]
    questions = [f"Which shelf has the books of reader{i}?" for i in (7, 42, 99)]
    arguments: dict[str, Any] = {"documents": documents, "k": 5, "folder": "/library-b", "max_tokens": 2}
    first = chance.run("library", questions=questions, **arguments)
    assert [answer["read"][-1] for answer in first.result["answers"]] == [8, 43, 100]
    again = chance.run("library", questions=questions[::-1], **arguments)
    assert again.result["prompt"] == first.result["prompt"]
    assert again.result["computed"] < first.result["computed"]
