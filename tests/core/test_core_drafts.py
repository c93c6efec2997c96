"""Drafts change no token, only how many steps they take. Semantics 2, 10, 13."""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from core_harness import Gate, Host, run, settle
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.drafts import Appetite, PromptLookup, common_length
from symphony.core.messages import Chunk, Draft, GenerateOptions, Sampling
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult
from symphony.errors import Busy, Invalid, LimitExceeded
from symphony.param import MAX_DRAFT_TOKENS, MAX_LOOKUP_NGRAM
from symphony.sched.batch import BatchLimits

PROMPT = [1, 2, 3]
LOOKUP = Draft(tokens=8, ngram=3)


def says(tokens: Sequence[int], after: int, **options: Any) -> FakeEngine:
    """An engine that continues with these tokens."""
    return FakeEngine(
        script=lambda index: tokens[index - after] if 0 <= index - after < len(tokens) else None, **options
    )


class Pair(Host):
    """A target and a draft model of another name; `agree` of a hundred entries have the same most probable token."""

    def __init__(self, agree: int = 70, config: CoreConfig | None = None, **options: Any) -> None:
        target = FakeEngine("target", **options)
        draft = FakeEngine("draft", **options)

        def guess(index: int) -> int | None:
            return self.guesses.get(index) if index * 7919 % 100 < agree else 5

        draft._script = guess
        super().__init__(target)
        self.draft = draft
        self.guesses: dict[int, int] = {}
        self.core = Core([target, draft], config or CoreConfig(debug=True))
        self.core.connect(self.deliver)

    def know(self, prompt: Sequence[int], text: Sequence[int]) -> None:
        """What the target will say."""
        self.guesses = dict(enumerate(text, len(prompt)))

    async def generate_with(self, s: int, f: int, d: int, tokens: Sequence[int], **options: Any) -> Chunk:
        return await self.drain(s, await self.start_with(s, f, d, tokens, **options))

    async def start_with(self, s: int, f: int, d: int, tokens: Sequence[int], **options: Any) -> int:
        op = next(self.ids)
        await self.core.generate(s, f, op, tokens, GenerateOptions(**{"draft": Draft(4)} | options), d)
        return op


# ---- looking up ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "longest", "limit", "found"),
    [
        ([1, 2, 3, 4, 9, 2, 3], 3, 8, [4, 9, 2, 3]),
        ([1, 2, 3, 4, 9, 2, 3], 3, 2, [4, 9]),
        ([1, 2, 3, 5, 2, 3, 6, 1, 2, 3], 3, 1, [5]),  # the longest
        ([1, 2, 3, 5, 2, 3, 6, 1, 2, 3], 2, 1, [6]),  # the latest
        ([7, 7, 7, 7], 3, 8, [7]),
        ([1, 2, 3], 3, 8, []),
        ([3, 1, 3], 3, 8, []),  # one token is no evidence
        ([3, 1, 3], 1, 8, [1, 3]),
        ([3], 1, 8, []),
    ],
)
def test_what_a_lookup_finds(text: list[int], longest: int, limit: int, found: list[int]) -> None:
    assert list(PromptLookup(longest, 8).propose(array("I", text), limit, lambda _: None)) == found


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 8))
def test_a_lookup_against_its_definition(text: list[int], longest: int) -> None:
    expected: list[int] = []
    for n in range(longest, min(longest, 2) - 1, -1):
        places = [i for i in range(len(text) - 1, n - 1, -1) if text[i - n : i] == text[len(text) - n :]]
        if places and n < len(text):
            expected = text[places[0] : places[0] + 8]
            break
    assert list(PromptLookup(longest, 8).propose(array("I", text), 8, lambda _: None)) == expected


def test_a_lookup_compares_few_places_of_a_text_that_repeats_one_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.core.drafts.PLACES", 2)
    text = array("I", [1, 2, 7, 5, 2, 6, 2, 8, 1, 2])
    assert list(PromptLookup(2, 1).propose(text, 1, lambda _: None)) == []  # the first place is not looked at
    monkeypatch.setattr("symphony.core.drafts.PLACES", 3)
    assert list(PromptLookup(2, 1).propose(text, 1, lambda _: None)) == [7]


