"""Several tokens a step, from a program down to the model: drafts, trees, masks, several files; on `tiny`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from parity.parity_checkpoints import make_checkpoint
from symphony import Config, Runtime

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"
PROGRAM = '''
import asyncio

from lip import Context, Draft, Invalid, main, pred_all, usage

LIST = "Repeat this list word by word: apple, pear, plum, cherry, apple, pear, plum, cherry, apple, pear, plum, cherry."


def forwards():
    u = usage()
    return u.forwards, u.accepted_tokens


async def timed(ctx, **options):
    before = forwards()
    out = await ctx.generate(max_tokens=60, **options)
    after = forwards()
    return out.tokens, after[0] - before[0], after[1] - before[1]


async def drafts():
    found = {}
    for name, how in {"greedy": {}, "seeded": {"temperature": 0.8, "top_p": 0.9, "seed": 7}}.items():
        small = [Context(model=model) for model in ("twin", "random")]
        kinds = {"plain": None, "lookup": True, "twin": small[0], "random": Draft(small[1], tokens=4)}
        for kind, draft in kinds.items():
            async with Context() as ctx:
                ctx.user(LIST)
                found[f"{name} {kind}"] = await timed(ctx, draft=draft, **how)
        found[f"{name} kept"] = [len(ctx) for ctx in small]
        for ctx in small:
            ctx.close()
    async with Context() as ctx, Context(model="twin") as small:
        ctx.feed("Hello")
        with_stream = []
        async for chunk in ctx.stream(max_tokens=20, draft=small, chunk_tokens=4, stop_tokens=[]):
            with_stream += chunk.tokens
            if len(with_stream) >= 12:
                break
    return found


async def by_hand():
    """A loop of one's own over `verify`, with the text that a plain run wrote as guesses, some of them wrong."""
    async with Context() as ctx, Context() as other:
        ctx.feed(LIST)
        plain = (await ctx.generate(max_tokens=40, stop_tokens=[])).tokens
        other.feed(LIST)
        start = len(other)
        new = [(await other.pred()).argmax()]
        written, steps = list(new), 0
        while len(written) < 40:
            at = len(written)
            guesses = [t if (at + i) % 5 else 17 for i, t in enumerate(plain[at : at + 6])]
            new = await other.verify([new[-1], *guesses])
            written += new
            steps += 1
        return {"plain": plain, "written": written[:40], "steps": steps, "held": other.tokens(start) == written[:-1]}


async def tree():
    async with Context() as ctx:
        ctx.feed(LIST)
        await ctx.flush()
        n = len(ctx)
        tokens, parents = [100, 200, 101, 201, 202, 102], [-1, -1, 0, 1, 1, 2]
        separate = []
        for index in range(len(tokens)):
            path = []
            while index >= 0:
                path.insert(0, tokens[index])
                index = parents[index]
            fork = ctx.fork()
            separate.append((await fork.pred(path, top_k=3)).top_k())
            fork.close()
        before = forwards()[0]
        together = [dist.top_k() for dist in await ctx.pred_tree(tokens, parents, top_k=3)]
        steps = forwards()[0] - before
        branch = ctx.extract([(0, n), (n, n + 1), (n + 2, n + 3), (n + 5, n + 6)])
        straight = ctx.fork()
        straight.truncate(n)
        a = (await branch.pred([103], top_k=3)).top_k()
        b = (await straight.pred([100, 101, 102, 103], top_k=3)).top_k()
        return {"separate": separate, "together": together, "steps": steps, "branch": [a, b],
                "plain": [ctx.stat().plain, branch.stat().next_position, n]}


async def together():
    async with Context() as ctx:
        ctx.feed("One, two,")
        forks = [ctx.fork() for _ in range(4)]
        alone = [(await fork.pred([50 + i], top_k=2)).top_k() for i, fork in enumerate(forks)]
        fresh = [ctx.fork() for _ in range(4)]
        before = forwards()[0]
        dists = await pred_all([(fork, 50 + i) for i, fork in enumerate(fresh)], top_k=2)
        steps = forwards()[0] - before
        refused = ""
        try:
            await pred_all([(fresh[0], 1), (fresh[0], 2)])
        except Exception as error:
            refused = type(error).__name__
        beside = await asyncio.gather(pred_all([(fresh[0], 1), (fresh[1], 1)]), fresh[2].pred(1))
        return {"alone": alone, "together": [dist.top_k() for dist in dists], "steps": steps, "refused": refused,
                "lengths": [len(fork) for fork in fresh], "beside": len(beside[0])}


async def masks():
    """Sink and window by a mask are what a file of the same text looks like from the last token."""
    async with Context() as ctx, Context() as all_of_it:
        for one in (ctx, all_of_it):
            one.feed(LIST)
            await one.flush()
        n = len(ctx)
        hidden = (await ctx.pred([30], mask=[(0, 4), (n - 6, None)], top_k=2)).top_k()
        shown = (await all_of_it.pred([30], mask=[(0, None)], top_k=2)).top_k()
        again = all_of_it.fork()
        again.truncate(n)
        plain = (await again.pred([30], top_k=2)).top_k()
        problem = ""
        try:
            await ctx.pred([30], mask=[(0, n + 9)])
        except Invalid as error:
            problem = str(error)
        moved = (await ctx.pred([31], positions=[5], top_k=2)).top_k()
        return {"hidden": hidden, "shown": shown, "plain": plain, "problem": problem, "moved": moved,
                "stat": [ctx.stat().plain == n, all_of_it.stat().plain == n + 1, ctx.stat().next_position]}


