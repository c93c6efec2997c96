"""Greedy tokens through the core, with everything that happens to files in between: forks, truncations, journeys to the
host and back, preemption in a pool that is far too small. 32 prompts in random order, 200 steps, semantics 9.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from parity_checkpoints import make_checkpoint
from parity_desk import DROP, MOVE, Desk, run
from parity_driver import Comparison, Reference, tokens

from symphony.engine.local import LocalEngine

VOCABULARY = 512
PROMPTS, STEPS = 32, 200
PAGES = 140
"""Of 16 tokens; 32 texts of 230 tokens need 480."""


async def wander(desk: Desk, source: random.Random, prompt: list[int]) -> list[tuple[int, list[int]]]:
    """The text in the end, and every text that was generated and cut off again: (where it began, all of it)."""
    file, text, found = await desk.core.create(desk.session, None), list(prompt), []
    new = prompt
    while len(text) < len(prompt) + STEPS:
        out = await desk.generate(file, new, min(1 + source.randrange(60), len(prompt) + STEPS - len(text)))
        found.append((len(text), text + out))
        text, new = text + out, []
        match source.randrange(5):
            case 0:
                other = await desk.core.fork(desk.session, file)
                await desk.core.close_file(desk.session, file)
                file = other
            case 1:
                await desk.core.truncate(desk.session, file, len(text) - source.randrange(20) % len(out))
                del text[await desk.core.length(desk.session, file) :]
            case 2:
                await desk.core.advise(desk.session, file, "dont-need")
    assert await desk.core.tokens(desk.session, file, 0, len(text)) == text
    await desk.core.close_file(desk.session, file)
    return found


@pytest.mark.parametrize(("name", "token_seconds"), [("llama-3 tied", MOVE), ("qwen3 yarn, window by layer", DROP)])
def test_greedy_tokens(name, token_seconds, tmp_path):
    directory = make_checkpoint(name, tmp_path, vocab_size=VOCABULARY)
    engine = LocalEngine.load(str(directory), device="cpu", pages=PAGES, page_size=16, host_pages=600, threads=1)
    reference = Reference(directory)
    source = random.Random(5)
    prompts = [tokens(i, 1 + source.randrange(33), VOCABULARY) for i in range(PROMPTS)]
    source.shuffle(prompts)
    found: list[tuple[int, list[int]]] = []

    async def test(desk: Desk) -> None:
        async def one(i: int) -> None:
            found.extend(await wander(desk, random.Random(i), prompts[i]))

        await asyncio.gather(*map(one, range(PROMPTS)))
        assert desk.room.preemptions
        assert bool(desk.room.tiers.recalled_pages) == (token_seconds == MOVE)

    run(engine, token_seconds, test)
    engine.close()
    comparison = Comparison()
    for i in range(0, len(found), 64):
        some = found[i : i + 64]
        for (before, text), logits in zip(some, reference.logits([text for _, text in some]), strict=True):
            comparison.check(logits, before, text[before:])
    assert comparison.steps >= PROMPTS * STEPS
    comparison.report()
