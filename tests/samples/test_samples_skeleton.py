"""Skeleton of thought: all points are answered, in the steps of the longest one."""

from __future__ import annotations

import os
from typing import Any

WORKERS = "SYMPHONY_TEST_WORKERS" in os.environ
"""Then points, which are started one by one, may come to lie in steps of their own."""


def test_each_point_of_the_list_is_answered(tiny: Any) -> None:
    runs = [tiny.run("skeleton") for _ in range(3)]
    for run in runs:
        assert [(one["point"], one["text"]) for one in run.result["points"]] == [
            ("France", "The capital of France is Paris."),
            ("Japan", "The capital of Japan is Tokyo."),
            ("Egypt", "The capital of Egypt is Cairo."),
            ("Peru", "The capital of Peru is Lima."),
        ]
    best = min((run.result for run in runs), key=lambda result: result["forwards"])  # a busy machine starts points late
    assert (2 if WORKERS else 3) * best["forwards"] < best["tokens"]


def test_any_model_writes_a_list_and_its_points_write_side_by_side(chance: Any) -> None:
    run = chance.run("skeleton", question="Hello", expand="{point} {other}", max_tokens=30)
    points = run.result["points"]
    assert 1 <= len(points) <= 8
    assert all(0 < len(one["point"]) <= 60 for one in points)
    assert run.result["tokens"] <= 30 * len(points)
    late = 8 if WORKERS else 2
    assert run.result["forwards"] <= 30 + late * len(points)  # as many as one has tokens; each may begin a little later
