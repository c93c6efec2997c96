"""Words and values that text is filled with. Every function takes a pen; what is unseen follows its manner."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from tiny.banks import banks
from tiny.pen import Pen, upper_first

Value = str | int | Decimal | bool
Maker = Callable[[Pen], Value]
FIRST = (
    "Ada Alan Amir Anna Bo Ben Carla Chen Dana David Elena Emma Eric Fatima Finn Grace Hana Hugo Ivan Iris Jack Jane "
    "Jin Kai Kate Lara Leo Lin Liam Lucy Maria Mark Mei Mia Nina Noah Nora Olga Omar Paul Priya Raj Rosa Ruth Sam Sara "
    "Sofia Tom Uma Vera Will Yuki Zoe Alice Bob Peter John Mary Susan James Linda"
).split()
LAST = (
    "Ahmed Baker Brandt Brown Clark Costa Diaz Evans Fisher Garcia Green Hall Hill Ito Jones Kim King Lee Lopez Moore "
    "Nguyen Novak Okafor Park Patel Reed Rossi Sato Silva Smith Singh Stone Suzuki Tan Torres Walker Wang Weber Young"
).split()
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Spain": "Madrid", "Italy": "Rome", "Austria": "Vienna", "Norway": "Oslo",
    "Portugal": "Lisbon", "Ireland": "Dublin", "Japan": "Tokyo", "South Korea": "Seoul", "China": "Beijing",
    "Egypt": "Cairo", "Peru": "Lima", "Greece": "Athens", "Poland": "Warsaw", "Kenya": "Nairobi", "Canada": "Ottawa",
    "Australia": "Canberra", "Brazil": "Brasilia", "Chile": "Santiago", "Cuba": "Havana", "Denmark": "Copenhagen",
    "Finland": "Helsinki", "Sweden": "Stockholm", "Hungary": "Budapest", "India": "New Delhi", "Thailand": "Bangkok",
    "Turkey": "Ankara", "Ukraine": "Kyiv", "Vietnam": "Hanoi", "England": "London", "Mexico": "Mexico City",
    "Argentina": "Buenos Aires", "Belgium": "Brussels", "Switzerland": "Bern",
}  # fmt: skip
CITIES = [
    *CAPITALS.values(),
    *"Boston Chicago Denver Seattle Toronto Sydney Lagos Zurich Geneva Milan Munich Lyon Osaka Mumbai Dallas".split(),
    *("San Francisco", "New York", "Los Angeles", "Cape Town", "Porto Alegre"),
]
COLORS = "red blue green yellow black white orange purple brown silver pink gray golden".split()
ANIMALS = (
    "cat dog fox owl bear wolf duck frog goat horse mouse rabbit tiger whale lion sheep bird fish snake pig".split()
)
THINGS = (
    "lamp book key cup map coin bell box ring clock bag chair drum kite boat stone table phone laptop camera bicycle "
    "umbrella guitar pencil mirror bottle hat scarf watch radio"
).split()
FRUIT = "apple pear plum grape lemon mango peach banana cherry melon orange fig".split()
FOOD = "bread rice soup cheese cake pasta pizza salad tea coffee milk honey butter egg".split()
JOBS = (
    "teacher doctor pilot baker farmer nurse lawyer painter singer engineer chef writer driver gardener dentist actor"
).split()
PLACES = (
    "garden kitchen library market station forest river tower cave office school museum park bridge harbor castle "
    "hospital hotel"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
UNITS = (
    "meters kilometers miles feet grams kilograms pounds liters hours minutes celsius fahrenheit euros dollars".split()
)
LANGUAGES = "English French German Spanish Italian Japanese Korean Chinese Arabic Portuguese Dutch Polish".split()
ADJECTIVES = (
    "small big old new bright dark quiet loud fast slow heavy light warm cold clean broken simple kind brave happy sad "
    "tired proud curious modern shiny young long short strong empty full early late safe wet dry soft hard rare"
).split()
NOUNS = (
    "weather time price ticket user song room stock note door route report file task event message invoice account "
    "sensor alarm calendar contact record photo video recipe flight train meeting reminder server page article product "
    "review image network disk memory cache kernel thread module client token model prompt batch schedule printer "
    "screen keyboard window button menu login battery wheel road house garage wall roof engine motor cable "
    "letter parcel package story poem movie film game team player coach school class lesson test exam answer question "
    "water fire air earth sun moon star rain snow wind storm sea lake hill island beach city town street country world "
    "people child friend family mother father boss group party market shop store bank money cash bill tax cost "
    "paper pen desk shelf floor stairs bed bath oven fridge plate spoon knife shirt shoe coat glove bus car truck bike"
).split()
VERBS = (
    "get find set add book search send open check list count convert play order create update delete fetch start stop "
    "read write run show remove move copy print share save load close call plan repair"
).split()
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


BANKS = {
    "JOBS": JOBS, "PLACES": PLACES, "COLORS": COLORS, "ANIMALS": ANIMALS, "THINGS": THINGS, "FOOD": FOOD,
    "MONTHS": MONTHS, "DAYS": DAYS, "LANGUAGES": LANGUAGES, "UNITS": UNITS,
}  # fmt: skip
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
    return of(BANKS[said]) if said in BANKS else MAKERS[said]
