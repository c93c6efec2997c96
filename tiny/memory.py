"""Values that are remembered: of a table, of a text that is about nothing; and everything of one kind in a text."""

from __future__ import annotations

from tiny import words
from tiny.banks import banks
from tiny.pen import Pen, upper_first
from tiny.turns import Turns, said
from tiny.words import Maker, as_json

W = banks("memory")
EXTRA = banks("records")["extra"]


def recall(pen: Pen, entries: int = 0, rounds: int = 1) -> Turns:
    """A table of keys and values, and what is asked of it."""
    table: dict[str, str] = {}
    key: Maker = words.key
    value: Maker = words.anything
    if not pen.plain:
        key = pen.choice((words.key, words.key, _coined, words.code, _two_names, words.word))
        value = pen.choice((words.anything, words.anything, _coined, words.code, _digits, words.word))
    size = entries or pen.choice((4, 8, 16, 32, 64))
    while len(table) < size:
        table[str(key(pen))] = str(value(pen))
    line, between = pen.choice(TABLE_LINES[:3] if pen.plain else TABLE_LINES)
    shown = between.join([line.format(k=k, v=v) for k, v in table.items()])
    names = list(table)
    ahead = not pen.plain and pen.chance(0.2)
    turns = _ahead(pen, shown) if ahead else []
    for nth in range(rounds):
        wanted = pen.choice(names)
        asked = pen.ask(W["lookups"], k=wanted)
        if not nth and not ahead:
            asked = pen.write(W["tables"], t=shown, flat=shown.rstrip("."), q=asked)
        turns += said(asked, table[wanted])
    return turns


def _ahead(pen: Pen, shown: str) -> Turns:
    """The table in a system turn, or in turns behind one."""
    system = pen.write(W["table ahead"], t=shown)
    turns: Turns = [("system", system)]
    if not system.endswith(shown):
        lines = shown.split("\n")
        cut = pen.between(0, len(lines))
        turns += [("user", "\n".join(part)) for part in (lines[:cut], lines[cut:]) if part]
    return turns


TABLE_LINES = (
    ("{k}: {v}", "\n"), ("{k} = {v}", "\n"), ("- {k} -> {v}", "\n"), ("The {k} is {v}.", " "), ("the {k} is {v}", ", "),
    ("{k}: {v}", "; "), ("{k}: {v}", ", "), ("{k} {v}", "\n"),
)  # fmt: skip


def _coined(pen: Pen) -> str:
    return pen.coined()


def _digits(pen: Pen) -> str:
    return str(pen.between(1000, 9999))


def _two_names(pen: Pen) -> str:
    return f"{upper_first(pen.coined())} {words.last_name(pen)}"


def recalls(pen: Pen) -> Turns:
    return recall(pen, pen.choice((2, 3, 4, 8, 16, 32, 64)), rounds=pen.choice((1, 2, 4, 6)))


def long_recall(pen: Pen) -> Turns:
    """Some 1,500 tokens."""
    return recall(pen, 125)


def long_recalls(pen: Pen) -> Turns:
    return recall(pen, pen.choice((80, 100, 125)), rounds=8)


def filler(pen: Pen) -> str:
    return pen.write(
        W["fillers"], n=words.name(pen), m=words.name(pen), p=pen.word(words.PLACES), a=pen.word(words.ANIMALS),
        d=pen.word(words.ADJECTIVES), o=pen.word(words.THINGS), c=pen.word(words.COLORS),
        t=pen.choice(("morning", "evening", "night", "afternoon")), f=pen.word(words.FOOD),
    )  # fmt: skip


def needle(pen: Pen) -> Turns:
    """Codes in a text that is about nothing."""
    text = [filler(pen) for _ in range(pen.choice((5, 10, 20, 40, 60)))]
    codes = {
        pen.coined() if pen.chance(0.5) else words.name(pen): words.code(pen) if pen.chance(0.5) else words.word(pen)
        for _ in range(pen.between(1, 4))
    }
    for who, secret in codes.items():
        text.insert(pen.between(0, len(text)), f"The secret code of {who} is {secret}.")
    turns: Turns = []
    for who, secret in codes.items():
        asked = pen.ask(W["secret code"], k=who)
        turns += said(asked if turns else f"Read this text.\n{' '.join(text)}\n{asked}", secret)
    return turns


FOUND: dict[str, Maker] = {
    "emails": words.email,
    "dates": words.date,
    "names": words.full_name,
    "codes": lambda pen: pen.choice("ABCDEFG") + str(pen.between(100, 9999)),
    "cities": words.of(words.CITIES),
    "colors": words.of(words.COLORS),
    "numbers": words.number,
}


def find_all(pen: Pen) -> Turns:
    """Everything of one kind in a text."""
    kind = pen.choice(list(FOUND))
    got: list[str] = []
    text: list[str] = []
    for _ in range(pen.between(2, 7)):
        other = pen.choice(list(FOUND)) if pen.chance(0.6) else kind
        value = str(FOUND[other](pen))
        if other == kind and value not in got:
            got.append(value)
        elif other == "numbers" or (kind == "numbers" and any(map(str.isdigit, value))):
            continue
        text.append(pen.write(W[f"found {other}"], v=value))
    if pen.chance(0.2):
        text.insert(0, pen.write(EXTRA))
    asked = pen.ask(W["find all"], k=kind, x=" ".join(text))
    if pen.chance(0.5):
        return said(f"{asked} Answer as a JSON list.", as_json(got))
    return said(asked, ", ".join(got) or "none")