@pytest.mark.parametrize("wrong", [0, 63, 64, 127, 128, 4999])
def test_a_long_common_length(wrong: int) -> None:
    a = array("I", range(5000))
    b = array("I", a)
    b[wrong] = 9999
    for known in (0, wrong // 2, wrong):
        assert common_length(a, b, known) == wrong
    assert common_length(a, b[:wrong], wrong // 2) == wrong


def test_an_appetite_grows_and_falls() -> None:
    appetite = Appetite(8)
    seen = []
    for offered, accepted in ((8, 0), (4, 0), (2, 0), (1, 0), (1, 1), (2, 2), (4, 4), (8, 5)):
        appetite.learn(offered, accepted)
        seen.append(appetite.count)
    assert seen == [4, 2, 1, 1, 2, 4, 8, 7]


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)), st.integers(0, 3))
def test_a_common_length(a: list[int], b: list[int], known: int) -> None:
    length = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    assert common_length(array("I", a), array("I", b), min(known, length)) == length


# ---- drafts from the text itself -------------------------------------------------------------------------------------
@run
async def test_a_text_that_repeats_takes_fewer_steps() -> None:
    text = [10, 11, 12, 13, 14, 15, 16, 17] * 6
    async with Host(says(text, len(PROMPT))) as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        plain = await h.generate(s, f, PROMPT, max_tokens=48)
        before = h.core.usage(s)
        drafted = await h.generate(s, g, PROMPT, max_tokens=48, draft=LOOKUP)
        after = h.core.usage(s)
        assert plain.tokens == drafted.tokens == text
        assert drafted.finish == ("length", None)
        assert before.forwards == 48
        assert after.forwards - before.forwards < 18
        assert after.generated_tokens - before.generated_tokens == 48
        # every token took a forward of its own, or was accepted
        assert after.accepted_tokens + after.forwards - before.forwards == 48
        assert await h.contents(s, g) == PROMPT + text
        [next_plain, next_drafted] = [(await h.generate(s, file, [], max_tokens=1)).tokens for file in (f, g)]
        assert next_plain == next_drafted


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.sampled_from([0.0, 1.0]),
    size=st.sampled_from([2, 4, 16]),
    chunk=st.sampled_from([3, 512]),
    repeats=st.integers(2, 6),
    stops=st.booleans(),
    pipelined=st.booleans(),
)
def test_drafts_change_no_token(
    seed: int, temperature: float, size: int, chunk: int, repeats: int, stops: bool, pipelined: bool
) -> None:
    """Texts that repeat themselves with errors, several at once, in small pages and small steps."""

    @run
    async def play() -> None:
        source = random.Random(seed)
        period = [source.randrange(40) for _ in range(source.randrange(2, 9))]
        text = [token if source.random() < 0.9 else source.randrange(40) for token in period * repeats]
        options: dict[str, Any] = {"max_tokens": len(text), "sampling": Sampling(temperature=temperature, seed=seed)}
        if stops:
            options["stop_tokens"] = [source.choice(text)]
        config = CoreConfig(debug=True, batch=BatchLimits(tokens=chunk), pipelined=pipelined)
        async with Host(says(text, len(PROMPT), page_size=size), config) as h:
            s = h.core.open_session("t")
            files = [await h.core.create(s, None) for _ in range(5)]
            plain = await h.generate(s, files[0], PROMPT, **options)
            ops = []
            for i, f in enumerate(files[1:]):
                draft = Draft(source.randrange(1, 33), i) if i else None  # one in between without
                ops.append(await h.start(s, f, PROMPT, **options, draft=draft))
            for op, f in zip(ops, files[1:], strict=True):
                drafted = await h.drain(s, op)
                assert (drafted.tokens, drafted.finish, drafted.text) == (plain.tokens, plain.finish, plain.text)
                assert await h.contents(s, f) == PROMPT + plain.tokens
                await h.core.truncate(s, f, len(PROMPT) + len(plain.tokens) // 2)
                again = await h.generate(s, f, [], **options | {"max_tokens": 3})
                rest = plain.tokens[len(plain.tokens) // 2 :][:3]
                assert again.tokens[: len(rest)] == rest

    play()


@run
async def test_penalties_and_logprobs_are_those_of_the_plain_run() -> None:
    rows: list[tuple[list[int], int]] = []

    class Watched(FakeEngine):
        async def step(self, batch: Batch) -> list[RowResult]:
            for row in batch.rows:
                later = [len(row.tokens) - 1 - output for output in row.outputs]
                rows.extend((list(row.history)[: len(row.history) - n], row.generated - n) for n in later)
            return await super().step(batch)

    text = [10, 11, 12, 13] * 5
    engine = Watched(script=lambda index: text[index - 3] if 3 <= index < 23 else None)
    async with Host(engine) as h:
        s = h.core.open_session("t")
        options: dict[str, Any] = {
            "max_tokens": 20, "sampling": Sampling(presence_penalty=0.1), "logprobs": 2, "draft": Draft(5),
        }  # fmt: skip
        f = await h.core.create(s, None)
        whole = await h.generate(s, f, PROMPT, **options)
        assert whole.tokens == text
        assert len(whole.logprobs) == len(whole.alternatives) == 20
        assert h.core.usage(s).forwards < 20
        plain = [([*PROMPT, *text[:n]], n) for n in range(20)]
        assert [entry for entry in plain if entry not in rows] == []


@run
async def test_a_generation_dropped_in_the_middle_keeps_what_was_delivered() -> None:
    text = [10, 11, 12, 13] * 30
    async with Host(says(text, len(PROMPT))) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=120, draft=Draft(7), chunk_tokens=10)
        chunk = await h.chunk(s, op)
        await settle()
        await h.core.cancel(s, op)
        assert await h.contents(s, f) == PROMPT + chunk.tokens
        whole = await h.generate(s, f, [], max_tokens=20, draft=Draft(7))
        assert whole.tokens == text[len(chunk.tokens) :][:20]


@run
async def test_it_pauses_and_ends_where_a_plain_one_does() -> None:
    text = [10, 11] * 300
    async with Host(says(text, len(PROMPT), context_limit=420)) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=1000, draft=Draft(32), chunk_tokens=256)
        await settle(2000)
        chunk = await h.chunk(s, op)
        assert chunk.tokens == text[:256]
        whole = await h.drain(s, op, chunk.tokens)
        assert (len(whole.tokens), whole.finish) == (417, ("context-limit", None))


