"""Small talk: greetings, what the model is, capitals, names that are remembered; and what it does not know."""

from __future__ import annotations

from tiny import words
from tiny.banks import banks, entries
from tiny.pen import Pen, upper_first
from tiny.turns import Turns, said

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
        named = pen.write(what)
        return said(pen.ask(W["explain"], w=named, W=upper_first(named)), CONCEPTS[what])
    asked = pen.choice(list(TALK)) if pen.chance(0.7) else pen.choice(list(TALK)[:6])
    text = pen.ask(asked)
    if not pen.plain and pen.chance(0.12) and text.endswith("?"):
        text = pen.write(W["before"]) + text[0].lower() + text[1:]
    return said(text, TALK[asked])


def answered(pen: Pen) -> Turns:
    """What has one answer."""
    asked = pen.choice(list(TALK))
    return said(pen.ask(asked), TALK[asked])


def capital(pen: Pen) -> Turns:
    country = pen.choice(list(words.CAPITALS))
    typed = country.lower() if not pen.plain and pen.chance(0.12) else country
    return said(pen.ask(W["capital asks"], c=typed), f"The capital of {country} is {words.CAPITALS[country]}.")


def unknown(pen: Pen) -> Turns:
    what = pen.write(W["subjects"], w=pen.choice((words.word, words.phrase, words.word))(pen))
    asked = pen.ask(W["unknown asks"], w=what, a=pen.word(words.ADJECTIVES), y=pen.between(1800, 2030))
    return said(asked, NO_IDEA)


def remembered(pen: Pen) -> Turns:
    """A name, a city or a color, asked for at once or some turns later."""
    kind = pen.between(0, 5)
    if kind < 4:
        who = words.name(pen) if pen.chance(0.7) else words.full_name(pen)
        told = pen.ask(W["named"], n=who)
        reply, due = f"Nice to meet you, {who}!", f"Your name is {who}."
        asked = pen.ask(W["name asks"])
    elif kind == 4:
        where = words.city(pen)
        told = pen.ask(W["home told"], c=where)
        reply, due = f"{where} sounds like a nice place.", f"You are from {where}."
        asked = pen.ask(W["home asked"])
    else:
        color = pen.word(words.COLORS)
        told = pen.ask(W["color told"], c=color)
        reply, due = f"{upper_first(color)} is a nice color.", f"You like {color}."
        asked = pen.ask(W["color asked"])
    if kind < 4 and pen.chance(0.06):
        return said(asked, "I do not know your name.")
    if kind < 4 and pen.chance(0.3):
        return said(f"{told.rstrip('.!')}. {upper_first(asked)}", due)
    turns: Turns = said(told, reply)
    for _ in range(0 if pen.plain else pen.choice((0, 0, 1, 1, 2))):
        turns += answered(pen) if pen.chance(0.7) else capital(pen)
    return [*turns, *said(asked, due)]
