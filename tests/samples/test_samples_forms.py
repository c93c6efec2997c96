"""extract, templates, choice: what is written fits, whatever the model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Stage

TICKET = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["bug", "wish"]},
        "urgent": {"type": "boolean"},
        "tags": {"type": "array", "items": {"enum": ["ui", "api"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["kind", "urgent", "tags"],
    "additionalProperties": False,
}
SCORES = """
from lip import Context, encode, main

@main
async def app(question: str, options: list[str]) -> dict[str, list[list[float]]]:
    '''(token, log-probability) of each option as it is usually cut into tokens, its end included.'''
    found = {}
    for option in options:
        async with Context() as ctx:
            ids = [*encode(option), ctx.model.stop_tokens[0]]
            first = await ctx.user(question).pred(logprobs=ids)
            dists = [first, *await ctx.pred(ids[:-1], every=True, logprobs=ids)]
            found[option] = [[token, dist.logprob(token)] for token, dist in zip(ids, dists)]
    return found
"""


def test_extraction_is_right_and_cheaper_than_its_tokens(tiny: Stage) -> None:
    run = tiny.run("extract")
    assert run.result["value"] == {"name": "Nora Brandt", "age": 34, "city": "Lisbon"}
    assert run.result["forwards"] <= 0.7 * run.result["tokens"]


def test_extraction_fits_its_schema_whatever_the_model(chance: Stage) -> None:
    run = chance.run("extract", text="Nothing of the kind.", schema=TICKET)
    value: Any = run.result["value"]
    assert list(value) == ["kind", "urgent", "tags"]
    assert value["kind"] in ("bug", "wish")
    assert isinstance(value["urgent"], bool)
    assert 1 <= len(value["tags"]) <= 2
    assert set(value["tags"]) <= {"ui", "api"}
    assert run.result["forwards"] < run.result["tokens"]


def test_a_form_is_filled_in_from_a_story(tiny: Stage) -> None:
    run = tiny.run("templates")
    assert run.result["blanks"] == {"who": "Nora", "thing": "a green chair", "helper": "Ben", "place": "park"}
    assert run.output.startswith("Nora lost a green chair and Ben helped to find it in the park.\n")
    assert run.result["forwards"] <= 0.7 * run.result["tokens"]


def test_a_form_keeps_its_words_whatever_the_model(chance: Stage) -> None:
    blanks = {"name": "[a-z]{2,4}", "n": ["1", "22"], "degrees": "-?[0-9]{1,2}"}
    run = chance.run("templates", form='"{name}" + {n}!\nTemperature outside: {degrees} degrees.', blanks=blanks)
    form = r'"([a-z]{2,4})" \+ (1|22)!\nTemperature outside: (-?[0-9]{1,2}) degrees\.\n'
    match = re.match(form, run.output)
    assert match
    assert match.groups() == tuple(run.result["blanks"].values())
    assert run.result["forwards"] <= 0.7 * run.result["tokens"]


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Is the sky blue?", ["yes", "no", "maybe"]),
        ("Which?", ["plum", "plums", "plum cake", "pear tree", "pear"]),
        ("Say it.", ["only this"]),
    ],
)
def test_choosing_follows_the_best_token_that_keeps_an_option(chance: Stage, question: str, options: list[str]) -> None:
    run = chance.run("choice", question=question, options=options)
    alive = chance.run(SCORES, question=question, options=options).result
    at = 0
    while len(alive) > 1:
        best = max((option[at] for option in alive.values()), key=lambda pair: pair[1])[0]
        alive = {name: option for name, option in alive.items() if option[at][0] == best}
        at += 1
    assert [run.result["answer"]] == list(alive)
    assert run.result["tokens"] == len(alive[run.result["answer"]])
    assert run.usage["forwards"] == run.result["forwards"] <= at


def test_a_sentiment_is_chosen(tiny: Stage) -> None:
    assert tiny.run("choice").result["answer"] == "positive"
    assert tiny.run("choice", question="Sentiment: I hated the lamp.").result["answer"] == "negative"
