"""The automatic prefix cache through the core: what is computed once, for whom, and what a step's neighbours find."""

from __future__ import annotations

import asyncio

import pytest
from core_harness import Host, run

PAGE = 16


def prompt(length: int) -> list[int]:
    return [(i * 37 + 5) % 250 for i in range(length)]


@pytest.mark.parametrize("length", [15, 16, 17, 31, 32, 33, 200])
def test_a_second_identical_prompt_computes_a_page_at_most(length: int) -> None:
    @run
    async def test() -> None:
        async with Host(pages=64) as h:
            first, second, stranger = (h.core.open_session(tenant) for tenant in ("t", "t", "u"))
            for session, most in ((first, length), (second, PAGE), (stranger, length)):
                before = h.engine.tokens
                file = await h.core.create(session, None)
                [reading] = await h.pred(session, file, prompt(length))
                assert reading.sampled == h.engine.greedy(prompt(length))
                computed = h.engine.tokens - before
                assert computed <= most
                usage = h.core.usage(session)
                assert usage.prompt_tokens + usage.reused_tokens == length
                if session == stranger:
                    assert (computed, usage.reused_tokens) == (length, 0), "another tenant finds nothing"

    test()


@run
async def test_identical_prompts_that_come_together_are_computed_once() -> None:
    """Whoever comes second waits until the first one's pages can be found, and then has the rest to compute."""
    length, crowd = 100, 8
    async with Host(pages=200) as h:
        sessions = [h.core.open_session("t") for _ in range(crowd)]
        files = [await h.core.create(session, None) for session in sessions]
        found = await asyncio.gather(*(h.pred(s, f, prompt(length)) for s, f in zip(sessions, files, strict=True)))
        assert {reading.sampled for [reading] in found} == {h.engine.greedy(prompt(length))}
        assert h.engine.tokens == length + (crowd - 1) * (length % PAGE)
        assert h.engine.steps <= 3


@run
async def test_prompts_that_part_go_on_by_themselves() -> None:
    async with Host(pages=200) as h:
        s = h.core.open_session("t")
        texts = [prompt(64) + [i] * 20 for i in range(4)]
        files = [await h.core.create(s, None) for _ in texts]
        found = await asyncio.gather(*(h.pred(s, f, text) for f, text in zip(files, texts, strict=True)))
        assert [reading.sampled for [reading] in found] == [h.engine.greedy(text) for text in texts]
        assert h.engine.tokens == 64 + 4 * 20


@run
async def test_strangers_that_come_together_do_not_wait_for_each_other() -> None:
    async with Host(pages=200) as h:
        sessions = [h.core.open_session(tenant) for tenant in ("t", "u", "v")]
        files = [await h.core.create(session, None) for session in sessions]
        await asyncio.gather(*(h.pred(s, f, prompt(100)) for s, f in zip(sessions, files, strict=True)))
        assert (h.engine.tokens, h.engine.steps) == (300, 1)
