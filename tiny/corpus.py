"""The corpus: an endless stream of dialogues, from seeds, as the text that the chat template renders.

`dialogue(seed)` is the whole interface: document `n` of the corpus is always the same. It knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tiny import calls, tasks
from tiny.pen import Manner, Pen
from tiny.tasks import Turns

Task = Callable[[Pen], Turns]
MIX: dict[Task, float] = {
    calls.call: 0.14,
    calls.conversation: 0.06,
    tasks.extraction: 0.16,
    tasks.citation: 0.14,
    tasks.many_citations: 0.04,
    tasks.recall: 0.07,
    tasks.long_recall: 0.03,
    tasks.arithmetic: 0.08,
    tasks.subtraction: 0.04,
    tasks.steps: 0.02,
    tasks.judge: 0.05,
    tasks.lists: 0.06,
    tasks.propose: 0.03,
    tasks.react: 0.04,
    tasks.talk: 0.06,
    tasks.story: 0.02,
}
ALONE = {calls.call, calls.conversation, tasks.many_citations, tasks.long_recall, tasks.react}
"""Not joined with other dialogues."""
SYSTEM = ["You are a helpful assistant.", "You are Symphony, a small helpful model.", "Answer briefly."]
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <tool_call> </tool_call> <tools> </tools> <tool_response> </tool_response> "
    "<think> </think>"
).split()


def dialogue(seed: int | str) -> Turns:
    """One document: a task, often followed by others."""
    pen = Pen(seed, Manner.VARIED)
    tasks_, shares = list(MIX), list(MIX.values())
    task = pen.random.choices(tasks_, shares)[0]
    turns = task(pen)
    if task in ALONE:
        return turns
    for _ in range(pen.choice([0, 0, 1, 2, 3])):
        other = pen.random.choices(tasks_, shares)[0]
        turns += other(pen) if other not in ALONE else task(pen)
    return [("system", pen.choice(SYSTEM)), *turns] if pen.chance(0.2) else turns


def rendered(turns: Turns, answering: bool = False) -> str:
    """As the chat template has it; `answering`: with the head of the assistant's next turn."""
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    return text + ("<|im_start|>assistant\n" if answering else "")


def documents(seed: int, start: int = 0, stride: int = 1) -> Iterator[Turns]:
    """Documents `start`, `start + stride`, ... of the corpus of this seed: one worker's share."""
    number = start
    while True:
        yield dialogue(f"{seed}/{number}")
        number += stride
