"""Sentences that tell something, each with what can be asked of it: events, and what things are like.

An event is who did what, perhaps where and when: in some tense and voice, its parts in some order. The rest are
statements about a person, a place, a thing or a firm, each with its own wordings. It knows nothing of documents.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiny.banks import Entry, banks, entries
from tiny.pen import Pen, begun, upper_first
from tiny.words import (
    ADJECTIVES,
    COLORS,
    DAYS,
    FOOD,
    JOBS,
    MONTHS,
    PLACES,
    THINGS,
    Maker,
    articles,
    city,
    clock,
    code,
    company,
    full_name,
    maker,
    name,
    with_article,
    word,
)  # fmt: skip

W = banks("facts")
Key = tuple[object, ...]


@dataclass(slots=True, frozen=True)
class Question:
    """`key` is the same for whatever else would answer it too."""

    key: Key
    wording: str
    answer: str


@dataclass(slots=True, frozen=True)
class Told:
    """A sentence, and what one may ask; the values are those of its wordings."""

    text: str
    questions: list[Question]
    values: dict[str, object]

    def asked(self, pen: Pen, question: Question) -> str:
        asked = pen.ask(question.wording, **self.values)
        if pen.plain or pen.unseen or not pen.chance(0.15):
            return asked
        return pen.write(W["wrapped"], q=asked)


def _verbs(text: str) -> list[tuple[str, str, str]]:
    """Base, past, participle: `write/wrote/written`, `find/found`, `clean`."""
    found: list[tuple[str, str, str]] = []
    for verb in text.split():
        base, *forms = verb.split("/")
        past = forms[0] if forms else base + ("d" if base.endswith("e") else "ed")
        found.append((base, past, forms[1] if len(forms) > 1 else past))
    return found


ACTIONS = _verbs(W["actions"])


def _thing(pen: Pen) -> str:
    kind = pen.random.random()
    if kind < 0.55:
        return f"the {pen.word(ADJECTIVES) if kind < 0.3 else pen.word(COLORS)} {word(pen)}"
    if kind < 0.8:
        return f"the {word(pen)} {word(pen)}"
    return f"the {word(pen)}" if kind < 0.9 else f"{with_article(pen.coined())} {word(pen)}"


def _who(pen: Pen) -> str:
    kind = pen.random.random()
    if kind < 0.75:
        return name(pen) if kind < 0.45 else full_name(pen)
    return company(pen) if kind < 0.9 else f"the {pen.word(JOBS)}"


def _when(pen: Pen) -> str:
    year, day, month = f"in {pen.between(1900, 2035)}", f"on {pen.choice(DAYS)}", f"in {pen.choice(MONTHS)}"
    return pen.choice((year, day, month, f"at {clock(pen)}"))


def event(pen: Pen, action: tuple[str, str, str] | None = None) -> Told:
    """Who did what, perhaps where and when; `action`: that they did."""
    base, past, done = action or pen.word(ACTIONS)
    who, what = _who(pen), _thing(pen)
    where = f"in {city(pen)}" if pen.chance(0.3) else f"in the {pen.word(PLACES)}" if pen.chance(0.4) else ""
    when = _when(pen) if pen.chance(0.5) else ""
    values: dict[str, object] = {"who": who, "what": what, "What": upper_first(what)}
    values |= {"base": base, "past": past, "done": done}
    text = pen.write(
        "{who} {past} {what}{where}{when}." if pen.plain or pen.chance(0.3) else W["shapes"],
        **values,
        where=f" {where}" if where else "",
        when=f" {when}" if when else "",
        When=f"{upper_first(when)}{pen.choice((', ', ' '))}" if when else "",
        adverb=f" {pen.write(W['adverbs'])}",
        aside=pen.write(W["aside"], j=pen.word(JOBS), c=city(pen), f=pen.word(FOOD)),
        aside2=pen.write(W["thing aside"], k=pen.word(COLORS)),
        other=pen.write(W["besides"], c=city(pen), a=with_article(pen.word(THINGS))),
    )  # fmt: skip
    text = articles(upper_first(text))
    questions = [Question((past, what), W["who"], who), Question((who, past), W["what"], what)]
    if where:
        questions.append(Question((who, past, what, "where"), W["where"], where))
    if when:
        questions.append(Question((who, past, what, "when"), W["when"], when))
    return Told(text, questions, values)


@dataclass(slots=True, frozen=True)
class Relation:
    """Statements, questions and the answer, with the makers of what they name; `of` are those that decide."""

    says: str
    asks: str
    answer: str
    of: str
    makers: dict[str, Maker]


def _color_thing(pen: Pen) -> str:
    return f"{pen.word(COLORS if pen.chance(0.7) else ADJECTIVES)} {pen.word(THINGS) if pen.chance(0.8) else word(pen)}"


def _proper(pen: Pen) -> str:
    return upper_first(pen.coined())


OWN: dict[str, Maker] = {
    "proper": _proper,
    "color_thing": _color_thing,
    "coined": Pen.coined,
    "secret": lambda pen: pen.coined() if pen.chance(0.5) else code(pen),
}


def _relation(entry: Entry) -> Relation:
    decides, _, made = entry.head.partition(": ")
    answer, _, of = decides.rpartition(" by ")
    pairs = [each.split(" ", 1) for each in made.split(", ")]
    makers = {letter: OWN[said] if said in OWN else maker(said) for letter, said in pairs}
    return Relation(entry.text(), entry.text("asks"), answer, of, makers)


RELATIONS = [_relation(entry) for entry in entries("relations", ("asks",))]
HOURS = {"opens": "open", "closes": "close", "shuts": "shut"}


def statement(pen: Pen, index: int | None = None) -> Told:
    """What something is like; `index`: of that relation."""
    index = int(pen.random.random() * len(RELATIONS)) if index is None else index
    relation = RELATIONS[index]
    values: dict[str, object] = {key: make(pen) for key, make in relation.makers.items()}
    text = articles(begun(pen.write(relation.says, **values), values.values()))
    asks = relation.asks
    if asks == "{q}":
        verb = next((base for said, base in HOURS.items() if said in text), "open")
        asks = W["hours"].replace("{verb}", verb)
    exact = set(relation.makers) == {*relation.of, relation.answer[relation.answer.index("{") + 1]}
    if exact and len(relation.of) == 1 and not pen.plain and not pen.unseen and pen.chance(0.15):
        asks = W["about"].replace("{x}", f"{{{relation.of}}}")
    key = (index, *(values[letter] for letter in relation.of))
    return Told(text, [Question(key, asks, relation.answer.format_map(values))], values)


def several(pen: Pen, count: int) -> list[Told]:
    """Of all kinds, or most of one, so that what differs is what they name."""
    kind = 0.0 if pen.plain else pen.random.random()
    action, index = (pen.word(ACTIONS), None) if kind > 0.85 else (None, int(pen.random.random() * len(RELATIONS)))
    alike = 0.7 if kind > 0.7 else 0.0
    found: list[Told] = []
    for _ in range(count):
        if pen.chance(alike):
            found.append(event(pen, action) if action else statement(pen, index))
        else:
            found.append(told(pen))
    return found


def told(pen: Pen) -> Told:
    return event(pen) if pen.chance(0.55) else statement(pen)
