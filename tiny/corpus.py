"""The corpus: an endless stream of dialogues, from seeds, as the text that the chat template renders.

`dialogue(seed)` is the whole interface: document `n` of the corpus is always the same. It knows nothing of tokens.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tiny import agent, calls, documents, extraction, lists, memory, stories, sums, talk
from tiny.banks import banks
from tiny.pen import Manner, Pen
from tiny.turns import Turns

Task = Callable[[Pen], Turns]
MIX: dict[Task, float] = {
    calls.call: 0.07,
    calls.conversation: 0.13,
    extraction.extraction: 0.17,
    documents.citations: 0.10,
    documents.shelf: 0.06,
    documents.reading: 0.03,
    memory.recalls: 0.06,
    memory.long_recalls: 0.03,
    memory.needle: 0.015,
    memory.find_all: 0.02,
    sums.arithmetic: 0.04,
    sums.more_arithmetic: 0.03,
    sums.subtraction: 0.035,
    sums.in_words: 0.03,
    sums.steps: 0.02,
    sums.judges: 0.065,
    sums.proposals: 0.03,
    lists.lists: 0.04,
    lists.more_lists: 0.035,
    lists.text_operations: 0.03,
    lists.classify: 0.02,
    lists.sequence: 0.02,
    lists.pick: 0.01,
    agent.react: 0.04,
    talk.talk: 0.06,
    stories.story: 0.025,
}
ALONE = {calls.call, calls.conversation, documents.shelf, memory.long_recalls, memory.needle, agent.react}
"""Not joined with other dialogues."""
SHORT = [task for task in MIX if task not in ALONE]
SYSTEM = banks("talk")["system"]
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <tool_call> </tool_call> <tools> </tools> <tool_response> </tool_response> "
    "<think> </think>"
).split()


def normal(text: str) -> str:
    """What is left of a prompt without capitals and the marks at its end."""
    return text.casefold().rstrip(" .?!")


@cache
def reserved() -> frozenset[str]:
    """The prompts of the page for newcomers, none of which is trained on."""
    page = tomllib.loads(Path(__file__).with_name("newcomer.toml").read_text())
    return frozenset(normal(prompt["user"]) for prompt in page["prompt"])


def dialogue(seed: int | str) -> Turns:
    """One document: a task, often followed by others."""
    pen = Pen(seed, Manner.VARIED)
    turns = _dialogue(pen)
    while any(role == "user" and len(text) < 200 and normal(text) in reserved() for role, text in turns):
        turns = _dialogue(pen)
    return turns


def _dialogue(pen: Pen) -> Turns:
    task = pen.random.choices(list(MIX), list(MIX.values()))[0]
    turns = task(pen)
    if task in ALONE:
        return turns
    shares = [MIX[each] for each in SHORT]
    for _ in range(pen.choice((0, 0, 1, 2, 3))):
        other = task if pen.chance(0.4) else pen.random.choices(SHORT, shares)[0]
        more = other(pen)
        if more[0][0] != "system":
            turns = turns + more
    if turns[0][0] != "system" and pen.chance(0.2):
        return [("system", pen.write(SYSTEM) * (pen.choice((1, 1, 1, 8)))), *turns]
    return turns


def rendered(turns: Turns, answering: bool = False) -> str:
    """As the chat template has it; `answering`: with the head of the assistant's next turn."""
    text = "".join([f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns])
    return text + ("<|im_start|>assistant\n" if answering else "")
