"""Masks and positions through the core, on random checkpoints, against transformers with a mask of its own making.

transformers runs all tokens at once, under a mask [tokens, tokens] that says of each what it sees. The core gets them
piece by piece: prompts, predictions under masks, a tree, then ordinary tokens; in chunks, beside other rows.
"""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_checkpoints import make_checkpoint
from parity_driver import PROBE, TOLERANCE, tokens

from core.core_harness import Host, run
from symphony.core.config import CoreConfig
from symphony.core.messages import Readings, Sampling
from symphony.core.shape import Shape
from symphony.engine.local import LocalEngine
from symphony.sched.batch import BatchLimits

ASK = Readings(sample=Sampling(), logprobs=PROBE)


class Text:
    """What a file holds, and what each of its entries has seen, by the definition."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.sees: list[set[int]] = []

    def add(self, new: list[int], shape: Shape | None = None) -> None:
        for i, token in enumerate(new):
            index = len(self.tokens)
            visible = set(range(index))
            if shape is not None and shape.masks:
                runs = shape.masks[i if len(shape.masks) > 1 else 0]
                flags = [n % 2 == 0 for n, run in enumerate(runs) for _ in range(run)]
                visible = {entry for entry in visible if entry >= len(flags) or flags[entry]}
            at = self.positions[-1] + 1 if self.positions else 0
            if shape is not None and shape.positions is not None:
                at = shape.positions[i]
            self.tokens.append(token)
            self.positions.append(at)
            self.sees.append({*visible, index})


class Reference:
    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import AutoModelForCausalLM

            self._model = AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32).eval()
        self.window = getattr(self._model.config, "sliding_window", None)

    @torch.inference_mode()
    def logprobs(self, text: Text) -> torch.Tensor:
        """[tokens, PROBE]"""
        hidden = torch.ones(len(text.tokens), len(text.tokens), dtype=torch.bool)
        for query, seen in enumerate(text.sees):
            for key in seen:
                near = self.window is None or text.positions[query] - text.positions[key] < self.window
                hidden[query, key] = not near
        mask = torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min)[None, None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = self._model(
                torch.tensor([text.tokens]), attention_mask=mask, position_ids=torch.tensor([text.positions])
            )
        return out.logits[0].log_softmax(-1)[:, list(PROBE)]


def random_runs(source: random.Random, total: int) -> list[int]:
    runs = [source.randrange(1, 12) for _ in range(source.randrange(1, 8))]
    while sum(runs) > total:
        runs.pop()
    return runs


def tree_of(text: Text, parents: list[int]) -> Shape:
    """Nodes behind the text, each seeing it and its ancestors."""
    length, first = len(text.tokens), text.positions[-1] + 1
    paths: list[list[int]] = []
    for node, parent in enumerate(parents):
        paths.append([*(paths[parent] if parent >= 0 else []), node])
    masks = []
    for path in paths:
        runs, at = [length], length
        for node in path[:-1]:
            runs += [length + node - at, 1] if length + node > at else [0, 1]
            at = length + node + 1
        masks.append([*runs, length + path[-1] - at])
    return Shape([first + len(path) - 1 for path in paths], masks)


def shapes(text: Text, source: random.Random, window: int | None) -> list[tuple[int, Shape | None]]:
    """How many tokens, and how: filled in one after the other."""
    length = len(text.tokens)
    n = source.randrange(3, 12)
    last = text.positions[-1]
    low = last if window is not None else 0
    placed = sorted(source.randrange(low, low + 40) for _ in range(n))
    return [
        (n, Shape(masks=[random_runs(source, length + n)])),
        (n, Shape(masks=[random_runs(source, length + n) for _ in range(n)])),
        (n, Shape(placed if window is not None else source.sample(placed, n))),
        (4, None),
    ]


@pytest.mark.parametrize("name", ["llama-3 tied", "qwen3", "llama mqa", "mistral, window 24"])
def test_masks_and_positions(name: str, tmp_path: Path) -> None:
    directory = make_checkpoint(name, tmp_path)
    reference = Reference(directory)
    source = random.Random(name)
    engine = LocalEngine.load(str(directory), device="cpu", pages=120, host_pages=0, threads=1)

    @run
    async def play() -> None:
        host: Any = engine
        async with Host(host, CoreConfig(debug=True, batch=BatchLimits(tokens=17))) as h:
            s = h.core.open_session("t")
            for seed in range(3):
                text, found = Text(), []
                f = await h.core.create(s, None)

                async def add(new: list[int], shape: Shape | None, text: Text = text, f: int = f) -> torch.Tensor:
                    op = next(h.ids)
                    await h.core.pred(s, f, op, new, range(len(new)), ASK, shape)
                    text.add(new, shape)
                    return torch.tensor([reading.logprobs for reading in await h.arrival(op)])

                found.append(await add(tokens(seed, 30 + seed), None))
                for kind in range(4):
                    count, shape = shapes(text, source, reference.window)[kind]
                    found.append(await add(tokens(seed + 10 * kind, count), shape))
                parents = [-1, -1, 0, 0, 1, 2, 4]
                found.append(await add(tokens(seed + 50, 7), tree_of(text, parents)))
                found.append(await add(tokens(seed + 60, 3), None))
                torch.testing.assert_close(torch.cat(found), reference.logprobs(text), atol=TOLERANCE, rtol=0)

    try:
        play()
    finally:
        engine.close()


def test_a_tree_is_what_its_branches_are_and_the_kept_one_goes_on(tmp_path: Path) -> None:
    engine = LocalEngine.load(str(make_checkpoint("qwen3", tmp_path)), device="cpu", pages=120, threads=1)

    @run
    async def play() -> None:
        host: Any = engine
        async with Host(host) as h:
            s = h.core.open_session("t")
            f = await h.core.create(s, None)
            prompt, nodes = tokens(1, 37), tokens(2, 7)
            parents = [-1, -1, 0, 0, 1, 2, 4]
            await h.pred(s, f, prompt)
            text = Text()
            text.add(prompt)
            op = next(h.ids)
            await h.core.pred(s, f, op, nodes, range(7), ASK, tree_of(text, parents))
            together = [reading.logprobs for reading in await h.arrival(op)]
            paths: list[list[int]] = []
            for node, parent in enumerate(parents):
                paths.append([*(paths[parent] if parent >= 0 else []), node])
                branch = await h.core.fork(s, f)
                await h.core.truncate(s, branch, len(prompt))
                *_, last = await h.pred(s, branch, [nodes[i] for i in paths[-1]], readings=ASK)
                assert last.logprobs == pytest.approx(together[node], abs=TOLERANCE)
            kept = await h.core.extract(s, f, [(0, 37), *[(37 + i, 38 + i) for i in paths[5]]], False)
            straight = await h.core.create(s, None)
            await h.pred(s, straight, prompt + [nodes[i] for i in paths[5]])
            for step in range(3):
                [a], [b] = [await h.pred(s, file, [100 + step], readings=ASK) for file in (kept, straight)]
                assert a.logprobs == pytest.approx(b.logprobs, abs=TOLERANCE)

    try:
        play()
    finally:
        engine.close()


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.9, top_p=0.95, seed=5)], ids=str)
def test_drafts_on_real_weights_change_no_token(sampling: Sampling, tmp_path: Path) -> None:
    """Looked up, written by the same model, and by another one; beside plain generations in the same steps."""
    from symphony.core.core import Core
    from symphony.core.messages import Draft, GenerateOptions

    engines: list[Any] = [
        LocalEngine.load(str(make_checkpoint(name, tmp_path)), name=name, device="cpu", pages=150, threads=1)
        for name in ("qwen3", "llama-2")
    ]

    @run
    async def play() -> None:
        host = Host(engines[0])
        host.core = Core(engines, CoreConfig(debug=True))
        host.core.connect(host.deliver)
        async with host as h:
            s = h.core.open_session("t")
            prompt = tokens(3, 12) * 4
            plain = await h.generate(s, await h.core.create(s, None), prompt, max_tokens=60, sampling=sampling)
            ops = [await h.start(s, await h.core.create(s, None), prompt, max_tokens=60, sampling=sampling)]
            options = GenerateOptions(sampling, max_tokens=60, draft=Draft(6))
            for writer in (None, "qwen3", "llama-2"):
                op, file = next(h.ids), await h.core.create(s, None)
                draft = None if writer is None else await h.core.create(s, writer)
                await h.core.generate(s, file, op, prompt, options, draft)
                ops.append(op)
            for op in ops:
                assert (await h.drain(s, op)).tokens == plain.tokens
            assert h.core.usage(s).accepted_tokens >= 50

    try:
        play()
    finally:
        for engine in engines:
            engine.close()
