"""Greedy generation through programs equals the same weights under transformers: alone, batched, forked, truncated.

Exactness as semantics 9 has it: every token is the reference's, given the tokens before it (the reference is fed the
program's own tokens), except at steps where the reference's two best are closer than 1e-4: those are printed, and rare.
"""

from __future__ import annotations

import asyncio
import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_driver import Comparison, load_reference, make_model

from symphony import Config, Runtime
from symphony.engine.local import LocalEngine
from symphony.sandbox.config import SandboxConfig

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"
MODELS = ("tiny", "small-gqa")
COUNT = 20
"""Prompts."""
LENGTH = 16
"""Tokens generated from each."""

GENERATE = """
from lip import Context, main

@main
async def app(prompt: list[int], count: int) -> list[int]:
    async with Context() as ctx:
        out = await ctx.feed(prompt).generate(max_tokens=count, stop_tokens=[])
        assert ctx.tokens() == prompt + out.tokens
        return out.tokens
"""
CHOOSE = """
from lip import Context, main

@main
async def app(prompt: list[int], count: int) -> list[int]:
    async with Context() as ctx:
        dist, out = await ctx.pred(prompt), []
        while len(out) < count:
            out.append(dist.argmax())
            dist = await ctx.pred(out[-1])
        return out
"""
WANDER = """
import asyncio
from lip import Context, main

@main
async def app(prompt: list[int], keep: int, aside: list[int]) -> list[list[list[int]]]:
    '''What was generated, each with the tokens that it follows.'''
    found = []

    async def go_on(ctx: Context, count: int) -> None:
        before = ctx.tokens()
        out = await ctx.generate(max_tokens=count, stop_tokens=[])
        found.append([before, out.tokens])

    async with Context() as ctx:
        ctx.feed(prompt)
        await go_on(ctx, 8)
        ctx.truncate(len(prompt) + keep)
        branches = [ctx.fork() for _ in range(3)]
        await go_on(ctx, 6)
        branches[1].feed(aside)
        branches[2].truncate(max(1, len(prompt) - keep))
        await asyncio.gather(*(go_on(branch, 6) for branch in branches))
        deep = branches[1].fork()
        deep.truncate(len(prompt) + 1)
        await asyncio.gather(go_on(deep, 4), go_on(branches[1], 4))
    return found
"""


class Host:
    """A runtime over one model, and the same weights under transformers."""

    def __init__(self, directory: Path, home: Path) -> None:
        engine = LocalEngine.load(str(directory), device="cpu", pages=1024, threads=2)
        self.reference = load_reference(directory)
        self.runner = asyncio.Runner()
        config = Config(sandbox=SandboxConfig(max_instances=80), cache=CACHE)
        self.runtime = Runtime([engine], home=home, config=config)
        self.runner.run(self.runtime.__aenter__())

    def close(self) -> None:
        self.runner.run(self.runtime.__aexit__(None, None, None))
        self.runner.close()

    def run(self, jobs: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
        """The results of programs that run at the same time; nothing is left afterwards."""

        async def scenario() -> list[Any]:
            results = await asyncio.gather(*(self.runtime.run(program, args) for program, args in jobs))
            self.runtime.core.check_integrity()
            assert self.runtime.sandbox.live == 0
            assert self.runtime.core.idle()
            return results

        return self.runner.run(scenario())


@pytest.fixture(scope="module", params=MODELS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    directory = make_model(request.param, tmp_path_factory.mktemp("models"))
    running = Host(directory, tmp_path_factory.mktemp("home"))
    yield running
    running.close()


def compare(host: Host, comparison: Comparison, before: Sequence[int], out: Sequence[int]) -> None:
    comparison.check(host.reference([*before, *out]), len(before), out)


def prompts() -> list[list[int]]:
    """Lengths around the page size of 16, and a few of several pages."""
    source = random.Random(1)
    lengths = [1, 2, 5, 8, 14, 15, 16, 17, 18, 24, 30, 31, 32, 33, 40, 47, 48, 49, 63, 65]
    return [[source.randrange(11, 4096) for _ in range(n)] for n in lengths[:COUNT]]


@pytest.mark.parametrize("program", [GENERATE, CHOOSE], ids=["generate", "chosen by the guest"])
def test_alone(program: str, host: Host) -> None:
    comparison = Comparison()
    for prompt in prompts():
        (out,) = host.run([(program, {"prompt": prompt, "count": LENGTH})])
        assert len(out) == LENGTH
        compare(host, comparison, prompt, out)
    comparison.report()


def test_64_programs_batched_together(host: Host) -> None:
    """Both ways of generating in the same batches; every prompt three times or more."""
    jobs = [
        (GENERATE if i % 2 else CHOOSE, {"prompt": prompts()[i % COUNT], "count": LENGTH + i % 5}) for i in range(64)
    ]
    comparison = Comparison()
    for (_, args), out in zip(jobs, host.run(jobs), strict=True):
        assert len(out) == args["count"]
        compare(host, comparison, args["prompt"], out)
    comparison.report()


def test_forks_and_truncations_in_between(host: Host) -> None:
    source = random.Random(2)
    jobs = [
        (WANDER, {"prompt": p, "keep": i % 9, "aside": [source.randrange(11, 4096) for _ in range(1 + i % 20)]})
        for i, p in enumerate(prompts())
    ]
    comparison = Comparison()
    for (_, args), found in zip(jobs, host.run(jobs), strict=True):
        assert [len(out) for _, out in found] == [8, 6, 6, 6, 6, 4, 4]
        for before, out in found:
            assert before
            compare(host, comparison, before, out)
        prompt, first = args["prompt"], found[0][1]
        assert found[1][0] == prompt + first[: args["keep"]]
        if args["keep"] < 8 and not comparison.undecided:
            assert found[1][1][: 8 - args["keep"]] == first[args["keep"] :][:6]
    comparison.report()


@pytest.mark.parametrize("host", ["tiny"], indirect=True)
def test_what_transformers_itself_generates(host: Host) -> None:
    """Not only step by step: the same twenty texts as its own `generate`, in one padded batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from parity_driver import TINY
        from transformers import GenerationConfig, LlamaForCausalLM

        model = LlamaForCausalLM.from_pretrained(str(TINY), dtype=torch.float32).eval()
    given = prompts()
    width = max(map(len, given))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in given])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in given])
    config = GenerationConfig(max_new_tokens=LENGTH, do_sample=False, eos_token_id=-1, pad_token_id=0)
    expected = model.generate(ids, attention_mask=mask, generation_config=config)[:, width:].tolist()
    got = host.run([(GENERATE, {"prompt": p, "count": LENGTH}) for p in given])
    comparison = Comparison()
    for prompt, mine, theirs in zip(given, got, expected, strict=True):
        compare(host, comparison, prompt, mine)
        if not comparison.undecided:
            assert mine == theirs
    comparison.report()
