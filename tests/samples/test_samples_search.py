"""Tree of thought and Monte Carlo tree search: what they find on `tiny`; that they are what they claim on any model."""

from __future__ import annotations

import re
from typing import Any

import pytest

PUZZLE = [1, 5, 6, 9]


def value_of(steps: list[str], numbers: list[int]) -> list[int]:
    """The numbers left after the steps; fails unless each is legal and right."""
    left = list(numbers)
    for step in steps:
        found = re.fullmatch(r"(\d+) ([-+*]) (\d+) = (\d+)", step)
        assert found is not None, step
        x, y, result = int(found[1]), int(found[3]), int(found[4])
        left.remove(x)
        left.remove(y)
        assert {"+": x + y, "-": x - y, "*": x * y}[found[2]] == result >= 0
        left.append(result)
    return left


def test_the_tree_solves_its_puzzle_for_less_than_its_calls_cost_alone(tiny: Any) -> None:
    run = tiny.run("tree")
    assert run.result["solved"]
    assert value_of(run.result["steps"], PUZZLE) == [24]
    assert 3 * run.result["tokens"] < run.result["tokens_alone"]
    assert run.result["forwards"] == run.usage["forwards"]
    assert 4 * run.result["forwards"] < run.result["tokens_alone"]  # calls share steps; how many is a matter of timing


@pytest.mark.parametrize(("draws", "width"), [(1, 1), (5, 2)])
def test_a_tree_of_any_model_is_made_of_legal_steps(chance: Any, draws: int, width: int) -> None:
    run = chance.run("tree", numbers=[2, 3, 4], target=20, draws=draws, width=width)
    assert len(run.result["steps"]) == 2
    left = value_of(run.result["steps"], [2, 3, 4])
    assert run.result["solved"] == (left == [20])
    assert 2 <= run.result["states"] <= draws + width * draws
    shown = run.output.splitlines()[:-1]
    assert len([line for line in shown if not line.startswith(" ")]) <= width
    assert run.result["tokens"] == run.usage["prompt_tokens"] + run.usage["generated_tokens"]


def test_a_tree_is_the_same_again(chance: Any) -> None:
    first, second = (chance.run("tree", numbers=[2, 3, 4], draws=3, width=2).result for _ in range(2))
    assert first["steps"] == second["steps"]
    assert first["states"] == second["states"]


def test_stories_grow_from_the_beginnings_that_promise_most(tiny: Any) -> None:
    run = tiny.run("mcts", rounds=3, width=3)
    story, wishes = run.result["story"], ["fox", "harbor", "golden", "umbrella", "grape"]
    assert re.fullmatch(r"Nora was .*\.", story)
    assert run.result["value"] == sum(wish in story for wish in wishes) / 5 > 0
    assert run.result["stories"] == 9
    assert 3 * run.result["tokens"] < 2 * run.result["tokens_alone"]
    assert run.result["tokens"] == run.usage["prompt_tokens"] + run.usage["generated_tokens"]


def test_any_model_tells_as_many_stories_as_asked_for_and_the_same_again(chance: Any) -> None:
    first, second = (chance.run("mcts", rounds=3, width=2, max_tokens=6, wishes=["e", "zzz"]) for _ in range(2))
    assert first.result["story"] == second.result["story"]
    assert 2 <= first.result["stories"] <= 6
    assert first.result["value"] == ("e" in first.result["story"]) / 2
    shown = [float(line.split()[1]) for line in first.output.splitlines() if re.match(r" *\d+\. \d", line)]
    assert shown == sorted(set(shown))  # a story is shown when it is better than all before


def test_what_a_story_is_worth_goes_up_to_the_root(module: Any) -> None:
    node = module("mcts").Node
    root = node(None)
    good, bad = node(None, parent=root), node(None, parent=root)
    grandchild = node(None, parent=good)
    for one, worth in ((good, 0.6), (bad, 0.2), (grandchild, 1.0)):
        one.learn(worth)
    assert (root.visits, good.visits, bad.visits, grandchild.visits) == (3, 2, 1, 1)
    assert (root.total, good.total) == (pytest.approx(1.8), pytest.approx(1.6))
    assert good.promise(0) == pytest.approx(0.8)
    assert good.promise(0) > bad.promise(0)
    assert good.promise(2) < bad.promise(2)  # who explores more tries what was tried less
