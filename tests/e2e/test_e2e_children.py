"""Files that a parent passes to a child: models, swapped pages, what is computed again, through the whole host."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from symphony import Config, Runtime
from symphony.engine.fake import FakeEngine
from symphony.sandbox.config import SandboxConfig

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"
HEAD = "import json\nfrom lip import *\n\n@main\nasync def app(role: str = ''):\n"


def run(program: str, tmp_path: Path, *engines: FakeEngine) -> Any:
    async def scenario() -> Any:
        config = Config(sandbox=SandboxConfig(max_instances=8), cache=CACHE)
        async with Runtime(engines, home=tmp_path, config=config) as runtime:
            value = await runtime.run(HEAD + program)
            runtime.core.check_integrity()
            assert not runtime.core._kvfs.files, "a KV file is left"
            return value

    return asyncio.run(scenario())


def test_a_file_is_of_one_model(tmp_path: Path) -> None:
    """Whoever asks for it under another one is told which, and may still have it."""
    program = """
    if role:
        found = []
        for model in (None, "other"):
            try:
                ctx = Context.inherit("it", model=model)
                found.append([ctx.model.name, len(ctx)])
            except Invalid as error:
                found.append(error.message)
        return found
    async with Context(model="other") as ctx:
        ctx.feed("abc")
        return await (await spawn(None, role="child", files={"it": ctx})).wait()
"""
    refused, taken = run(program, tmp_path, FakeEngine(name="first"), FakeEngine(name="other"))
    assert refused == "the file passed as 'it' is of model other, not first"
    assert taken == ["other", 3]


def test_a_child_computes_nothing_again(tmp_path: Path) -> None:
    """Five children over a prompt of 300 tokens compute their own tokens only, and all are right."""
    program = """
    if role:
        async with Context.inherit("it") as ctx:
            first = (await ctx.pred(f" {role}")).argmax()
            return [first, usage().prompt_tokens]
    async with Context() as ctx:
        ctx.feed("x" * 300)
        await ctx.flush()
        children = [await spawn(None, role=str(n), files={"it": ctx}) for n in range(5)]
        return [await child.wait() for child in children]
"""
    engine = FakeEngine()
    found = run(program, tmp_path, engine)
    assert found == [[engine.greedy(b"x" * 300 + b" %d" % n), 2] for n in range(5)]


def test_a_file_that_was_passed_may_leave_the_device_meanwhile(tmp_path: Path) -> None:
    """The child sleeps on its file while its parent needs all pages; then both are right."""
    program = """
    if role:
        await receive()
        async with Context.inherit("it") as ctx:
            return (await ctx.pred("!")).argmax()
    ctx = Context()
    await ctx.feed("y" * 320).flush()
    child = await spawn(None, role="child", files={"it": ctx})
    ctx.close()
    for n in range(3):
        async with Context() as other:
            other.feed(f"{n}" * 560)
            await other.pred()
    await child.send("go on")
    return await child.wait()
"""
    engine = FakeEngine(pages=45, host_pages=64)
    assert run(program, tmp_path, engine) == engine.greedy(b"y" * 320 + b"!")
