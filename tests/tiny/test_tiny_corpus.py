"""The corpus is the same for everybody, and keeps what evaluation asks from training."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from hashlib import sha256

import pytest

from tiny import calls, extraction, sums
from tiny.corpus import MIX, Task, dialogue, normal, rendered, reserved
from tiny.evaluate import MEASURES, valid_step
from tiny.newcomer import load
from tiny.pen import NOISE, Manner, Pen, Row, parsed, wordings
from tiny.tools import TOOLS
from tiny.words import WORDS

SOME = range(200)


def test_a_document_depends_on_its_seed_alone() -> None:
    assert dialogue("1/7") == dialogue("1/7")
    assert len({rendered(dialogue(i)) for i in SOME}) > 190


def test_the_text_is_that_of_the_model_that_ships() -> None:
    """Whoever changes the corpus trains anew, and says so here."""
    text = "".join(rendered(dialogue(f"1/0/{i}")) for i in range(300))
    assert sha256(text.encode()).hexdigest()[:16] == "af4bd947735b838f"


@pytest.mark.parametrize("task", MIX, ids=lambda task: task.__name__)
@pytest.mark.parametrize("manner", Manner)
def test_every_task_ends_with_an_answer(task: Task, manner: Manner) -> None:
    for i in range(20):
        turns = task(Pen(i, manner))
        assert turns[-1][0] == "assistant"
        assert all(content.strip() and "|" not in content.replace(" | ", "") for _, content in turns)


def test_a_wording_is_expanded() -> None:
    assert {Pen(i).write("a [b|c[d|~e]|] f") for i in SOME} == {"a b f", "a cd f", "a  f"}
    assert {Pen(i, Manner.UNSEEN).write("x|~a [b|c[d|~e]] f") for i in SOME} == {"a b f", "a ce f"}
    assert Pen(1, Manner.PLAIN).write("[a|b] {v}|c", v="[1|2]") == "a [1|2]"
    assert [row[0] for row in parsed("x|~a [b|~c]|[d|~e]").rows_kept()] == ["a ", "e"]


def pattern(row: Row) -> str:
    """What matches a wording with anything in its blanks."""
    parts = [part if isinstance(part, str) else "[" for part in row]
    return r"\b" + re.sub(r"\\{\w+\\}|\\\[", r"[^\\n]{0,40}?", re.escape("".join(parts).lower().strip(" .?!,:")))


def spoken(row: Row) -> int:
    """Words that a wording has of its own."""
    return len(re.findall(r"\w+", re.sub(r"\{\w+\}", "", "".join(part for part in row if isinstance(part, str)))))


def test_what_is_kept_for_evaluation_is_not_trained_on() -> None:
    """No wording that is kept, no word, no tool is in the text that training sees; evaluation has them."""
    seen = "\n".join(rendered(dialogue(i)) for i in range(150)).lower()
    asked = "\n".join(rendered(measure.task(Pen(i, Manner.UNSEEN))) for measure in MEASURES for i in range(20)).lower()
    kept = [re.compile(pattern(row)) for group in wordings() for row in group.rows_kept() if spoken(row) >= 3]
    assert len(kept) > 200
    assert [found[0] for each in kept if (found := each.search(seen))] == []
    assert sum(each.search(asked) is not None for each in kept) > 100
    words = {m: {Pen(i, m).word(range(40)) for i in SOME} for m in (Manner.VARIED, Manner.UNSEEN)}
    assert words[Manner.UNSEEN] == set(range(4, 40, 5))
    assert not words[Manner.VARIED] & words[Manner.UNSEEN]
    for tool in TOOLS[4::5]:
        assert tool.description.lower() not in seen


def test_sums_that_are_asked_for_were_never_trained() -> None:
    trained = {sums.pair(Pen(i), 10) for i in range(2000)}
    asked = {sums.pair(Pen(i, Manner.PLAIN), 10) for i in SOME}
    assert not trained & asked


def test_answers_follow_from_what_is_asked() -> None:
    for i in SOME:
        turns = extraction.extraction(Pen(i))
        assert all(str(value) in turns[0][1] for value in json.loads(turns[1][1], parse_float=str).values())
        request, call = calls.call(Pen(i))[1:]
        text = call[1].removeprefix("<tool_call>").removesuffix("</tool_call>")
        arguments = json.loads(text, parse_float=str)["arguments"]
        assert all(str(v).lower() in request[1].lower() for v in arguments.values() if not isinstance(v, list))
        asked, answer = sums.propose(Pen(i))
        assert valid_step(asked[1], answer[1])


def test_prompts_of_newcomers_are_not_trained_on() -> None:
    assert normal("What is 2+2?") in reserved()
    assert len(reserved()) == 40
    asked = [normal(text) for i in range(1000) for role, text in dialogue(i) if role == "user"]
    assert not reserved() & set(asked)


def test_steps_that_are_wrong_are_told() -> None:
    asked = "Numbers: 4 6 8\nPropose a step."
    assert valid_step(asked, "8 - 4 = 4 (left: 4 6)")
    assert not valid_step(asked, "8 - 4 = 5 (left: 5 6)")
    assert not valid_step(asked, "8 - 4 = 4 (left: 4 8)")
    assert not valid_step(asked, "9 - 4 = 5 (left: 5 6 8)")
    assert not valid_step(asked, "8 - 4 = 4")


def test_measures_and_prompts_are_there() -> None:
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    prompts = load()
    assert len(prompts) == 40
    assert not any(prompt.acceptable("") for prompt in prompts)


def test_words_of_what_is_kept_occur_elsewhere() -> None:
    """A wording that is kept is a new combination: training sees each of its words somewhere."""

    def spoken_in(rows: Iterable[Row], kept: bool) -> set[str]:
        found: set[str] = set()
        for row in rows:
            for part in row:
                if isinstance(part, str):
                    found |= set(re.findall("[a-z]+", re.sub(r"\{\w+\}", " ", part.lower())))
                else:
                    found |= spoken_in([*part.known, *(part.kept if kept else ())], kept)
        return found

    for measure in MEASURES:
        for i in range(30):
            measure.task(Pen(i, Manner.UNSEEN))
    known = spoken_in((row for group in wordings() for row in group.known), kept=False) | {*NOISE, *WORDS}
    assert not spoken_in((row for group in wordings() for row in group.rows_kept()), kept=True) - known
