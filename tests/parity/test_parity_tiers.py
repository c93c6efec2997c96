"""Through a core on real weights: swapping, dropping and preemption change no token; what extract and append-from give
equals the reference run of semantics 6.

Exactness as semantics 9 has it: a token is the reference's given the tokens before it, except where the reference's two
best are closer than 1e-4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import torch
from parity_desk import DROP, MOVE, Desk, run
from parity_driver import PROBE, TOLERANCE, Comparison, Reference, make_model, tokens

from engine.kv_files import Reference as EditedReference
from symphony.engine.local import LocalEngine

MODELS = ("tiny", "small-gqa")
LENGTHS = (15, 16, 17, 31, 33)
PAGES = 17


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    directory = make_model(request.param, tmp_path_factory.mktemp("models"))
    engine = LocalEngine.load(str(directory), device="cpu", pages=PAGES, page_size=16, host_pages=64, threads=1)
    yield engine, Reference(directory), EditedReference(directory)
    engine.close()


def assert_greedy(reference: Reference, prompt: Sequence[int], out: Sequence[int]) -> None:
    """Fed with what was drawn, the reference draws the same wherever it is decided."""
    comparison = Comparison()
    comparison.check(reference.logits([[*prompt, *out]])[0], len(prompt), out)
    comparison.report()


@pytest.mark.parametrize("token_seconds", [MOVE, DROP])
@pytest.mark.parametrize("length", LENGTHS)
def test_tokens_after_swapping_and_dropping(model, length, token_seconds):
    engine, reference, _ = model
    prompt = tokens(length, length)

    async def test(desk: Desk) -> None:
        out = []
        file = await desk.file(prompt)
        for _ in range(4):
            await desk.send_away(file)
            out += await desk.generate(file, [], 5)
        fork = await desk.core.fork(desk.session, file)
        await desk.send_away(fork)
        await desk.send_away(file)
        assert_greedy(reference, prompt, out)
        assert_greedy(reference, prompt + out, await desk.generate(fork, [], 5))
        assert_greedy(reference, prompt + out, await desk.generate(file, [], 5))

    run(engine, token_seconds, test)


@pytest.mark.parametrize("token_seconds", [MOVE, DROP])
def test_tokens_of_a_crowd_that_is_preempted(model, token_seconds):
    """Twelve generations that need four times the pool."""
    engine, reference, _ = model
    prompts = [tokens(i, 15 + 4 * i) for i in range(12)]

    async def test(desk: Desk) -> None:
        async def one(prompt: list[int]) -> None:
            file = await desk.core.create(desk.session, None)
            assert_greedy(reference, prompt, await desk.generate(file, prompt, 40))

        await asyncio.gather(*map(one, prompts))
        assert desk.room.preemptions
        assert bool(desk.room.tiers.recalled_pages) == (token_seconds == MOVE)

    run(engine, token_seconds, test)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("rebase", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_extract_equals_the_reference_run(model, length, rebase, away):
    engine, _, reference = model
    source, ranges = tokens(length, length), [(1, 4), (9, length)]

    async def test(desk: Desk) -> None:
        file = await desk.file(source)
        if away:
            await desk.send_away(file)
        part = await desk.core.extract(desk.session, file, ranges, rebase)
        if away:
            await desk.send_away(part)
        shifts, end = ((-1, -6), length - 6) if rebase else ((0, 0), length)
        cache = reference.cache(source)
        parts = [reference.part(cache, a, b, shift) for (a, b), shift in zip(ranges, shifts, strict=True)]
        more = tokens(99, 6)
        got = torch.cat([await desk.pred(part, more[:5]), await desk.pred(part, more[5:])])
        expected = reference.after(parts, more, end)[:, list(PROBE)]
        torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)
        again = await desk.pred(file, more)  # the source is as before
        whole = reference.after([cache], more, length)[:, list(PROBE)]
        torch.testing.assert_close(again, whole, atol=TOLERANCE, rtol=0)

    run(engine, MOVE, test)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("before", [3, 16, 40])
@pytest.mark.parametrize("length", LENGTHS)
def test_append_from_equals_the_reference_run(model, length, before, away):
    engine, _, reference = model
    one, two = tokens(before, before), tokens(length, length)

    async def test(desk: Desk) -> None:
        target, source = await desk.file(one), await desk.file(two)
        if away:
            await desk.send_away(target)
            await desk.send_away(source)
        await desk.core.append_from(desk.session, target, source, 2, length)
        if away:
            await desk.send_away(target)
        first, second = reference.cache(one), reference.cache(two)
        parts = [reference.part(first, 0, before, 0), reference.part(second, 2, length, before - 2)]
        more = tokens(99, 5)
        got = await desk.pred(target, more)
        expected = reference.after(parts, more, before + length - 2)[:, list(PROBE)]
        torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)

    run(engine, MOVE, test)


@pytest.mark.parametrize("length", LENGTHS)
def test_append_from_itself_equals_the_reference_run(model, length):
    engine, _, reference = model
    source = tokens(length, length)

    async def test(desk: Desk) -> None:
        file = await desk.file(source)
        await desk.core.append_from(desk.session, file, file, 5, length)
        cache, more = reference.cache(source), tokens(99, 5)
        parts = [cache, reference.part(cache, 5, length, length - 5)]
        expected = reference.after(parts, more, 2 * length - 5)[:, list(PROBE)]
        torch.testing.assert_close(await desk.pred(file, more), expected, atol=TOLERANCE, rtol=0)

    run(engine, MOVE, test)
