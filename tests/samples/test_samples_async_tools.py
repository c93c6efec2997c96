"""Asynchronous tools: the conversation goes on while tools run, and their results become turns when they are there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Stage

TURNS = ["What is the forecast for Paris?", "What is the forecast for Rome?", "What is the capital of Sweden?"]


async def held(stage: Stage, until: str) -> dict[str, Any]:
    """A run whose tools do not answer before the program has said `until`."""
    stage.release = asyncio.Event()
    process = await stage.spawn("async_tools", turns=TURNS, use=["held_forecast"])
    said = ""
    async for event in process.events():
        said += event.data.get("text", "") if event.kind == "output" else ""
        if until in said:
            stage.release.set()
    return await process.wait()


def test_the_model_goes_on_while_tools_run_and_reads_their_results_later(tiny: Stage) -> None:
    result = tiny.go(lambda: held(tiny, until="model: The capital of Sweden"))
    order = result["order"]
    assert [line.split(":")[0] for line in order] == ["user", "model"] * 3 + ["tool", "model"] * 2
    assert [line.removeprefix("user: ") for line in order[::2][:3]] == TURNS
    assert order[1] == 'model: <tool_call>{"name": "held_forecast", "arguments": {"city": "Paris"}}</tool_call>'
    assert order[5] == "model: The capital of Sweden is Stockholm."
    assert order[6] == 'tool: {"city": "Paris", "sky": "clear"}'  # in the order in which they were asked for
    assert order[8] == 'tool: {"city": "Rome", "sky": "clear"}'
    assert order[7].startswith("model: The city is Paris and the sky is clear.")
    assert result["meanwhile"] == 2


def test_a_result_that_is_there_comes_before_the_next_turn(tiny: Stage) -> None:
    order = tiny.go(lambda: held(tiny, until="model: <tool_call>"))["order"]
    paris = order.index('tool: {"city": "Paris", "sky": "clear"}')
    assert paris < order.index("user: What is the capital of Sweden?")  # after the turn that came meanwhile
    assert order[paris + 1].startswith("model: ")


def test_what_is_wrong_with_a_call_is_a_result_too(tiny: Stage) -> None:
    run = tiny.run("async_tools", turns=TURNS[:1], use=["lookup"])  # has other arguments
    assert run.result["order"][2].startswith('tool: {"error": "tool \'lookup\'')
    assert "wait" not in run.result["order"][2]


def test_a_model_that_calls_nothing_answers_turn_by_turn(chance: Stage) -> None:
    run = chance.run("async_tools", turns=TURNS, max_tokens=8)
    assert [line.split(":")[0] for line in run.result["order"]] == ["user", "model"] * 3
    assert run.result["meanwhile"] == 0
    assert run.usage["generated_tokens"] <= 24