@run
async def test_drafts_give_way_where_pages_are_short() -> None:
    """Exactly as many pages as the text needs: drafts beyond them must not fail it."""
    text = [10, 11] * 20
    async with Host(says(text, len(PROMPT), pages=1 + 11, page_size=4, context_limit=400)) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        whole = await h.generate(s, f, PROMPT, max_tokens=40, draft=Draft(32))
        assert (whole.tokens, whole.finish) == (text, ("length", None))


@run
async def test_a_step_that_fails_ends_it_and_the_file_is_as_before() -> None:
    text = [10, 11] * 20

    class Failing(FakeEngine):
        async def step(self, batch: Batch) -> list[RowResult]:
            if self.steps == 5:
                self.steps += 1
                raise RuntimeError("lost")
            return await super().step(batch)

    async with Host(Failing(script=lambda index: text[index - 3] if 3 <= index < 43 else None)) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=40, draft=Draft(4))
        assert await h.arrival(op) is None
        with pytest.raises(Exception, match="lost"):
            await h.core.next(s, op)
        assert await h.contents(s, f) == PROMPT
        assert (await h.generate(s, f, [], max_tokens=40, draft=Draft(4))).tokens == text


# ---- drafts of another model -----------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    agree=st.integers(0, 100),
    temperature=st.sampled_from([0.0, 1.0]),
    size=st.sampled_from([2, 16]),
    most=st.integers(1, 9),
)
def test_a_draft_model_changes_no_token(seed: int, agree: int, temperature: float, size: int, most: int) -> None:
    @run
    async def play() -> None:
        source = random.Random(seed)
        async with Pair(agree, page_size=size) as h:
            s = h.core.open_session("t")
            f, g = await h.core.create(s, "target"), await h.core.create(s, "target")
            d = await h.core.create(s, "draft")
            options: dict[str, Any] = {"max_tokens": 40, "sampling": Sampling(temperature=temperature, seed=seed)}
            plain = await h.generate(s, f, PROMPT, **options)
            h.know(PROMPT, plain.tokens)
            if source.random() < 0.5:  # it holds something else, or a part of the same
                await h.pred(s, d, source.choice([[1, 2], [1, 9, 3, 4], [*PROMPT, *plain.tokens]]))
            drafted = await h.generate_with(s, g, d, PROMPT, draft=Draft(most), **options)
            assert drafted.tokens == plain.tokens
            assert await h.contents(s, g) == PROMPT + plain.tokens
            held = await h.contents(s, d)
            assert held == (PROMPT + plain.tokens)[: len(held)]
            assert len(held) >= len(PROMPT)
            # both go on
            h.guesses.clear()
            [a] = (await h.generate(s, f, [], max_tokens=1)).tokens
            [b] = (await h.generate_with(s, g, d, [], max_tokens=1)).tokens
            assert a == b

    play()