async def kept():
    async with Context() as ctx:
        ctx.feed("The quick brown")
        n = len(ctx)
        first, second = await ctx.pred([30, 31], every=True, keep=True)
        ctx.truncate(n)
        before = forwards()[0]
        more = [await dist.ask(top_k=4, entropy=True) for dist in (first, second)]
        seeded = [(await second.ask(sample={"temperature": 1.0, "seed": 3})).sampled for _ in range(2)]
        steps = forwards()[0] - before
        told = [dist.top_k() for dist in await ctx.pred([30, 31], every=True, top_k=4)]
        second.forget()
        problems = []
        for dist, how in ((second, {}), (first, {"sample": {"presence_penalty": 1.0}})):
            try:
                await dist.ask(**how)
            except Invalid as error:
                problems.append(str(error))
        try:
            many = [await ctx.pred([40], keep=True) for _ in range(256)]
        except Exception as error:
            problems.append(type(error).__name__)
        return {"more": [dist.top_k() for dist in more], "told": told, "steps": steps, "seeded": seeded,
                "entropy": more[0].entropy(), "problems": problems}


@main
async def app() -> dict:
    return {"drafts": await drafts(), "kept": await kept(), "hand": await by_hand(), "tree": await tree(),
            "all": await together(), "masks": await masks()}
'''


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of the program: one host, one interpreter."""
    home = tmp_path_factory.mktemp("drafts")
    random = make_checkpoint("qwen3", home)

    async def run() -> dict[str, Any]:
        config = Config(pages=200, host_pages=8, cache=CACHE)
        models = ["tiny", "twin=tiny", f"random={random}"]
        async with Runtime(models, device="cpu", home=home / "home", config=config) as runtime:
            return await runtime.run(PROGRAM)

    return asyncio.run(run())


@pytest.mark.parametrize("how", ["greedy", "seeded"])
def test_drafts_change_no_token_and_save_forwards(found: dict[str, Any], how: str) -> None:
    drafts = found["drafts"]
    tokens, plain, _ = drafts[f"{how} plain"]
    assert plain == len(tokens)
    for kind in ("lookup", "twin", "random"):
        drafted, forwards, accepted = drafts[f"{how} {kind}"]
        assert drafted == tokens
        assert accepted <= len(tokens) <= forwards + accepted
        assert forwards <= plain
    # the same model guesses all of it: five and its own a step after the first
    assert drafts[f"{how} twin"][1] <= 2 + len(tokens) // 6
    assert all(length > 20 for length in drafts[f"{how} kept"])


def test_a_text_repeated_is_looked_up(found: dict[str, Any]) -> None:
    tokens, plain, _ = found["drafts"]["greedy plain"]
    _, forwards, accepted = found["drafts"]["greedy lookup"]
    assert forwards < plain
    assert accepted > 0
    assert len(tokens) == plain


def test_guesses_verified_by_hand(found: dict[str, Any]) -> None:
    hand = found["hand"]
    assert hand["written"] == hand["plain"]
    assert hand["held"]
    assert hand["steps"] < 20


def test_a_tree_in_one_step_is_what_its_branches_are(found: dict[str, Any]) -> None:
    tree = found["tree"]
    assert tree["steps"] == 1
    for together, separate in zip(tree["together"], tree["separate"], strict=True):
        _close(together, separate)
    _close(*tree["branch"])
    plain, position, n = tree["plain"]
    assert plain in (n, n + 1)  # the first token of the tree is where it would be
    assert position == n + 4


def test_several_files_in_one_step(found: dict[str, Any]) -> None:
    both = found["all"]
    assert both["steps"] == 1
    for together, alone in zip(both["together"], both["alone"], strict=True):
        _close(together, alone)
    assert both["refused"] == "Busy"
    assert [length - both["lengths"][3] for length in both["lengths"]] == [1, 1, 1, 0]
    assert both["beside"] == 2


def test_masks_and_positions(found: dict[str, Any]) -> None:
    masks = found["masks"]
    _close(masks["shown"], masks["plain"])
    assert masks["hidden"] != masks["plain"]
    assert "there are" in masks["problem"]
    assert masks["stat"] == [True, True, 6]


def test_kept_distributions(found: dict[str, Any]) -> None:
    kept = found["kept"]
    assert kept["steps"] == 0
    for more, told in zip(kept["more"], kept["told"], strict=True):
        _close(more, told)
    assert kept["seeded"][0] == kept["seeded"][1]
    assert kept["entropy"] > 0
    assert "not kept" in kept["problems"][0]
    assert "penalties" in kept["problems"][1]
    assert kept["problems"][2] == "LimitExceeded"


def _close(one: list[tuple[int, float]], other: list[tuple[int, float]]) -> None:
    assert [token for token, _ in one] == [token for token, _ in other]
    assert [p for _, p in one] == pytest.approx([p for _, p in other], abs=1e-4)
