"""Small talk: greetings, what the model is, capitals, names that are remembered, stories; and what it does not know."""

from __future__ import annotations

from tiny import words
from tiny.banks import banks, entries
from tiny.pen import Pen, upper_first
from tiny.tasks import Turns
from tiny.words import with_article

W = banks("talk")
NO_IDEA = "I am a very small model and I do not know that."
CONCEPTS = {entry.text(): entry.head for entry in entries("concepts")}
TALK = {entry.text(): entry.head for entry in entries("answers")}
"""What is said, and the answer to it."""


def talk(pen: Pen) -> Turns:
    kind = pen.random.random()
    if kind < 0.16:
        return capital(pen)
    if kind < 0.34:
        return remembered(pen)
    if kind < 0.48:
        return unknown(pen)
    if kind < 0.62:
        what = pen.choice(list(CONCEPTS))
        said = pen.write(what)
        return [("user", pen.ask(W["explain"], w=said, W=upper_first(said))), ("assistant", CONCEPTS[what])]
    asked = pen.choice(list(TALK)) if pen.chance(0.7) else pen.choice(list(TALK)[:6])
    text = pen.ask(asked)
    if not pen.plain and pen.chance(0.12) and text.endswith("?"):
        text = pen.write(W["before"]) + text[0].lower() + text[1:]
    return [("user", text), ("assistant", TALK[asked])]


def capital(pen: Pen) -> Turns:
    country = pen.choice(list(words.CAPITALS))
    typed = country.lower() if not pen.plain and pen.chance(0.12) else country
    return [
        ("user", pen.ask(W["capital asks"], c=typed)),
        ("assistant", f"The capital of {country} is {words.CAPITALS[country]}."),
    ]


def unknown(pen: Pen) -> Turns:
    what = pen.write(W["subjects"], w=pen.choice((words.word, words.phrase, words.word))(pen))
    asked = pen.ask(W["unknown asks"], w=what, a=pen.word(words.ADJECTIVES), y=pen.between(1800, 2030))
    return [("user", asked), ("assistant", NO_IDEA)]


def remembered(pen: Pen) -> Turns:
    """A name, a city or a color, asked for at once or some turns later."""
    kind = pen.between(0, 5)
    if kind < 4:
        who = words.name(pen) if pen.chance(0.7) else words.full_name(pen)
        told, reply, due = pen.ask(W["named"], n=who), f"Nice to meet you, {who}!", f"Your name is {who}."
        asked = pen.ask(W["name asks"])
    elif kind == 4:
        where = words.city(pen)
        told, reply, due = (
            pen.ask(W["home told"], c=where),
            f"{where} sounds like a nice place.",
            f"You are from {where}.",
        )
        asked = pen.ask(W["home asked"])
    else:
        color = pen.word(words.COLORS)
        told, reply, due = (
            pen.ask(W["color told"], c=color),
            f"{upper_first(color)} is a nice color.",
            f"You like {color}.",
        )
        asked = pen.ask(W["color asked"])
    if kind < 4 and pen.chance(0.06):
        return [("user", asked), ("assistant", "I do not know your name.")]
    if kind < 4 and pen.chance(0.3):
        return [("user", f"{told.rstrip('.!')}. {upper_first(asked)}"), ("assistant", due)]
    turns: Turns = [("user", told), ("assistant", reply)]
    for _ in range(0 if pen.plain else pen.choice((0, 0, 1, 1, 2))):
        other = pen.choice(list(TALK)) if pen.chance(0.7) else ""
        if other:
            turns += [("user", pen.ask(other)), ("assistant", TALK[other])]
        else:
            turns += capital(pen)
    return [*turns, ("user", asked), ("assistant", due)]


def story(pen: Pen) -> Turns:
    """A story, what is asked about it, or its sum."""
    hero, friend = words.name(pen), words.name(pen)
    animal, item, color = pen.word(words.ANIMALS), pen.word(words.THINGS), pen.word(words.COLORS)
    home, there = pen.word(words.PLACES), pen.word(words.PLACES)
    lost, kind, mood = (
        f"{with_article(color)} {item}",
        pen.choice("small kind brave quiet old young".split()),
        pen.choice("happy sad tired proud curious".split()),
    )
    when = pen.choice(("morning", "evening", "day", "night"))
    gift = with_article(pen.word(words.FRUIT))
    text = (
        f"{hero} was {with_article(kind)} {animal} who lived near the {home}. One {when} {hero} lost {lost}. "
        f"{hero} looked in the {there} but the {item} was not there. Then {friend} came and said: "
        f'"I saw your {item} in the {home}." They walked to the {home} together and found the {color} {item}. '
        f"{hero} was {mood} and gave {friend} {gift}."
    )
    shape = pen.random.random()
    if shape < 0.4:
        if pen.chance(0.15):
            return [("user", pen.ask(W["any story"])), ("assistant", text)]
        return [("user", pen.ask(W["story asks"], n=hero, a=animal, aa=with_article(animal))), ("assistant", text)]
    if shape < 0.7:
        asked = pen.some([
            ("Who lost the {o}?|Whose {o} was lost?", hero),
            ("Who is the story about?|[What|Who] is this about?", hero),
            ("What did {n} lose?|What was lost[ by {n}|]?", lost),
            ("Who helped {n}?|Who [came|found out where it was]?", friend),
            ("Where did they find it?|Where was the {o}[ found|]?", f"in the {home}"),
            ("How did {n} feel[ in the end|]?", mood),
        ], 1)[:4]  # fmt: skip
        turns: Turns = []
        for wording, due in asked:
            question = pen.ask(wording, n=hero, o=item)
            turns += [("user", question if turns else f"{text}\n{question}"), ("assistant", due)]
        return turns
    if shape < 0.9:
        return [
            ("user", pen.ask(W["summary"], t=text)),
            ("assistant", f"{hero} lost {lost} and {friend} helped to find it in the {home}."),
        ]
    return [
        ("user", pen.ask(W["outline"], n=hero)),
        ("assistant", f"1. {hero} loses something.\n2. A friend helps.\n3. {hero} is happy."),
    ]