@run
async def test_a_draft_model_that_is_right_saves_steps() -> None:
    async with Pair(100) as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, "target"), await h.core.create(s, "target")
        d = await h.core.create(s, "draft")
        plain = await h.generate(s, f, PROMPT, max_tokens=41)
        h.know(PROMPT, plain.tokens)
        before = h.core.usage(s)
        drafted = await h.generate_with(s, g, d, PROMPT, max_tokens=41)
        after = h.core.usage(s)
        assert drafted.tokens == plain.tokens
        assert after.forwards - before.forwards == 1 + 8  # the first, then five at a time; the draft's own do not count
        assert after.accepted_tokens == 32
        assert (after.prompt_tokens - before.prompt_tokens, after.generated_tokens - before.generated_tokens) == (3, 41)


@run
async def test_a_draft_draws_with_the_targets_noise() -> None:
    """The same model as draft and target: all is accepted, with a temperature too."""
    async with Host() as h:
        s = h.core.open_session("t")
        f, d = await h.core.create(s, None), await h.core.create(s, None)
        op = next(h.ids)
        sampling = Sampling(temperature=1.0, seed=3)
        await h.core.generate(s, f, op, PROMPT, GenerateOptions(sampling, max_tokens=31, draft=Draft(5)), d)
        await h.drain(s, op)
        assert h.core.usage(s).forwards == 1 + 5


@run
async def test_a_draft_is_busy_while_used() -> None:
    gate = Gate()
    async with Pair(step_seconds=1, sleep=gate.sleep) as h:
        s = h.core.open_session("t")
        f, d = await h.core.create(s, "target"), await h.core.create(s, "draft")
        op = await h.start_with(s, f, d, PROMPT, max_tokens=20, chunk_tokens=1)
        with pytest.raises(Busy):
            await h.core.truncate(s, d, 0)
        with pytest.raises(Busy):
            await h.start_with(s, await h.core.create(s, "target"), d, PROMPT)
        gate.open.set()
        await h.drain(s, op)
        await h.core.truncate(s, d, 0)


@run
async def test_what_cannot_be_a_draft() -> None:
    other = FakeEngine("other", vocab_size=300)
    other._tokenizer._pieces[7] = b"x"
    engine = FakeEngine()
    h = Host(engine)
    h.core = Core([engine, other, FakeEngine("padded", vocab_size=300)], CoreConfig(debug=True))
    h.core.connect(h.deliver)
    async with h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        bad = GenerateOptions(draft=LOOKUP)
        with pytest.raises(Invalid, match="own draft"):
            await h.core.generate(s, f, 900, PROMPT, bad, f)
        with pytest.raises(Invalid, match="different vocabularies"):
            await h.core.generate(s, f, 900, PROMPT, bad, await h.core.create(s, "other"))
        with pytest.raises(Invalid, match="file"):
            await h.core.generate(s, f, 900, PROMPT, bad, 12345)
        for draft in (Draft(0), Draft(MAX_DRAFT_TOKENS + 1), Draft(1, 0), Draft(1, MAX_LOOKUP_NGRAM + 1)):
            with pytest.raises(Invalid, match="draft"):
                await h.start(s, f, PROMPT, draft=draft)
        assert await h.core.length(s, f) == 0
        op = next(h.ids)
        options = GenerateOptions(max_tokens=9, draft=LOOKUP)
        await h.core.generate(s, f, op, PROMPT, options, await h.core.create(s, "padded"))
        assert (await h.drain(s, op)).tokens == h.expect(PROMPT, 9)


