"""Workload files: what is shipped is valid, what is wrong is said by name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from symphony.errors import Invalid, NotFound
from symphony.sim.invent import invent
from symphony.sim.mix import Range, load, parse, shipped

GROUP: dict[str, Any] = {"name": "g", "at_once": 2}


@pytest.mark.parametrize("name", shipped())
def test_shipped_mixes_are_valid_and_say_what_they_are(name: str) -> None:
    mix = load(name)
    assert mix.name == name
    assert mix.about
    assert mix.group


def test_there_are_the_promised_kinds() -> None:
    assert {"agent", "tree", "chat", "rag", "open", "loop", "burst"} <= set(shipped())


def test_files_in_both_formats(tmp_path: Path) -> None:
    toml, data = tmp_path / "mine.toml", tmp_path / "mine.json"
    toml.write_text('[device]\nbase = 0.01\n[[group]]\nname = "g"\nat_once = 2\nprompt = [1, 100]\nthink = 0.001\n')
    data.write_text(json.dumps({"device": {"base": 0.01}, "group": [{**GROUP, "prompt": [1, 100], "think": 0.001}]}))
    assert load(str(toml)) == load(str(data))
    [group] = load(str(toml)).group
    assert group.prompt == Range(1, 100)
    assert group.think == Range(0.001, 0.001)
    assert group.tenant_of(5) == "g"


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(NotFound, match="no mix nothing") as e:
        load("nothing")
    assert "agent" in e.value.hint


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[[group\n")
    with pytest.raises(Invalid, match=r"broken\.toml"):
        load(str(path))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "the mix is not a table"),
        ({}, "no group"),
        ({"group": []}, "no group"),
        ({"group": [{"at_once": 1}]}, "group 1: name is missing"),
        ({"group": [{**GROUP, "lipz": 3}]}, "group 1: there is no field lipz"),
        ({"group": [{**GROUP, "prompt": "long"}]}, "'long' is not a number"),
        ({"group": [{**GROUP, "prompt": [1, 2, 3]}]}, "two ends"),
        ({"group": [{**GROUP, "prompt": [5, 2]}]}, "5 to 2"),
        ({"group": [{**GROUP, "prompt": 0}]}, "prompt may be empty"),
        ({"group": [{**GROUP, "lips": 1.5}]}, "1.5 is not int"),
        ({"group": [{**GROUP, "lips": True}]}, "True is not int"),
        ({"group": [{**GROUP, "lips": 1 << 40}]}, "too large"),
        ({"group": [{**GROUP, "rate": 5}]}, "arrivals are not clear"),
        ({"group": [{"name": "g"}]}, "arrivals are not clear"),
        ({"group": [{**GROUP, "kind": "dag"}]}, "kind is 'dag'"),
        ({"group": [{**GROUP, "in_loop": 2}]}, "in_loop is a share"),
        ({"group": [{**GROUP, "nice": 40}]}, "nice is 40"),
        ({"group": [{**GROUP, "shared": -1}]}, "negative"),
        ({"group": [GROUP], "device": {"base": 0, "row": 0}}, "takes no time"),
        ({"group": [GROUP], "device": {"base": float("nan")}}, "not a number"),
        ({"group": [GROUP], "pool": {"pages": 1}}, "no pages"),
        ({"group": [GROUP], "weights": {"a": 0}}, "weight is not positive"),
        ({"group": [GROUP], "step_rows": 0}, "no room"),
    ],
)
def test_what_is_wrong_is_said(data: object, text: str) -> None:
    with pytest.raises(Invalid, match=text):
        parse("mine", data)


def test_ranges_are_drawn_within_their_ends_and_mostly_low() -> None:
    rng = random.Random(1)
    drawn = [Range(1, 1000).draw(rng) for _ in range(2000)]
    assert 1 <= min(drawn) < 2
    assert 900 < max(drawn) <= 1000
    assert sorted(drawn)[1000] == pytest.approx(31, rel=0.2)
    assert Range(5, 5).draw(rng) == 5
    assert Range(0, 0).count(rng) == 0


def test_invented_mixes_repeat_and_differ() -> None:
    assert invent(1) == invent(1)
    assert len({repr(invent(seed)) for seed in range(20)}) == 20
