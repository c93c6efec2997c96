"""Constraints from a program: by hand and in generations; what goes wrong, and what is left behind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from symphony import Runtime
from symphony.errors import ProgramError

BY_HAND = '''
from lip import Constraint, Context, Invalid, decode, encode, main

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["name", "n"],
    "additionalProperties": False,
}


class Model:
    """Anything that has a schema, as pydantic's models do."""

    @staticmethod
    def model_json_schema():
        return SCHEMA


def refused(action):
    try:
        action()
    except Invalid as error:
        return str(error)


@main
async def app():
    async with Context() as ctx:
        ctx.user("Who are you?")
        rule = Constraint.json_schema(SCHEMA)
        plain = (await ctx.fork().generate(constraint=rule, max_tokens=60)).json()
        by_class = (await ctx.fork().generate(schema=Model, max_tokens=60)).json()

        tokens, branch = [], ctx.fork()
        while not rule.done:  # greedily; the model is not asked about what is forced
            new = rule.forced() or [(await branch.pred(constraint=rule)).argmax()]
            rule.consume(new)
            branch.feed(new)
            tokens += new

        spare = rule.fork()
        spare.rollback(len(tokens))
        begun = spare.forced()[:1] == tokens[:1]
        yes, no = encode("yes")[0], encode("no")[0]
        words = [0] * ((ctx.model.vocab_size + 31) // 32)
        for token in (yes, no):
            words[token >> 5] |= 1 << (token & 31)
        dist = await ctx.fork().pred(allowed=words, top_k=5, logprobs=[yes, no, 5])
        mask = Constraint.choice(["yes", "no"])
        with mask:
            same = await ctx.fork().pred(constraint=mask, top_k=5)
            allows = [mask.allows(token) for token in (no, 5, 1 << 30)]
        chosen = await ctx.fork().generate(choice=["yes", "no"])
        number = await ctx.fork().generate(regex="[0-9]{3}", logprobs=1)
        return {
            "plain": plain,
            "by_class": by_class,
            "by_hand": decode(tokens),
            "complete": [rule.complete, spare.complete, begun],
            "restricted": [{t for t, _ in dist.top_k()} == {yes, no}, round(sum(p for _, p in dist.top_k()), 4)],
            "nowhere": dist.logprob(5) == float("-inf"),
            "same": len(same.top_k(1)),
            "allows": allows,
            "chosen": chosen.text,
            "number": [number.text.isdigit(), len(number.text), len(number.logprobs) == len(number.tokens)],
            "refused": [
                refused(lambda: Constraint.regex("(")),
                refused(lambda: Constraint.grammar('start: "a')),
                refused(lambda: Constraint.json_schema({"enum": []})),
                refused(lambda: Constraint.json_schema({1, 2})),
                refused(lambda: Constraint.choice("yes")),
                refused(lambda: rule.consume([5])),
                refused(lambda: mask.done),
                refused(lambda: ctx.stream(regex="a", choice=["b"])),
                refused(lambda: ctx.stream(constraint="a")),
                refused(lambda: Constraint.json_schema({}, spacing="wide")),
            ],
        }
'''

TOO_MANY = """
from lip import Constraint, main


@main
async def app():
    rule = Constraint.regex("a")
    kept = [rule]
    while True:
        kept.append(rule.fork())
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All runs on one host: booting is what takes the time."""

    async def scenario() -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with Runtime("tiny", device="cpu", home=tmp_path_factory.mktemp("home")) as rt:
            found["hand"] = await rt.run(BY_HAND)
            with pytest.raises(ProgramError) as caught:
                await rt.run(TOO_MANY)
            found["too many"] = str(caught.value)
            rt.core.check_integrity()
            found["left"] = len(rt.core._sessions)
        return found

    return asyncio.run(scenario())


def test_stepping_by_hand_is_what_generate_does(results: dict[str, Any]) -> None:
    hand = results["hand"]
    assert json.loads(hand["by_hand"]) == hand["plain"] == hand["by_class"]
    assert hand["complete"] == [True, False, True]


def test_masks_restrict_every_reading(results: dict[str, Any]) -> None:
    hand = results["hand"]
    assert hand["restricted"] == [True, 1.0]
    assert hand["nowhere"] is True
    assert hand["same"] == 1
    assert hand["allows"] == [True, False, False]
    assert hand["chosen"] in ("yes", "no")
    assert hand["number"] == [True, 3, True]


def test_mistakes_are_told_with_what_to_do(results: dict[str, Any]) -> None:
    told = results["hand"]["refused"]
    expected = [
        "unclosed group",
        "1(10): lexer error",
        "no text satisfies the schema",
        "not JSON",
        "takes a list of texts",
        "forbids token 5",
        "was closed",
        "several constraints at once: regex, choice",
        "is not a Constraint",
        "spaced, compact, flexible",
    ]
    assert [part in (text or "") for part, text in zip(expected, told, strict=True)] == [True] * len(expected), told
    assert all("hint: " in text for text in told)


def test_too_many_constraints_are_refused_and_none_is_left(results: dict[str, Any]) -> None:
    assert "LimitExceeded" in results["too many"]
    assert "256 constraints" in results["too many"]
    assert results["left"] <= 1, "the probe's own session"
