"""Sliding window: with its sink the text comes to its end on `tiny`; what is kept is bounded on any model."""

from __future__ import annotations

from typing import Any


def test_with_a_sink_it_counts_to_the_end_and_without_one_it_does_not(tiny: Any) -> None:
    told = tiny.run("window").result
    numbers = ", ".join(str(n) for n in range(1, 81))
    assert told["sink"]["text"] == numbers
    assert told["no sink"]["text"] != numbers
    assert told["sink"]["kept_at_most"] == told["no sink"]["kept_at_most"] < 60
    assert told["all"]["kept_at_most"] > told["sink"]["tokens"]


def test_what_is_kept_is_bounded_whatever_the_model_writes(chance: Any) -> None:
    for block in (3, 8):
        told = chance.run("window", sink=4, window=12, max_tokens=40, block=block).result
        prompt = told["all"]["kept_at_most"] - told["all"]["tokens"]
        for way in ("sink", "no sink"):
            assert told[way]["kept_at_most"] <= max(4 + 12, prompt) + block
        assert told["all"]["tokens"] <= 40


def test_a_window_that_holds_everything_changes_nothing(chance: Any) -> None:
    told = chance.run("window", window=64, max_tokens=30).result
    assert told["sink"] == told["all"]
    assert told["no sink"] == told["all"]
