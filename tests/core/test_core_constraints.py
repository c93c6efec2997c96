"""Constraints in the core: whose they are, what predictions and generations make of them. Semantics 12."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from core_harness import Host, run

from symphony.constraint.grammar import Grammar
from symphony.constraint.matcher import Matcher
from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.guide import ConstraintGuide
from symphony.core.messages import Draft, Readings, Sampling
from symphony.engine.fake import FakeEngine
from symphony.errors import Invalid, LimitExceeded

PROMPT = [1, 2, 3]
END = 258
OBJECT = json.dumps(
    {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Oslo"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["city", "n"],
        "additionalProperties": False,
    }
)


def writes(text: bytes | Sequence[int], **options: Any) -> FakeEngine:
    """An engine that would write this behind the prompt."""
    tokens = list(text)
    at = len(PROMPT)
    return FakeEngine(script=lambda i: tokens[i - at] if 0 <= i - at < len(tokens) else None, **options)


async def constrain(h: Host, session: int, kind: str, source: str | Sequence[str]) -> int:
    return await h.core.constraints.compile(session, None, Grammar(kind, source))


async def begin(h: Host) -> tuple[int, int]:
    session = h.core.open_session("t")
    return session, await h.core.create(session, None)


def tokens_of(mask: bytes) -> set[int]:
    return {token for token in range(8 * len(mask)) if mask[token >> 3] >> (token & 7) & 1}


@run
async def test_a_constraint_belongs_to_its_session_and_goes_with_it() -> None:
    async with Host(FakeEngine()) as h:
        s, other = h.core.open_session("t"), h.core.open_session("t")
        number = await constrain(h, s, "regex", "ab")
        with pytest.raises(Invalid, match="closed, or never was"):
            await h.core.constraints.mask(other, number)
        with pytest.raises(Invalid):
            h.core.constraints.consume(other, number, [97])
        h.core.constraints.release(other, number)
        assert h.core.constraints.forced(s, number) == [97, 98]
        held = h.core._sessions[s].constraints
        await h.core.close_session(s)
        assert not held


@run
async def test_constraints_are_counted_forks_included() -> None:
    async with Host(FakeEngine(), CoreConfig(max_constraints=3)) as h:
        s = h.core.open_session("t")
        first = await constrain(h, s, "regex", "a")
        forks = [h.core.constraints.fork(s, first) for _ in range(2)]
        with pytest.raises(LimitExceeded, match="3 constraints"):
            h.core.constraints.fork(s, first)
        with pytest.raises(LimitExceeded):
            await constrain(h, s, "regex", "b")
        h.core.constraints.release(s, forks[0])
        await constrain(h, s, "regex", "b")


@run
async def test_readings_are_of_the_allowed_tokens_alone() -> None:
    async with Host(writes(b"x")) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "regex", "[abx]")
        mask = await h.core.constraints.mask(s, number, f)
        wanted = Readings(sample=Sampling(), top_k=9, logprobs=(97, 99, 120), sampled_logprob=True, allowed=mask)
        (reading,) = await h.pred(s, f, PROMPT, readings=wanted)
        assert reading.sampled == ord("x")
        assert set(reading.top_ids) == {97, 98, 120}
        assert reading.logprobs[1] == -math.inf
        assert reading.sampled_logprob == reading.logprobs[2] == max(reading.logprobs)


@pytest.mark.parametrize("mask", [b"", bytes(36), b"\xff" * 35, b"\xff" * 72, bytes(32) + b"\x08\0\0\0"], ids=range(5))
@run
async def test_a_mask_that_is_none_is_refused_at_once(mask: bytes) -> None:
    async with Host(FakeEngine()) as h:
        s, f = await begin(h)
        with pytest.raises(Invalid, match="allowed"):
            await h.pred(s, f, PROMPT, readings=Readings(sample=Sampling(), allowed=mask))
        assert await h.core.length(s, f) == 0


@run
async def test_a_generation_takes_a_copy_and_ends_where_the_text_is_complete() -> None:
    async with Host(FakeEngine()) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "json-schema", OBJECT)
        before = await h.core.constraints.mask(s, number)
        chunk = await h.generate(s, f, PROMPT, constraint=number, stop_tokens=(END,), max_tokens=80)
        value = json.loads(chunk.text)
        assert value["city"] in ("Paris", "Oslo")
        assert 0 <= value["n"] <= 99
        assert chunk.finish in (("constraint", None), ("stop-token", END))
        assert await h.contents(s, f) == PROMPT + chunk.tokens
        assert await h.core.constraints.mask(s, number) == before
        assert h.core.constraints.forced(s, number) == list(b'{"city": "')


@run
async def test_forced_tokens_take_no_forward_pass() -> None:
    """The schema forces all but the first letter of the city and the number: so many draws, so many steps."""
    text = b'{"city": "Oslo", "n": 7}'
    async with Host(writes([*text, END])) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "json-schema", OBJECT)
        chunk = await h.generate(s, f, PROMPT, constraint=number, stop_tokens=(END,), max_tokens=80)
        assert chunk.text == text.decode()
        assert h.engine.steps == 3, "which city, which number, and that it ends"
        assert h.core.usage(s).generated_tokens == len(chunk.tokens)
        assert h.engine.tokens < len(PROMPT) + len(text) + 3


@run
async def test_what_was_valid_anyway_is_what_comes() -> None:
    text = b"From 12 to 345, said Ada."
    async with Host(writes([*text, END])) as h:
        s, f = await begin(h)
        plain = await h.generate(s, f, PROMPT, stop_tokens=(END,), max_tokens=60)
        for pattern in (r"[A-Za-z0-9 ,.]+", r"From \d+ to \d+, said [A-Z][a-z]+\.", "(?s:.*)"):
            g = await h.core.create(s, None)
            number = await constrain(h, s, "regex", pattern)
            chunk = await h.generate(s, g, PROMPT, constraint=number, stop_tokens=(END,), max_tokens=60)
            assert chunk.text == plain.text
            assert chunk.tokens[: len(text)] == plain.tokens[: len(text)]


@pytest.mark.parametrize("seed", range(4))
@run
async def test_draws_are_the_same_with_and_without_drafts(seed: int) -> None:
    sampling = Sampling(temperature=1.0, seed=seed)
    pattern = r"((ab|ba|aab){3}-){5,9}end"
    async with Host(FakeEngine()) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "regex", pattern)
        options: dict[str, Any] = {"sampling": sampling, "constraint": number, "max_tokens": 90, "stop_tokens": (END,)}
        plain = await h.generate(s, f, PROMPT, **options)
        steps = h.engine.steps
        g = await h.core.create(s, None)
        drafted = await h.generate(s, g, PROMPT, draft=Draft(tokens=6, ngram=2), **options)
        assert drafted.tokens == plain.tokens
        assert drafted.finish == plain.finish
        assert h.engine.steps - steps <= steps
        assert (await h.generate(s, await h.core.create(s, None), PROMPT, **options)).tokens == plain.tokens


@run
async def test_accepted_drafts_are_consumed_and_save_steps() -> None:
    text = list(b"one two three; one two three; one two three; done")
    async with Host(writes([*text, END])) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "regex", r"([a-z ]+(; )?)+")
        chunk = await h.generate(
            s, f, PROMPT, constraint=number, draft=Draft(tokens=8), stop_tokens=(END,), max_tokens=80
        )
        assert chunk.tokens == [*text, END]
        assert h.engine.steps < len(text) - 12
        assert h.core.usage(s).accepted_tokens > 12


@run
async def test_drafts_that_are_forbidden_are_not_offered() -> None:
    """The text so far would make the lookup propose a fourth `ab`, which the constraint excludes."""
    async with Host(writes(b"ababababab")) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "regex", "(ab){3}x(ab)*y")
        chunk = await h.generate(s, f, PROMPT, constraint=number, draft=Draft(tokens=4, ngram=2), max_tokens=12)
        assert chunk.text.startswith("abababx")


@run
async def test_a_constraint_with_stop_tokens_strings_and_lengths() -> None:
    async with Host(writes(b"abcabcabc")) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "regex", "(abc){1,9}")

        async def generate(**options: Any) -> Any:
            file = await h.core.create(s, None)
            return await h.generate(s, file, PROMPT, constraint=number, **options)

        assert (await generate(max_tokens=5)).finish == ("length", None)
        stopped = await generate(stop_strings=("ca",), max_tokens=50)
        assert (stopped.text, stopped.finish) == ("ab", ("stop-string", 0))
        own = await generate(stop_tokens=(ord("a"),), max_tokens=50)
        assert (own.text, own.finish) == ("", ("stop-token", ord("a"))), "a stop token that the grammar allows too"
        assert f


@run
async def test_a_stop_token_of_the_callers_own_is_allowed_where_the_text_is_complete() -> None:
    async with Host(writes(b"12!!")) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "regex", "[0-9]+")
        chunk = await h.generate(s, f, PROMPT, constraint=number, stop_tokens=(ord("!"),), max_tokens=50)
        assert (chunk.text, chunk.finish) == ("12", ("stop-token", ord("!")))


@run
async def test_a_model_stop_token_that_the_caller_does_not_stop_at_ends_the_constraint() -> None:
    async with Host(writes([*b"12", END])) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "regex", "[0-9]+")
        chunk = await h.generate(s, f, PROMPT, constraint=number, max_tokens=50)
        assert (chunk.tokens, chunk.finish) == ([*b"12", END], ("constraint", None))


@run
async def test_nothing_is_drawn_where_nothing_may_follow() -> None:
    async with Host(FakeEngine()) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "choice", ["yes"])
        h.core.constraints.consume(s, number, list(b"yes"))
        chunk = await h.generate(s, f, PROMPT, constraint=number)
        assert (chunk.tokens, chunk.finish) == ([], ("constraint", None))


@run
async def test_log_probabilities_are_of_the_allowed_tokens() -> None:
    async with Host(writes(b"b")) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "regex", "[abc]xy")
        chunk = await h.generate(s, f, PROMPT, constraint=number, logprobs=2, max_tokens=10)
        assert chunk.text == "bxy"
        assert [len(ranked.ids) for ranked in chunk.alternatives] == [2, 1, 1], "what is forced has no alternative"
        assert len(chunk.logprobs) == 3


@run
async def test_slow_masks_are_found_off_the_loop_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Host(FakeEngine()) as h:
        s, f = await begin(h)
        number = await constrain(h, s, "regex", "[a-z]{20}")
        plain = await h.generate(s, f, PROMPT, constraint=number)
        threads: list[bool] = []
        found = Matcher._found

        def watched(matcher: Matcher) -> bytes:
            mask = found(matcher)
            matcher.slow = True
            threads.append(bool(mask))
            return mask

        monkeypatch.setattr(Matcher, "_found", watched)
        again = await h.generate(s, await h.core.create(s, None), PROMPT, constraint=number)
        assert again.tokens == plain.tokens
        assert len(threads) >= 19
        beside = [await h.start(s, await h.core.create(s, None), PROMPT, constraint=number) for _ in range(3)]
        for op in beside[1:]:
            assert (await h.drain(s, op)).tokens == plain.tokens
        await h.core.cancel(s, beside[0])


@run
async def test_drafts_cost_the_loop_one_slow_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Host(FakeEngine()) as h:
        s, _ = await begin(h)
        matcher = h.core.constraints.find(s, await constrain(h, s, "regex", "[a-z]{20}"))
        guide = ConstraintGuide(matcher.fork(), frozenset())
        assert len(guide.keep([97] * 8)) == 8
        monkeypatch.setattr("symphony.constraint.matcher.INLINE_MASK_SECONDS", -1.0)
        assert len(guide.keep([97] * 8)) == 1


@run
async def test_a_mask_that_cannot_be_found_fails_its_generation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Host(FakeEngine()) as h:
        s, f = await begin(h)
        good, bad = await constrain(h, s, "regex", "[a-z]{12}"), await constrain(h, s, "regex", "[A-Z]{12}")
        model, found = h.core._sessions[s].constraints[bad]._grammar, Matcher._found

        def broken(matcher: Matcher) -> bytes:
            if matcher._grammar is model and matcher.consumed == 5:
                raise LimitExceeded("the constraint cannot go on", "use another one")
            return found(matcher)

        monkeypatch.setattr(Matcher, "_found", broken)
        ops = [await h.start(s, await h.core.create(s, None), PROMPT, constraint=c) for c in (good, bad)]
        assert len((await h.drain(s, ops[0])).tokens) == 12
        with pytest.raises(LimitExceeded, match="cannot go on"):
            await h.drain(s, ops[1])
        assert f


@run
async def test_a_constraint_of_another_model_is_refused() -> None:
    host = Host(FakeEngine())
    host.core = Core([host.engine, FakeEngine("other")], CoreConfig(debug=True))
    host.core.connect(host.deliver)
    async with host as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        number = await h.core.constraints.compile(s, "other", Grammar("regex", "a"))
        with pytest.raises(Invalid, match="of the model other"):
            await h.start(s, f, PROMPT, constraint=number)
        with pytest.raises(Invalid, match="of the model other"):
            await h.core.constraints.mask(s, number, f)


@run
async def test_a_session_that_ends_while_it_compiles_leaves_nothing() -> None:
    async with Host(FakeEngine()) as h:
        s = h.core.open_session("t")
        compiling = asyncio.ensure_future(constrain(h, s, "regex", "a"))
        await asyncio.sleep(0)
        await h.core.close_session(s)
        with pytest.raises(Invalid):
            await compiling
