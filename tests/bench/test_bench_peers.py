"""Our engine beside others: the same prompts for all, each in a process of its own, ratios with their bounds."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from symphony.bench import child, peers
from symphony.bench.peers import PARTS, Row, Setting, Way, Worker, bench_peers, find_peers, make_prompts
from symphony.bench.report import Report
from symphony.errors import Invalid, Unavailable
from symphony.resources import resource

FAKE = """
import sys
sys.path.insert(0, {scripts!r})
from serve import serve
how = sys.argv[4]
if how == "broken":
    raise SystemExit("no such device")
def run(prompts, n):
    print("a library says something")
    if how == "dying" and n > 1:
        raise SystemExit("out of memory")
    end = sum(range(100_000 if how == "quick" else 3_000_000))
    return [[(sum(p) + i) % 97 for i in range(n)] for p in prompts]
serve({{"how": how}}, run)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Scripts of engines that only pretend."""
    scripts = peers.SCRIPTS / "peers"
    folder = tmp_path / "peers"
    folder.mkdir()
    (folder / "fake.py").write_text(FAKE.format(scripts=str(scripts)))
    monkeypatch.setattr(peers, "SCRIPTS", tmp_path)
    return Setting(tmp_path, "float32", 1, 1000)


def way(engine: str, how: str) -> Way:
    return Way(engine, sys.executable, "fake.py", how)


def test_prompts_are_the_same_for_all_and_new_in_every_round():
    for part in PARTS:
        first, again, other = (make_prompts(part, 8192, seed) for seed in (0, 0, 1))
        assert first == again != other
        for row, prompts in zip(part, first, strict=True):
            assert len(prompts) == row.requests
            assert {len(p) for p in prompts} == {row.prefix + row.prompt}
            assert len({tuple(p) for p in prompts}) == row.requests
            assert all(peers._LOWEST <= t < 8192 for p in prompts for t in p)
            assert len({tuple(p[: row.prefix]) for prompts in first for p in prompts}) == 1


def test_absent_peers_are_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("SYMPHONY_PEERS", str(tmp_path))
    said: list[str] = []
    found = find_peers({"transformers": ""}, said.append)
    assert [ways[0].engine for ways in found] == ["symphony native", "symphony torch"]
    assert said == [
        "vllm is absent: bench/peers/setup.sh vllm installs it",
        "transformers is left out",
        "llama.cpp is absent: bench/peers/setup.sh llama.cpp installs it",
    ]
    found = find_peers({"vllm": sys.executable, "transformers": sys.executable}, said.append)
    assert [[w.how for w in ways] for ways in found[2:]] == [["eager", "compiled"]] * 2
    with pytest.raises(Invalid, match="there is no peer 'sglang'"):
        find_peers({"sglang": "python"}, said.append)


def test_every_script_that_is_named_exists():
    for script, _ in peers._OTHERS.values():
        assert (peers.SCRIPTS / "peers" / script).is_file()
    assert os.access(peers.SCRIPTS / "peers" / "setup.sh", os.X_OK)


def test_ratios_are_of_the_better_way(fake, monkeypatch):
    row = Row("2 x 3/4", 2, 3, 4, bounds={"peer": 0.5, "torch/peer": 1000.0})
    monkeypatch.setattr(peers, "PARTS", ((row,), (Row("other", 1, 3, 4),)))
    engines = [
        [way("symphony native", "quick")],
        [way("symphony torch", "slow")],
        [way("peer", "slow"), way("peer", "quick"), way("peer", "broken"), way("peer", "dying")],
        [way("gone", "broken")],
    ]
    report, said = Report("peers"), list[str]()
    bench_peers(report, engines, fake, ["2 x"], 3, said.append)
    figures = {figure.name: figure for figure in report.figures}
    assert not any("other" in name or "gone" in name for name in figures)
    assert figures["2 x 3/4: tokens like peer's"].value == 1.0
    ratio = figures["2 x 3/4: symphony native / peer"]
    assert ratio.at_least == 0.5
    assert figures["2 x 3/4: symphony torch / peer"].value < ratio.value  # both as quick as each other, one of ours not
    assert figures["2 x 3/4: symphony torch / peer"].holds is False
    assert figures["2 x 3/4: peer"].value > 0
    assert sum("round 3 of 3" in line for line in said) == 1
    assert any(line.startswith("peer broken does not run: peer broken ended: no such device") for line in said)
    assert any(line.startswith("peer dying failed: peer dying ended: out of memory") for line in said)
    assert "gone broken does not run" in "".join(said)
    assert report.conditions["peer quick"] == '{"how": "quick"}'


def test_rows_that_are_not_there(fake):
    with pytest.raises(Invalid, match="no row is named 3 x"):
        bench_peers(Report("peers"), [], fake, ["3 x"], 1, print)


def test_an_engine_that_hangs_is_ended(fake, monkeypatch):
    (fake.model / "peers" / "fake.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(child, "ANSWER_SECONDS", 0.3)
    with pytest.raises(Unavailable, match="peer slow ended"):
        Worker(way("peer", "slow"), fake, fake.model / "log")


def test_our_own_engine_answers(tmp_path):
    """Through the core, with a prefix that the second request finds."""
    model = resource("models/tiny", "runtime/symphony/models/tiny")
    ours = Way("symphony native", sys.executable, "symphony_core.py", "native")
    worker = Worker(ours, Setting(Path(model), "float32", 1, 4096), tmp_path / "log")
    try:
        prompt = list(range(600, 640))
        first = worker.ask([prompt, [*prompt, 9]], 3)
        assert [len(tokens) for tokens in first["tokens"]] == [3, 3]
        assert worker.ask([prompt], 3)["tokens"] == first["tokens"][:1]
        assert first["cpu"] > 0
        assert worker.options["dtype"] == "float32"
    finally:
        worker.close()


def test_sigterm_closes_what_was_started():
    with pytest.raises(SystemExit), child.ending_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