@run
async def test_a_draft_counts_as_an_operation() -> None:
    async with Pair(config=CoreConfig(debug=True, max_operations=1)) as h:
        s = h.core.open_session("t")
        f, d = await h.core.create(s, "target"), await h.core.create(s, "draft")
        with pytest.raises(LimitExceeded):
            await h.start_with(s, f, d, PROMPT)
        assert len((await h.generate(s, f, PROMPT, max_tokens=3, draft=LOOKUP)).tokens) == 3


@pytest.mark.parametrize("how", ["close", "fail", "short context", "strange token"])
def test_a_draft_that_ends_is_done_without(how: str) -> None:
    @run
    async def play() -> None:
        async with Pair(100) as h:
            if how == "short context":
                h.draft = FakeEngine("draft", context_limit=10)
            elif how == "strange token":
                h.draft = FakeEngine("draft", vocab_size=200)
            h.core = Core([h.engine, h.draft], CoreConfig(debug=True))
            h.core.connect(h.deliver)
            h.running.cancel()
            h.running = asyncio.create_task(h.core.run())
            s = h.core.open_session("t")
            f, d = await h.core.create(s, "target"), await h.core.create(s, "draft")
            expected = h.expect(PROMPT, 30)
            op = await h.start_with(s, f, d, PROMPT, max_tokens=30, chunk_tokens=1)
            first = await h.chunk(s, op)
            if how == "close":
                await h.core.close_file(s, d)
            elif how == "fail":

                async def lost(batch: Batch) -> list[RowResult]:
                    raise RuntimeError("lost")

                h.draft.step = lost  # type: ignore[method-assign]
            assert (await h.drain(s, op, first.tokens)).tokens == expected
            assert h.core.usage(s).forwards <= 30

    play()


@pytest.mark.parametrize("turns", range(0, 60, 7))
def test_the_end_of_a_session_in_the_middle(turns: int) -> None:
    @run
    async def play() -> None:
        async with Pair(80) as h:
            s = h.core.open_session("t")
            f, d = await h.core.create(s, "target"), await h.core.create(s, "draft")
            plain = await h.generate(s, await h.core.create(s, "target"), PROMPT, max_tokens=60)
            h.know(PROMPT, plain.tokens)
            await h.start_with(s, f, d, PROMPT, max_tokens=60)
            await settle(turns)
            await h.core.close_session(s)
            assert h.core.idle() or turns

    play()


@pytest.mark.parametrize("turns", range(0, 60, 7))
def test_a_cancelled_generation_lets_go_of_its_draft(turns: int) -> None:
    @run
    async def play() -> None:
        async with Pair(80) as h:
            s = h.core.open_session("t")
            f, d = await h.core.create(s, "target"), await h.core.create(s, "draft")
            op = await h.start_with(s, f, d, PROMPT, max_tokens=60, chunk_tokens=5)
            await settle(turns)
            await h.core.cancel(s, op)
            assert await h.contents(s, f) == PROMPT
            assert (await h.contents(s, d))[:3] == PROMPT[: await h.core.length(s, d)]
            await h.core.truncate(s, d, 0)
            assert (await h.generate_with(s, f, d, [], max_tokens=12)).tokens == h.expect(PROMPT, 12)

    play()


@run
async def test_many_generations_with_drafts_under_memory_pressure() -> None:
    config = CoreConfig(debug=True, pipelined=True)
    async with Pair(80, config, pages=40, page_size=4, host_pages=60, context_limit=200) as h:
        s = h.core.open_session("t")
        plain = await h.generate(s, await h.core.create(s, "target"), PROMPT, max_tokens=50)
        h.know(PROMPT, plain.tokens)
        pairs = [(await h.core.create(s, "target"), await h.core.create(s, "draft")) for _ in range(8)]
        ops = [await h.start_with(s, f, d, PROMPT, max_tokens=50) for f, d in pairs]
        for op in ops:
            assert (await h.drain(s, op)).tokens == plain.tokens
