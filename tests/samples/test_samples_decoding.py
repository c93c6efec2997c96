"""beam, samplers, watermark: programs that choose every token themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Stage

PLAIN_BEAM = """
from math import log
from lip import Context, main

@main
async def app(prompt: str, width: int, depth: int) -> list[list[object]]:
    '''Without forks: each text is read from its beginning for each token.'''
    async with Context() as ctx:
        start = ctx.user(prompt).assistant_start().tokens()
        stops = ctx.model.stop_tokens
    ended, beams = [], [([], 0.0)]
    for _ in range(depth):
        found = []
        for tokens, score in beams:
            async with Context() as ctx:
                dist = await ctx.feed(start + tokens).pred(top_k=width)
                found += [([*tokens, token], score + log(p)) for token, p in dist.top_k()]
        best = sorted(found, key=lambda beam: -beam[1])[:width]
        ended += [beam for beam in best if beam[0][-1] in stops]
        beams = [beam for beam in best if beam[0][-1] not in stops]
        if len(ended) >= width or not beams:
            break
    return [list(beam) for beam in ended + beams]
"""
GREEDY = """
from lip import Context, main

@main
async def app(prompt: str, max_tokens: int) -> list[int]:
    return (await Context().user(prompt).generate(max_tokens=max_tokens)).tokens
"""
RANKS = """
from lip import Context, main

@main
async def app(start: str, tokens: list[int]) -> list[list[list[float]]]:
    '''What was there to choose from before each token, and how uncertain it was.'''
    async with Context() as ctx:
        dists = [await ctx.feed(start, special=True).pred(top_k=128, entropy=True)]
        dists += await ctx.pred(tokens[:-1], every=True, top_k=128, entropy=True)
        return [[*map(list, dist.top_k()), [0, dist.entropy()]] for dist in dists]
