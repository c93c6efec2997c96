"""completion, chat, branches, best_of: what is written in turn and side by side."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Stage

ALONE = """
from lip import Context, main

@main
async def app(prompt: str, max_tokens: int, seeds: list[int]) -> dict[str, object]:
    async with Context() as ctx:
        ctx.user(prompt)
        plain = await ctx.fork().generate(max_tokens=max_tokens)
        drawn = [await ctx.fork().generate(max_tokens=max_tokens, temperature=1.0, seed=seed) for seed in seeds]
        return {"plain": plain.text, "drawn": [out.text for out in drawn]}
"""
STATELESS = """
from lip import Context, main

@main
async def app(turns: list[str], system: str) -> list[str]:
    said = []
    for turn in turns:
        said.append(["user", turn])
        async with Context() as ctx:
            ctx.system(system)
            for role, text in said:
                ctx.message(role, text)
            said.append(["assistant", (await ctx.generate(max_tokens=64)).text])
    return [text for _, text in said]
"""
VERDICTS = """
from lip import Context, encode, main

@main
async def app(questions: list[str]) -> list[list[float]]:
    ids = [encode("yes")[0], encode("no")[0]]
    return [(await Context().user(question).pred(logprobs=ids)).logprob(ids) for question in questions]
"""


def test_a_completion_says_who_it_is(tiny: Stage) -> None:
    run = tiny.run("completion")
    assert run.result == run.output == "I am a tiny language model inside Symphony."


def test_what_is_streamed_is_what_is_generated(chance: Stage) -> None:
    run = chance.run("completion", prompt="Any.", max_tokens=20)
    alone = chance.run(ALONE, prompt="Any.", max_tokens=20, seeds=[])
    assert run.result == run.output == alone.result["plain"]
    assert run.usage["generated_tokens"] <= 20


def test_a_chat_remembers_and_computes_each_turn_once(tiny: Stage) -> None:
    run = tiny.run("chat")
    replies = [message["content"] for message in run.result if message["role"] == "assistant"]
    assert replies[2] == "Your name is Nora."
    read, sent = map(int, re.findall(r"(\d+)", run.output)[-2:])
    assert read == run.usage["prompt_tokens"] + run.usage["reused_tokens"]
    assert sent > 2 * read

    turns = [message["content"] for message in run.result if message["role"] == "user"]
    stateless = tiny.run(STATELESS, turns=turns, system="Answer briefly.")
    assert stateless.result == [message["content"] for message in run.result]
    assert stateless.usage["prompt_tokens"] + stateless.usage["reused_tokens"] == sent


def test_a_chat_goes_on_with_the_messages_that_are_sent_to_it(tiny: Stage) -> None:
    async def scenario() -> Any:
        process = await tiny.spawn("chat", turns=[], live=True)
        for text in ("My name is Ben.", "What is my name?", ""):
            await process.send(text)
        return await process.wait()

    said = tiny.go(scenario)
    assert [message["content"] for message in said][2:] == ["What is my name?", "Your name is Ben."]


def test_turns_of_a_chat_add_up_whatever_the_model_says(chance: Stage) -> None:
    run = chance.run("chat", turns=["a", "b", "c"], max_tokens=5)
    assert [message["role"] for message in run.result] == ["user", "assistant"] * 3
    assert [message["content"] for message in run.result[::2]] == ["a", "b", "c"]
    assert run.usage["forwards"] <= 3 * 5
    read, sent = map(int, re.findall(r"(\d+)", run.output)[-2:])
    assert read == run.usage["prompt_tokens"] + run.usage["reused_tokens"] < sent


def test_branches_are_what_each_would_be_alone(chance: Stage) -> None:
    prompt = "Tell me about branches that are drawn from one and the same prompt, at the same time."
    run = chance.run("branches", prompt=prompt, n=5, max_tokens=12)
    alone = chance.run(ALONE, prompt=prompt, max_tokens=12, seeds=list(range(5)))
    assert run.result == alone.result["drawn"]
    assert len(set(run.result)) == 5
    assert run.usage["forwards"] < run.usage["generated_tokens"] / 2
    tokens, forwards, shared, n, apart = map(int, re.findall(r"(\d+)", run.output))
    assert (tokens, forwards) == (run.usage["generated_tokens"], run.usage["forwards"])
    assert shared == run.usage["prompt_tokens"] + run.usage["reused_tokens"]
    assert (n, apart) == (5, 5 * shared)


def test_branches_of_a_story_differ(tiny: Stage) -> None:
    run = tiny.run("branches", n=4, max_tokens=16)
    assert all(text.startswith("Nora was a") for text in run.result)
    assert len(set(run.result)) > 1


def test_the_judge_finds_the_answer_that_most_draws_miss(tiny: Stage) -> None:
    run = tiny.run("best_of")
    assert run.result["answer"] == "37"
    assert max(run.result["votes"], key=run.result["votes"].get) != "37"


def test_best_of_is_the_best_by_the_verdicts(chance: Stage) -> None:
    run = chance.run("best_of", question="What?", verdict="Is {answer} good?", pattern="[a-f]{1,2}", n=6)
    votes = run.result["votes"]
    assert sum(votes.values()) == 6
    assert all(re.fullmatch("[a-f]{1,2}", answer) for answer in votes)
    assert run.output.endswith("all verdicts in 1\n")
    verdicts = chance.run(VERDICTS, questions=[f"Is {answer} good?" for answer in votes]).result
    surplus = {answer: yes - no for answer, (yes, no) in zip(votes, verdicts, strict=True)}
    best = max(surplus.values())
    assert surplus[run.result["answer"]] == pytest.approx(best, abs=1e-3)
