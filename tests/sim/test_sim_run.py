"""Whole simulations: the real core and schedulers keep what they promise, repeatably and without torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from symphony.errors import NoSpace
from symphony.sched.policies import policy
from symphony.sim import clock
from symphony.sim.mix import Mix, load, parse
from symphony.sim.records import Summary
from symphony.sim.run import run_world, simulate


def run(mix: Mix | dict[str, Any], name: str = "adaptive", seed: int = 0) -> Summary:
    return simulate(mix if isinstance(mix, Mix) else parse("test", mix), name, policy(name), seed)


def group(**fields: Any) -> dict[str, Any]:
    return {"name": "g", "lips": 8, "at_once": 8, "prompt": 20, "output": 20} | fields


def test_no_torch_and_no_wasm() -> None:
    code = (
        "import sys; import symphony.bench.sched, symphony.sim.soak;"
        "print([m for m in ('torch', 'wasmtime', 'tokenizers', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_same_seed_gives_the_same_run() -> None:
    mix = parse("test", {"group": [group(in_loop=0.5, prompt=[5, 100], think=[1e-5, 1e-3], pause=[0, 0.01], rounds=3)]})
    assert run(mix) == run(mix)
    assert run(mix) != run(mix, seed=1)


def test_a_lone_lip_takes_what_the_device_takes() -> None:
    alone = group(lips=1, at_once=1, prompt=8, output=50, in_loop=1.0, think=0.001)
    summary = run({"device": {"base": 0.01, "row": 0.0, "token": 0.0}, "group": [alone]})
    assert summary.steps == 50
    assert summary.tokens == 50
    assert summary.seconds == pytest.approx(50 * 0.011)
    assert summary.first["mean"] == pytest.approx(0.01)
    assert summary.gap["mean"] == pytest.approx(0.011)
    assert summary.life["max"] == pytest.approx(summary.seconds)


@pytest.mark.parametrize("in_loop", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["line", "tree"])
def test_every_lip_ends_and_every_token_is_counted(kind: str, in_loop: float) -> None:
    summary = run({"group": [group(kind=kind, in_loop=in_loop, rounds=2, pause=0.01, result=5)]})
    files = 1 if kind == "line" else 4  # one root at first...
    later = 1 if kind == "line" else 2 * 4  # ...then a beam of two
    assert summary.lips == 8
    assert summary.tokens == 8 * 20 * (files + later)


def test_poisson_and_burst_arrivals() -> None:
    summary = run({"group": [group(at_once=0, rate=100.0, lips=200)]})
    assert summary.lips == 200
    assert summary.seconds == pytest.approx(2.0, rel=0.3)
    summary = run({"group": [group(at_once=0, burst=50, every=1.0, lips=200)]})
    assert summary.seconds == pytest.approx(3.3, rel=0.1)


def test_arrivals_end_with_the_mix_and_lips_with_its_cut() -> None:
    endless = group(at_once=0, rate=100.0, lips=100_000)
    assert run({"seconds": 1.0, "group": [endless]}).lips < 200
    summary = run({"seconds": 1.0, "cut": True, "group": [group(output=100_000)]})
    assert summary.lips == 0
    assert summary.seconds == pytest.approx(1.0)


def test_common_prefixes_are_computed_once() -> None:
    apart = run({"group": [group(prompt=500)]})
    cached = run({"group": [group(prompt=500, shared=480, at_once=1)]})
    saved = run({"group": [group(prompt=500, shared=480, at_once=1, save=True)]})
    assert apart.counters["tokens computed"] >= 8 * 500
    assert cached.counters["tokens computed"] <= 500 + 8 * 60
    assert saved.counters["tokens computed"] <= 500 + 8 * 60


def test_thousands_of_lips() -> None:
    summary = run({"step_rows": 1024, "pool": {"pages": 20_000}, "group": [group(lips=3000, at_once=1500, output=3)]})
    assert summary.lips == 3000


def test_an_error_of_a_lip_comes_out() -> None:
    with pytest.raises(NoSpace):
        run({"pool": {"pages": 4}, "group": [group(prompt=1000)]})


def test_lips_that_block_each_other_are_found() -> None:
    async def work(world: Any, tasks: Any) -> None:
        tasks.create_task(world.inbox.arrival(99))

    with pytest.raises(clock.Stuck, match="block each other"):
        run_world(parse("test", {"group": [group()]}), policy("eager"), work)


# ---- what the scheduler promises -------------------------------------------------------------------------------------
def test_a_lip_beside_200_is_in_the_steps_for_which_it_was_ready() -> None:
    assert run(load("fair-one")).present["one"] >= 0.95


def test_two_backlogged_tenants_get_equal_tokens() -> None:
    shares = run(load("fair-two")).shares
    assert all(0.45 <= share <= 0.55 for share in shares.values())


def test_ten_tenants_of_unequal_greed() -> None:
    assert run(load("fair-ten")).jain >= 0.95


def test_in_loop_lips_fill_the_step_and_wait_little() -> None:
    summary = run(load("loop"))
    assert summary.rows_per_step >= 0.8 * 64
    assert summary.wait["p50"] <= 0.25


def test_four_times_the_pool() -> None:
    summary = run(load("overcommit"))
    assert summary.lips == 80
    assert summary.longest <= 3 * summary.first["mean"] * 4


def test_adaptive_against_fixed_policies_where_each_is_at_its_best() -> None:
    for mix, rival in (("loop", "rows:64"), ("few", "time:0.5"), ("compute", "eager")):
        adaptive, fixed = run(load(mix)), run(load(mix), rival)
        throughput = fixed.tokens_per_second / adaptive.tokens_per_second
        assert min(throughput, adaptive.latency / fixed.latency) <= 1.02, (mix, rival)


def test_a_deadline_is_met_at_the_cost_of_its_peers_only() -> None:
    crowd = group(name="crowd", tenant="a", lips=150, at_once=150, output=30)
    urgent = group(name="urgent", tenant="a", lips=4, at_once=4, output=30, start=0.2)
    other = group(name="other", tenant="b", lips=10, at_once=10, output=30, in_loop=1.0)
    base = {"step_rows": 32, "device": {"base": 0.005, "row": 1e-5}}
    late = run({**base, "group": [crowd, {**urgent, "deadline": 1e6}, other]})
    soon = run({**base, "group": [crowd, {**urgent, "deadline": 0.5}, other]})
    assert late.late == 0
    assert soon.late == 0
    assert soon.present["b"] >= 0.95 * late.present["b"]


def test_nice_values_order_the_rows_of_a_tenant() -> None:
    def hasty_end(nice_a: int, nice_b: int) -> float:
        groups = [
            group(name=name, tenant="t", lips=lips, at_once=lips, in_loop=1.0, nice=nice)
            for name, lips, nice in (("a", 70, nice_a), ("b", 50, nice_b))
        ]
        return run({"step_rows": 24, "group": groups}).life["p50"]

    assert hasty_end(-10, 10) < 0.9 * hasty_end(0, 0)
