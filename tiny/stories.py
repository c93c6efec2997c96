"""A story of something that is lost and found; what is asked about it, its sum, its outline."""

from __future__ import annotations

from tiny import words
from tiny.banks import banks
from tiny.pen import Pen
from tiny.turns import Turns, said
from tiny.words import with_article

W = banks("stories")


def story(pen: Pen) -> Turns:
    """A story, what is asked about it, or its sum."""
    hero, friend = words.name(pen), words.name(pen)
    animal, item, color = pen.word(words.ANIMALS), pen.word(words.THINGS), pen.word(words.COLORS)
    home, there = pen.word(words.PLACES), pen.word(words.PLACES)
    lost, kind = f"{with_article(color)} {item}", pen.choice(W["kind"].split())
    mood, when = pen.choice(W["mood"].split()), pen.choice(W["when"].split())
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
            return said(pen.ask(W["any story"]), text)
        return said(pen.ask(W["story asks"], n=hero, a=animal, aa=with_article(animal)), text)
    if shape < 0.7:
        answers = {"loser": hero, "hero": hero, "lost": lost, "helper": friend, "found": f"in the {home}", "felt": mood}
        asked = pen.some(list(answers.items()), 1)[:4]
        turns: Turns = []
        for about, due in asked:
            question = pen.ask(W[about], n=hero, o=item)
            turns += said(question if turns else f"{text}\n{question}", due)
        return turns
    if shape < 0.9:
        return said(pen.ask(W["summary"], t=text), f"{hero} lost {lost} and {friend} helped to find it in the {home}.")
    return said(pen.ask(W["outline"], n=hero), f"1. {hero} loses something.\n2. A friend helps.\n3. {hero} is happy.")