# ---- agents that think aloud
TOOLS = "Answer the question with the tools {t} and finish[answer]."
USUAL = ["lookup[key]", "search[text]", "calc[expression]"]
DONE = "Thought: I have the answer.\nAction: finish[{v}]"
RELATIONS: dict[str, words.Maker] = {
    "age": words.within(1, 99),
    "job": words.of(words.JOBS),
    "city": words.city,
    "email": words.email,
    "boss": words.full_name,
    "password": lambda pen: pen.coined(),
    "phone": words.phone,
}


def react(pen: Pen) -> Turns:
    """The whole trace of an agent; its answer is the last turn."""
    kind = 0.0 if pen.plain or pen.unseen else pen.random.random()
    who = words.name(pen) if pen.chance(0.5) else words.full_name(pen)
    relation = pen.word(list(RELATIONS)) if pen.chance(0.8) else pen.coined()
    value = str(RELATIONS.get(relation, words.word)(pen))
    tools = (
        USUAL
        if pen.plain or pen.chance(0.5)
        else pen.choice((["lookup[key]", "calc[expression]"], ["lookup[key]"], USUAL))
    )
    steps: list[tuple[str, str, str]] = []
    find = "lookup"
    if kind < 0.4:
        asked = pen.ask(W["react asks"], r=relation, n=who)
        steps = [_found(pen, find, relation, who, value)]
    elif kind < 0.55:
        a, b, sign = pen.between(0, 99), pen.between(0, 99), pen.choice("+-*")
        if sign == "*":
            a, b = a % 13, b % 13
        a, b = max(a, b), min(a, b)
        value = str({"+": a + b, "-": a - b, "*": a * b}[sign])
        asked = pen.ask(
            W["computed"],
            e=pen.choice(
                (f"{a} {sign} {b}", f"{a} {dict(zip('+-*', ('plus', 'minus', 'times'), strict=True))[sign]} {b}")
            ),
        )
        steps, tools = [_computed(f"{a} {sign} {b}", value)], USUAL if len(tools) == 1 else tools
    elif kind < 0.78:
        item, owner = f"{pen.word(words.COLORS)} {pen.word(words.THINGS)}", words.full_name(pen)
        asked = pen.ask(W["of the owner"], r=relation, o=item)
        steps = [_found(pen, find, "owner", f"the {item}", owner), _found(pen, find, relation, owner, value)]
    else:
        relation, n, m = pen.choice(("age", "score", "level", "number")), pen.between(1, 99), pen.between(1, 50)
        asked = pen.ask(W["plus"], m=m, r=relation, n=who)
        value = str(n + m)
        steps, tools = (
            [_found(pen, find, relation, who, str(n)), _computed(f"{n} + {m}", value)],
            USUAL if len(tools) == 1 else tools,
        )
    head = TOOLS.format(t=", ".join(tools))
    if pen.chance(0.75):
        turns: Turns = [("user", f"{head}\nQuestion: {asked}")]
    else:
        turns = [("system", head), ("user", f"Question: {asked}")]
    role = "tool" if pen.chance(0.5) else "user"
    for thought, action, seen in steps:
        turns += [("assistant", f"Thought: {thought}\nAction: {action}"), (role, f"Observation: {seen}")]
    return [*turns, ("assistant", DONE.format(v=value))]


def _found(pen: Pen, tool: str, relation: str, of: str, value: str) -> tuple[str, str, str]:
    return (
        f"I need the {relation} of {of}.",
        f"{tool}[{relation} of {of}]",
        pen.write(W["seen"], r=relation, n=of, v=value),
    )


def _computed(expression: str, value: str) -> tuple[str, str, str]:
    return f"I need to compute {expression}.", f"calc[{expression}]", value
