"""Words and values that text is filled with. Every function takes a pen; what is unseen follows its manner."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from tiny.banks import banks, entries
from tiny.pen import Pen, upper_first

Value = str | int | Decimal | bool
Maker = Callable[[Pen], Value]
_ROWS = {entry.head: entry.rows() for entry in entries("vocabulary")}
BANKS = {head: " ".join(rows).split() for head, rows in _ROWS.items()}
FIRST, LAST, COLORS, ANIMALS, THINGS = (BANKS[head] for head in ("first", "last", "colors", "animals", "things"))
FRUIT, FOOD, JOBS, PLACES, DAYS = (BANKS[head] for head in ("fruit", "food", "jobs", "places", "days"))
MONTHS, ADJECTIVES, NOUNS, VERBS = (BANKS[head] for head in ("months", "adjectives", "nouns", "verbs"))
CAPITALS = dict(row.split(": ") for row in _ROWS["capitals"])
CITIES = [*CAPITALS.values(), *_ROWS["other cities"]]
WORDS = [*COLORS, *ANIMALS, *THINGS, *FRUIT, *FOOD, *JOBS, *PLACES, *NOUNS, *ADJECTIVES, *VERBS]
ENDS = "ing ed er tion ment ness able ly ful less ist ity ive al ship age ware work".split()


def name(pen: Pen) -> str:
    return pen.word(FIRST) if pen.chance(0.55) else upper_first(pen.coined())


def last_name(pen: Pen) -> str:
    return pen.word(LAST) if pen.chance(0.5) else upper_first(pen.coined())


def full_name(pen: Pen) -> str:
    return f"{name(pen)} {last_name(pen)}"


def person(pen: Pen) -> str:
    return full_name(pen) if pen.chance(0.8) else name(pen)


def city(pen: Pen) -> str:
    return pen.word(CITIES) if pen.chance(0.55) else upper_first(pen.coined())


def word(pen: Pen) -> str:
    kind = pen.random.random()
    if kind < 0.55:
        return pen.word(WORDS)
    return pen.coined() if kind < 0.9 else pen.coined(pen.choice((1, 2))) + pen.choice(ENDS)


W = banks("words")


def phrase(pen: Pen) -> str:
    """A few words, with or without sense."""
    if pen.chance(0.45):
        natural = pen.write(
            W["phrase"], a=pen.word(ADJECTIVES), n=pen.word(NOUNS), m=pen.word(NOUNS), p=pen.word(PLACES),
            i=pen.between(1, 20), w=pen.word(FIRST), v=pen.word(VERBS)
        )  # fmt: skip
        return articles(natural)
    return " ".join([word(pen) for _ in range(pen.between(2, 4))])


def title(pen: Pen) -> str:
    return upper_first(" ".join([word(pen) for _ in range(pen.between(1, 3))]))


def company(pen: Pen) -> str:
    head = upper_first(pen.coined() if pen.chance(0.7) else word(pen))
    return head + pen.choice(("", "", " Inc", " Ltd", " Group", " Labs", " Systems", " Corporation", " & Co"))


def code(pen: Pen) -> str:
    letters = "".join([pen.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(pen.between(1, 3))])
    kind = pen.between(0, 4)
    if kind == 0:
        return f"{pen.coined()}_{pen.between(1, 99)}"
    if kind == 1:
        return "".join([pen.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(pen.between(3, 7))]) + "X"
    return f"{letters}{pen.choice(('-', ''))}{pen.between(10, 9999)}"


def number(pen: Pen) -> int:
    return pen.between(0, pen.choice((9, 99, 99, 999, 9999)))


def amount(pen: Pen) -> Decimal:
    return Decimal(pen.between(1, pen.choice((999, 9999, 99999, 999999)))).scaleb(-pen.choice((1, 2, 2)))


def price(pen: Pen) -> int | Decimal:
    return pen.between(1, 999) if pen.chance(0.4) else amount(pen)


def email(pen: Pen) -> str:
    user = pen.word(FIRST).lower() if pen.chance(0.4) else pen.coined()
    user += pen.choice(("", "", ".", "_")) + pen.coined(1) if pen.chance(0.3) else ""
    return f"{user}@{pen.choice((pen.coined(), 'example', 'mail'))}.{pen.choice(('com', 'org', 'net', 'io'))}"


def phone(pen: Pen) -> str:
    kind = pen.between(0, 3)
    if kind == 0:
        return f"+{pen.between(1, 99)} {pen.between(100, 999)} {pen.between(1000, 9999)}"
    return f"{pen.between(100, 999)}-{pen.between(0, 9999):04d}"


def date(pen: Pen) -> str:
    if pen.chance(0.2):
        return f"{pen.choice(MONTHS)} {pen.between(1, 28)}"
    return f"{pen.between(1990, 2035)}-{pen.between(1, 12):02d}-{pen.between(1, 28):02d}"


def clock(pen: Pen) -> str:
    hour = pen.between(0, 23)
    return f"{hour if pen.chance(0.3) else f'{hour:02d}'}:{pen.choice((0, 5, 10, 15, 20, 30, 40, 45, 50)):02d}"


def path(pen: Pen) -> str:
    folder = pen.choice(("", "", "/", f"{pen.coined(1)}/"))
    return (
        folder + (pen.coined() if pen.chance(0.6) else word(pen)) + pen.choice((".txt", ".py", ".md", ".csv", ".log"))
    )


def thing(pen: Pen) -> str:
    return pen.word(THINGS) if pen.chance(0.6) else word(pen)


def key(pen: Pen) -> str:
    kind = pen.between(0, 6)
    if kind < 3:
        return pen.coined() if kind else word(pen)
    if kind == 3:
        return f"{word(pen)}_{word(pen)}".upper()
    return f"{word(pen)}{pen.choice('_- ')}{word(pen)}" if kind < 6 else code(pen)


def anything(pen: Pen) -> Value:
    return pen.choice((word, word, code, number, city, full_name, company, email, date, clock, phrase, amount))(pen)


def of(bank: Sequence[str]) -> Maker:
    return lambda pen: pen.word(bank)


def any_of(*options: str) -> Maker:
    """Of a few that all are known."""
    return lambda pen: pen.choice(options)


def within(low: int, high: int) -> Maker:
    return lambda pen: pen.between(low, high)


_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")


def articles(text: str) -> str:
    """With `an` where it is due."""
    return _ARTICLE.sub(r"\1n ", text)


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def plural(noun: str) -> str:
    if noun.endswith(("sh", "ch", "s", "x", "z")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else noun + "s"


def as_list(items: Sequence[str], last: str = " and ") -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + last + items[-1]


def as_json(value: object, compact: bool = False) -> str:
    """Like `json.dumps`, but that amounts keep the digits that they were written with."""
    comma, colon = (",", ":") if compact else (", ", ": ")
    match value:
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "{" + comma.join([f'"{k}"{colon}{as_json(v, compact)}' for k, v in value.items()]) + "}"  # pyright: ignore[reportUnknownVariableType]
        case list():
            return "[" + comma.join([as_json(item, compact) for item in value]) + "]"  # pyright: ignore[reportUnknownVariableType]
        case _:
            return str(value)


MAKERS: dict[str, Maker] = {
    make.__name__: make
    for make in (
        name, full_name, person, city, word, phrase, title, company, code, number, amount, price, email,
        phone, date, clock, path, thing, key, anything,
    )
}  # fmt: skip


def maker(said: str) -> Maker:
    """What a file of wordings calls so: `city`, `JOBS` (one of a bank), `1..99`, `up/down` (all known), some words."""
    low, dots, high = said.partition("..")
    if dots:
        return within(int(low), int(high))
    if "/" in said:
        return any_of(*said.split("/"))
    if " " in said:
        return of(said.split())
    return of(BANKS[said.lower()]) if said.isupper() else MAKERS[said]
