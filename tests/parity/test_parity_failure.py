"""Through the core: what is not finite fails its operation alone, is found by nobody, and leaves its file as it was.

One token of the model has an embedding that is not a number; nothing but that token reaches it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import torch
from parity_checkpoints import make_checkpoint
from parity_desk import MOVE, Desk, run
from parity_driver import PROBE, TOLERANCE, Comparison, Reference, tokens
from safetensors.torch import load_file, save_file

from symphony.engine.local import LocalEngine
from symphony.errors import InternalError, SymphonyError
from symphony.sched.batch import BatchLimits

BAD = 77


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = make_checkpoint("llama-2", tmp_path_factory.mktemp("models"))
    reference = Reference(directory)  # of healthy weights: it is never asked about the token
    weights = load_file(directory / "model.safetensors")
    weights["model.embed_tokens.weight"][BAD, 3] = torch.nan
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    engine = LocalEngine.load(str(directory), device="cpu", pages=120, host_pages=40, threads=1)
    yield engine, reference
    engine.close()


def text(seed: int, count: int) -> list[int]:
    return [token if token != BAD else 78 for token in tokens(seed, count)]


def spoilt(length: int, at: int) -> list[int]:
    whole = text(1, length)
    return [*whole[:at], BAD, *whole[at + 1 :]]


async def expect_failure(desk: Desk, file: int, new: Sequence[int]) -> None:
    before = await desk.core.length(desk.session, file)
    with pytest.raises(SymphonyError, match="not finite") as caught:
        await desk.pred(file, new)
    assert isinstance(caught.value, InternalError)
    assert await desk.core.length(desk.session, file) == before


async def expect_right(desk: Desk, reference: Reference, file: int, new: Sequence[int]) -> None:
    before = await desk.core.tokens(desk.session, file, 0, await desk.core.length(desk.session, file))
    [expected] = reference.logits([[*before, *new]])
    got = await desk.pred(file, new)
    expected = expected[len(before) :].log_softmax(-1)[:, list(PROBE)]
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)


def assert_clean(desk: Desk, engine: LocalEngine, most: int) -> None:
    """Whatever can be found is finite; and `most` pages can be."""
    found = list(desk.arena.cache.key_of)
    assert len(found) <= most
    assert all(bool(pool[:, :, found].isfinite().all()) for pool in engine._attention.pool)


@pytest.mark.parametrize("length", [17, 33, 40, 64])
@pytest.mark.parametrize("at", [0, 5, 16])
def test_it_is_never_found_again(model, length, at):
    engine, reference = model

    async def test(desk: Desk) -> None:
        for _ in range(2):  # the second time nothing of it helps
            file = await desk.core.create(desk.session, None)
            await expect_failure(desk, file, spoilt(length, at))
            assert_clean(desk, engine, 0)
            await expect_right(desk, reference, file, text(1, length)[:at] + text(2, 30))
            await desk.core.close_file(desk.session, file)
            desk.forget_idle()
        other = await desk.core.create(desk.session, None)
        await expect_right(desk, reference, other, text(1, length))

    run(engine, MOVE, test)


@pytest.mark.parametrize("before", [16, 20, 33])
def test_a_file_goes_on_without_it_and_so_do_its_forks(model, before):
    engine, reference = model

    async def test(desk: Desk) -> None:
        file = await desk.core.create(desk.session, None)
        await expect_right(desk, reference, file, text(1, before))
        fork = await desk.core.fork(desk.session, file)
        await expect_failure(desk, file, [*text(3, 7), BAD])
        await expect_failure(desk, fork, [BAD])
        with pytest.raises(InternalError, match="not finite"):
            await desk.generate(file, [*text(3, 40), BAD], 5)
        assert await desk.core.length(desk.session, file) == before + 41, "what a generation was given stays"
        with pytest.raises(InternalError, match="not finite"):
            await desk.generate(file, [], 5)
        await desk.core.truncate(desk.session, file, before)
        assert_clean(desk, engine, before // 16)
        await desk.send_away(fork)
        for one in (file, fork):
            await expect_right(desk, reference, one, text(4, 20))
        await expect_right(desk, reference, await desk.core.fork(desk.session, file), text(5, 3))

    run(engine, MOVE, test)


def test_others_in_the_same_steps(model):
    """Eight generations, and a spoilt prompt in every step of theirs."""
    engine, reference = model
    prompts = [text(10 + i, 15 + i) for i in range(8)]

    async def test(desk: Desk) -> None:
        going = True

        async def disturb() -> int:
            failures = 0
            while going:
                file = await desk.core.create(desk.session, None)
                await expect_failure(desk, file, prompts[failures % 8] + [BAD] * 9)  # begins as one of theirs does
                await desk.core.close_file(desk.session, file)
                failures += 1
            return failures

        async def one(prompt: list[int]) -> list[int]:
            file = await desk.core.create(desk.session, None)
            return await desk.generate(file, prompt, 40)

        disturbing = asyncio.ensure_future(disturb())
        outs = await asyncio.gather(*map(one, prompts))
        going = False
        assert await disturbing > 10
        comparison = Comparison()
        whole = [prompt + out for prompt, out in zip(prompts, outs, strict=True)]
        for prompt, out, logits in zip(prompts, outs, reference.logits(whole), strict=True):
            assert BAD not in out
            comparison.check(logits, len(prompt), out)
        comparison.report()

    run(engine, MOVE, test)


def test_a_long_prompt_that_is_spoilt_late(model, monkeypatch):
    """What was computed before, in steps of its own, is fine and stays; what comes with the token is not kept."""
    engine, reference = model

    async def test(desk: Desk) -> None:
        monkeypatch.setattr(desk.core._loops["llama-2"]._batches, "limits", BatchLimits(tokens=50))
        file = await desk.core.create(desk.session, None)
        with pytest.raises(InternalError, match="not finite"):
            await desk.generate(file, spoilt(500, 450), 1)
        assert 300 < 16 * len(desk.arena.cache.key_of) <= 450
        assert_clean(desk, engine, 450 // 16)
        await desk.core.close_file(desk.session, file)
        other = await desk.core.create(desk.session, None)
        out = await desk.generate(other, text(1, 480), 4)
        Comparison().check(reference.logits([text(1, 480) + out])[0], 480, out)

    run(engine, MOVE, test)