"""


def test_a_beam_search_is_the_plain_one_in_a_step_a_level(chance: Stage) -> None:
    run = chance.run("beam", prompt="Say.", width=3, depth=7, penalty=0.0)
    plain = chance.run(PLAIN_BEAM, prompt="Say.", width=3, depth=7)
    expected = sorted(plain.result, key=lambda beam: -beam[1])[:3]
    assert [beam["tokens"] for beam in run.result] == [tokens for tokens, _ in expected]
    assert [beam["score"] for beam in run.result] == pytest.approx([score for _, score in expected], abs=2e-3)
    levels = max(len(beam["tokens"]) for beam in run.result)
    assert run.usage["forwards"] == levels
    assert plain.usage["forwards"] == 1 + 3 * (levels - 1)
    read = run.usage["prompt_tokens"] + run.usage["reused_tokens"]
    assert f"{levels} forward passes, {read} tokens read" in run.output
    assert f"{plain.usage['prompt_tokens'] + plain.usage['reused_tokens']} tokens\n" in run.output


def test_one_beam_is_greedy(chance: Stage) -> None:
    (beam,) = chance.run("beam", prompt="Say.", width=1, depth=9).result
    assert beam["tokens"] == chance.run(GREEDY, prompt="Say.", max_tokens=9).result


def test_beams_that_end_are_kept_and_end_the_search(tiny: Stage) -> None:
    run = tiny.run("beam", prompt="What is 47 + 38?", width=3, depth=20)
    assert run.result[0]["text"] == "85"
    assert run.usage["forwards"] <= 4
    scores = [beam["score"] / len(beam["tokens"]) ** 0.7 for beam in run.result]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(beam["tokens"]) for beam in run.result}) == 3


def test_rules_of_samplers(module: Callable[[str], Any]) -> None:
    samplers = module("samplers")
    ranked = [(7, 0.5), (3, 0.25), (9, 0.15), (1, 0.1)]
    entropy = -sum(p * math.log(p) for _, p in ranked)

    def kept(rule: Any, surprise: float | None = None) -> list[int]:
        return [token for token, _ in rule(samplers.Now(ranked, entropy, surprise))]

    assert kept(samplers.top_k(2)) == [7, 3]
    assert kept(samplers.top_p(0.5)) == [7]
    assert kept(samplers.top_p(0.51)) == [7, 3]
    assert kept(samplers.top_p(1.0)) == [7, 3, 9, 1]
    assert kept(samplers.min_p(0.3)) == [7, 3, 9]
    assert kept(samplers.eta(0.2)) == [7, 3, 9]  # sqrt(0.2) exp(-1.2) = 0.13
    assert kept(samplers.eta(0.9)) == [7]
    assert kept(samplers.typical(0.3)) == [3, 7]  # surprises 0.7 1.4 1.9 2.3, expected 1.2
    assert samplers.temperature(0.5)(samplers.Now(ranked, entropy, None))[1] == (3, 0.0625)
    rule = samplers.mirostat(1.0, rate=1.0)
    assert kept(rule) == [7, 3, 9]  # exp(-2)
    assert kept(rule, surprise=2.0) == [7]
    assert kept(rule, surprise=0.1) == [7, 3, 9]
    assert kept(rule, surprise=0.5) == [7, 3, 9, 1]


def test_the_dice_of_samplers_are_splitmix64(module: Callable[[str], Any]) -> None:
    text = object.__new__(module("samplers").Text)
    text.seed = 1234567
    assert [int(text._roll() * 2**53) for _ in range(3)] == [
        6457827717110365317 >> 11,
        3203168211198807973 >> 11,
        9817491932198370423 >> 11,
    ]


def test_samplers_stay_within_their_rules(chance: Stage) -> None:
    run = chance.run("samplers", start="Go.", length=60, seed=5)
    assert run.usage["forwards"] == 60
    assert "420 tokens in 60 forward passes" in run.output
    ranks = {
        name: chance.run(RANKS, start="Go.", tokens=run.result[name]["tokens"]).result
        for name in ("top-k 5", "min-p 0.1", "top-p 0.8", "mirostat 2.0")
    }
    for name, dists in ranks.items():
        surprises: list[float] = []
        for token, (*ranked, _) in zip(run.result[name]["tokens"], dists, strict=True):
            ids = [int(one) for one, _ in ranked]
            at, p = ids.index(token), ranked[ids.index(token)][1]
            surprises.append(-math.log(p))
            if name == "top-k 5":
                assert at < 5
            if name == "min-p 0.1":
                assert p >= 0.0999 * ranked[0][1]
            if name == "top-p 0.8":
                assert sum(q for _, q in ranked[:at]) < 0.8001
        assert sum(surprises) / 60 == pytest.approx(run.result[name]["surprise"], abs=0.006)
    assert abs(run.result["mirostat 2.0"]["surprise"] - 2) < 0.4
    texts = [text["text"] for text in run.result.values()]
    assert len(set(texts)) == len(texts)
    assert run.result == chance.run("samplers", start="Go.", length=60, seed=5).result
    assert run.result != chance.run("samplers", start="Go.", length=60, seed=6).result


def test_a_high_temperature_surprises_most(tiny: Stage) -> None:
    surprise = {name: text["surprise"] for name, text in tiny.run("samplers").result.items()}
    assert surprise["temperature 1.5"] == max(surprise.values())


def test_a_watermark_is_seen_with_its_key_only(tiny: Stage) -> None:
    found = tiny.run("watermark").result
    assert found["marked"]["z"] > 4
    assert abs(found["not marked"]["z"]) < 3
    assert abs(found["another key"]["z"]) < 3
    assert found["marked"]["text"] == found["another key"]["text"] != found["not marked"]["text"]


def test_a_watermark_without_a_bonus_is_none(chance: Stage) -> None:
    found = chance.run("watermark", start="Go.", length=24, bonus=0.0).result
    assert found["marked"] == found["not marked"]


def test_a_strong_watermark_leaves_green_tokens_only(module: Callable[[str], Any]) -> None:
    watermark = module("watermark")
    text = [5]
    while len(text) < 60:
        text.append(next(token for token in range(len(text), 4096) if watermark.green(42, text[-1], token)))
    z, count, pairs = watermark.detect(42, text)
    assert count == pairs
    assert z == pytest.approx(math.sqrt(pairs))
    assert abs(watermark.detect(43, text)[0]) < 4
    assert watermark.detect(42, text + text)[2] <= pairs + 1, "what comes again proves nothing new"
    assert watermark.detect(42, []) == (0.0, 0, 0)
    halves = [
        sum(watermark.green(key, before, token) for token in range(4096)) for key in (1, 42) for before in range(5)
    ]
    assert all(abs(half - 2048) < 150 for half in halves)


def test_what_samples_print_can_be_read(tiny: Stage) -> None:
    lines = tiny.run("watermark", length=24).output.splitlines()
    assert [bool(re.match(r".{12} z = +-?\d+\.\d\d, \d+ of \d+ green", line)) for line in lines] == [True] * 3
