"""A program with two models, through the whole host: a draft of another family beside the default one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from parity.parity_checkpoints import make_checkpoint
from symphony import Config, Runtime

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"
PROGRAM = """
from lip import Context, Error, main

@main
async def both() -> dict:
    answers = {}
    for name in (None, "draft", "nope"):
        try:
            async with Context(model=name) as ctx:
                ctx.feed("Hello")
                made = await ctx.generate(max_tokens=5, stop_tokens=[])
                answers[ctx.model.name] = list(made.tokens)
        except Error as e:
            answers[str(name)] = str(e)
    return answers
"""


def test_a_program_with_two_models(tmp_path: Path) -> None:
    draft = make_checkpoint("mistral, window 24", tmp_path)

    async def run() -> dict[str, object]:
        config = Config(pages=60, host_pages=8, cache=CACHE)
        models = ["tiny", f"draft={draft}"]
        async with Runtime(models, device="cpu", home=tmp_path / "home", config=config) as runtime:
            return await runtime.run(PROGRAM)

    answers = asyncio.run(run())
    assert len(answers["tiny"]) == len(answers["draft"]) == 5
    assert answers["tiny"] != answers["draft"]
    assert "tiny, draft" in answers["nope"], answers["nope"]
