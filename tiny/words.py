"""Words and values that text is filled with. Every function takes a pen; what is unseen follows its manner."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiny.pen import Pen, upper_first

Maker = Callable[[Pen], str | int | float]
FIRST = (
    "Ada Alan Amir Anna Ben Carla Chen Dana David Elena Emma Eric Fatima Finn Grace Hana Hugo Ivan Iris Jack Jane Kai "
    "Kate Lara Leo Lin Liam Lucy Maria Mark Mei Mia Nina Noah Nora Olga Omar Paul Priya Raj Rosa Ruth Sam Sara Tom Vera"
).split()
LAST = (
    "Ahmed Baker Brown Clark Costa Diaz Evans Fisher Garcia Green Hall Hill Ito Jones Kim King Lee Lopez Moore Nguyen "
    "Novak Okafor Patel Park Reed Rossi Sato Silva Smith Singh Stone Suzuki Tan Torres Walker Wang Weber White Young"
).split()
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Spain": "Madrid", "Italy": "Rome", "Austria": "Vienna", "Norway": "Oslo",
    "Portugal": "Lisbon", "Ireland": "Dublin", "Japan": "Tokyo", "China": "Beijing", "Egypt": "Cairo", "Peru": "Lima",
    "Greece": "Athens", "Poland": "Warsaw", "Kenya": "Nairobi", "Canada": "Ottawa", "Cuba": "Havana",
    "Denmark": "Copenhagen", "Finland": "Helsinki", "Sweden": "Stockholm", "Hungary": "Budapest", "India": "New Delhi",
    "Thailand": "Bangkok", "Turkey": "Ankara", "Ukraine": "Kyiv", "Vietnam": "Hanoi", "England": "London",
}  # fmt: skip
CITIES = [*CAPITALS.values(), *"Boston Chicago Denver Seattle Toronto Sydney Lagos Zurich Milan Lyon Osaka".split()]
COLORS = "red blue green yellow black white orange purple brown silver pink gray golden".split()
ANIMALS = "cat dog fox owl bear wolf duck frog goat horse mouse rabbit tiger whale lion sheep bird fish".split()
THINGS = "lamp book key cup map coin bell ring clock bag chair drum kite boat table phone camera guitar hat".split()
FOOD = "apple pear plum lemon mango peach cherry bread rice soup cheese cake pasta salad tea coffee milk honey".split()
JOBS = "teacher doctor pilot baker farmer nurse lawyer painter singer engineer chef writer driver gardener".split()
PLACES = "garden kitchen library market station forest tower office school museum park bridge harbor hotel".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
LANGUAGES = "English French German Spanish Italian Japanese Korean Chinese Arabic Portuguese".split()
ADJECTIVES = "small big old new bright dark quiet loud fast slow heavy light warm cold clean broken simple".split()
NOUNS = (
    "weather time price ticket user song room stock note door route report file task event message invoice account "
    "sensor alarm calendar contact record photo video recipe flight train meeting reminder server page article product "
    "review image network disk memory cache kernel thread module client token model prompt batch schedule"
).split()
VERBS = "get find set add book search send open check list count convert play order create update delete".split()
WORDS = [*COLORS, *ANIMALS, *THINGS, *FOOD, *JOBS, *PLACES, *NOUNS, *ADJECTIVES]


def name(pen: Pen) -> str:
    return pen.word(FIRST) if pen.chance(0.6) else upper_first(pen.coined())


def full_name(pen: Pen) -> str:
    return f"{name(pen)} {pen.word(LAST) if pen.chance(0.6) else upper_first(pen.coined())}"


def city(pen: Pen) -> str:
    return pen.word(CITIES) if pen.chance(0.6) else upper_first(pen.coined())


def word(pen: Pen) -> str:
    return pen.word(WORDS) if pen.chance(0.6) else pen.coined()


def phrase(pen: Pen) -> str:
    return " ".join(word(pen) for _ in range(pen.between(2, 4)))


def company(pen: Pen) -> str:
    return upper_first(pen.coined()) + pen.choice(["", " Inc", " Ltd", " Group", " Labs", " Systems"])


def code(pen: Pen) -> str:
    letters = "".join(pen.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(pen.between(2, 3)))
    return f"{letters}-{pen.between(10, 9999)}" if pen.chance(0.6) else f"{pen.coined()}_{pen.between(1, 99)}"


def number(pen: Pen) -> int:
    return pen.between(0, pen.choice([9, 99, 99, 999, 9999]))


def amount(pen: Pen) -> float:
    return round(pen.random.uniform(0, pen.choice([10, 1000, 10000])), pen.between(1, 2))


def email(pen: Pen) -> str:
    return f"{pen.coined()}@{pen.choice([pen.coined(), 'example', 'mail'])}.{pen.choice(['com', 'org', 'net', 'io'])}"


def phone(pen: Pen) -> str:
    return f"{pen.between(100, 999)}-{pen.between(0, 9999):04d}"


def date(pen: Pen) -> str:
    return f"{pen.between(1990, 2035)}-{pen.between(1, 12):02d}-{pen.between(1, 28):02d}"


def clock(pen: Pen) -> str:
    return f"{pen.between(0, 23):02d}:{pen.choice([0, 5, 10, 15, 20, 30, 40, 45, 50]):02d}"


def path(pen: Pen) -> str:
    return pen.coined() + pen.choice([".txt", ".py", ".md", ".csv"])


def key(pen: Pen) -> str:
    return pen.choice([pen.coined(), word(pen), f"{word(pen)}_{word(pen)}"])


def of(bank: Sequence[str]) -> Maker:
    return lambda pen: pen.word(bank)


def within(low: int, high: int) -> Maker:
    return lambda pen: pen.between(low, high)


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun
