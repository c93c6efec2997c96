"""`symphony bench sched`: a table, judgements, JSON; what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from symphony.bench.sched import compare
from symphony.cli.bench import bench
from symphony.sim.mix import parse

MIX = """
about = "small"
[device]
base = 0.005
[[group]]
name = "g"
lips = 8
at_once = 4
in_loop = 1.0
output = 20
"""


def invoke(tmp_path: Path, *arguments: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(MIX)
    result = CliRunner().invoke(bench, ["sched", *(str(path) if a == "MIX" else a for a in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_mix_from_outside(tmp_path: Path) -> None:
    text = invoke(tmp_path, "--mix", "MIX", "--policy", "eager", "--policy", "rows:64")
    assert "mine" in text
    assert "rows:64" in text
    assert "most that a fixed policy gains in both" in text


def test_json_has_every_figure_of_every_run(tmp_path: Path) -> None:
    value = json.loads(invoke(tmp_path, "--mix", "MIX", "--policy", "time:2", "--json"))
    assert [run["policy"] for run in value["runs"]] == ["adaptive", "time:2"]
    run = value["runs"][0]
    assert run["tokens"] == 160
    assert {"first", "gap", "answer", "life", "shares", "jain", "counters", "rows"} <= set(run)
    assert value["figures"]


def test_invented_mixes(tmp_path: Path) -> None:
    assert "invented-5" in invoke(tmp_path, "--invent", "1", "--seed", "5", "--policy", "eager")


def test_more_seeds_where_one_does_not_tell() -> None:
    mix = parse(
        "loose",
        {"group": [{"name": "g", "lips": 12, "at_once": 6, "in_loop": 1.0, "output": [2, 30], "away": [0, 0.05]}]},
    )
    comparison = compare([mix], ["eager", "rows:64"], 0, lambda text: None, most=5)
    eager, full = (comparison.leads["loose"][name] for name in ("eager", "rows:64"))
    assert 2 <= len(eager.tokens) <= 5
    assert len(full.tokens) == 2, "far behind: that is plain at once"
    assert comparison.ratios("loose", "rows:64")[0] < 0.9
    assert 0 < eager.error < 0.5


def test_random_histories(tmp_path: Path) -> None:
    text = invoke(tmp_path, "--soak", "10")
    assert "random histories that ended, with nobody stuck" in text
    assert "MISSED" not in text
