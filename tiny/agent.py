"""An agent that thinks aloud, acts, reads what came of it, and answers (ReAct)."""

from __future__ import annotations

from tiny import words
from tiny.banks import banks
from tiny.pen import Pen
from tiny.turns import Turns

W = banks("agent")
TOOLS = "Answer the question with the tools {t} and finish[answer]."
USUAL = ["lookup[key]", "search[text]", "calc[expression]"]
DONE = "Thought: I have the answer.\nAction: finish[{v}]"
SPOKEN = {"+": "plus", "-": "minus", "*": "times"}
RELATIONS: dict[str, words.Maker] = {
    "age": words.within(1, 99),
    "job": words.of(words.JOBS),
    "city": words.city,
    "email": words.email,
    "boss": words.full_name,
    "password": Pen.coined,
    "phone": words.phone,
}


def react(pen: Pen) -> Turns:
    """The whole trace of an agent; its answer is the last turn."""
    kind = 0.0 if pen.plain or pen.unseen else pen.random.random()
    who = words.name(pen) if pen.chance(0.5) else words.full_name(pen)
    relation = pen.word(list(RELATIONS)) if pen.chance(0.8) else pen.coined()
    value = str(RELATIONS.get(relation, words.word)(pen))
    tools = (
        USUAL if pen.plain or pen.chance(0.5) else pen.choice((["lookup[key]", "calc[expression]"], USUAL[:1], USUAL))
    )
    steps: list[tuple[str, str, str]] = []
    if kind < 0.4:
        asked = pen.ask(W["react asks"], r=relation, n=who)
        steps = [_found(pen, relation, who, value)]
    elif kind < 0.55:
        a, b, sign = pen.between(0, 99), pen.between(0, 99), pen.choice("+-*")
        if sign == "*":
            a, b = a % 13, b % 13
        a, b = max(a, b), min(a, b)
        value = str({"+": a + b, "-": a - b, "*": a * b}[sign])
        asked = pen.ask(W["computed"], e=pen.choice((f"{a} {sign} {b}", f"{a} {SPOKEN[sign]} {b}")))
        steps = [_computed(f"{a} {sign} {b}", value)]
    elif kind < 0.78:
        item, owner = f"{pen.word(words.COLORS)} {pen.word(words.THINGS)}", words.full_name(pen)
        asked = pen.ask(W["of the owner"], r=relation, o=item)
        steps = [_found(pen, "owner", f"the {item}", owner), _found(pen, relation, owner, value)]
    else:
        relation, n, m = pen.choice(("age", "score", "level", "number")), pen.between(1, 99), pen.between(1, 50)
        asked = pen.ask(W["plus"], m=m, r=relation, n=who)
        value = str(n + m)
        steps = [_found(pen, relation, who, str(n)), _computed(f"{n} + {m}", value)]
    if len(tools) == 1 and steps[-1][1].startswith("calc"):
        tools = USUAL
    head = TOOLS.format(t=", ".join(tools))
    if pen.chance(0.75):
        turns: Turns = [("user", f"{head}\nQuestion: {asked}")]
    else:
        turns = [("system", head), ("user", f"Question: {asked}")]
    role = "tool" if pen.chance(0.5) else "user"
    for thought, action, seen in steps:
        turns += [("assistant", f"Thought: {thought}\nAction: {action}"), (role, f"Observation: {seen}")]
    return [*turns, ("assistant", DONE.format(v=value))]


def _found(pen: Pen, relation: str, of: str, value: str) -> tuple[str, str, str]:
    seen = pen.write(W["seen"], r=relation, n=of, v=value)
    return f"I need the {relation} of {of}.", f"lookup[{relation} of {of}]", seen


def _computed(expression: str, value: str) -> tuple[str, str, str]:
    return f"I need to compute {expression}.", f"calc[{expression}]", value
