"""Dialogues about what was read: JSON from text, questions about documents, values that are remembered.

A task takes a pen and returns turns (role, content); the last one, the assistant's, is what an answer is compared to.
Files beside this one have the other tasks. It knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from tiny import words
from tiny.banks import banks
from tiny.facts import Key, Question, Told, several, told
from tiny.pen import Pen, upper_first
from tiny.records import Record, record, renamed
from tiny.words import Value, as_json, as_list

W = banks("tasks")
EXTRA = banks("records")
Turns = list[tuple[str, str]]
UNKNOWN = "I do not know."


def extraction(pen: Pen) -> Turns:
    """Some fields of a record, under the names that are asked for."""
    fields, text = record(pen)
    chosen = {label: fields[label] for label in pen.some(list(fields))}
    if not pen.plain and pen.chance(0.15):
        chosen = _renamed(pen, chosen, fields)
    listed = list(chosen)
    kind = 0.0 if pen.plain else pen.random.random()
    if kind < 0.25:
        ask = pen.ask(W["plain asks"], k=", ".join(listed), s=text)
    elif kind < 0.42 and not pen.unseen:
        told = [pen.write(W["noise"]) for _ in range(3)]
        told[pen.between(0, 1)] += f" {pen.write(W['keys'], k=as_list(listed, pen.choice((' and ', ', '))))}"
        told[pen.between(1, 2)] += f" {pen.write(W['forms'])}"
        ask = pen.write(W["ahead" if pen.chance(0.5) else "behind"], a=" ".join(" ".join(told).split()), s=text)
    elif kind < 0.85:
        pen.kept = pen.unseen and pen.chance(0.5)
        shown = as_json(listed) if pen.chance(0.05) else as_list(listed, pen.choice((" and ", ", ")))
        form = pen.write(W["forms"])
        verb = pen.write(W["verbs"])
        told = pen.ask(
            W["asks"],
            v=verb,
            w=verb.lower() if verb[0] != "I" else verb,
            k=pen.write(W["keys"], k=shown),
            f=form,
            F=upper_first(form),
        )
        ask = pen.write(W["ahead"] if pen.chance(0.5) else W["behind"], a=told, s=text)
    elif kind < 0.93:
        types = {label: {"type": _type(value)} for label, value in chosen.items()}
        ask = pen.write(W["schema"], k=as_json({"type": "object", "properties": types, "required": listed}), s=text)
    else:
        return [
            ("user", pen.ask(W["compact"], k=", ".join(listed), s=text)),
            ("assistant", as_json(chosen, compact=True)),
        ]
    return [("user", ask), ("assistant", as_json(chosen))]


def _renamed(pen: Pen, chosen: Record, fields: Record) -> Record:
    """Under other names, as long as they are clear."""
    out: Record = {}
    for label, value in chosen.items():
        other = renamed(pen, label)
        out[label if other in fields or other in out else other] = value
    return out


def _type(value: Value) -> str:
    return "string" if isinstance(value, str) else "integer" if isinstance(value, int) else "number"


# ---- documents


def citation(pen: Pen, documents: int = 0, rounds: int = 1, cited: bool = True) -> Turns:
    """Questions about one of several documents each, answered with its number, or that nobody knows."""
    novel = pen.between(0, 2)  # what is unseen, if something is: documents, the head, questions
    pen.kept = pen.unseen and novel == 0
    shelf = several(pen, documents or pen.choice((2, 3, 4, 6, 8)))
    each = 1 if pen.plain or documents or pen.chance(0.7) else pen.choice((2, 3))
    found: dict[Key, tuple[Told, Question, int]] = {}
    double: set[Key] = set()
    lines: list[str] = []
    numbers = list(range(1, len(shelf) + 1))
    if not pen.plain and pen.chance(0.15):
        numbers = pen.random.sample(range(1, len(shelf) + 20), len(shelf))
    for number, start in zip(numbers, range(0, len(shelf), each), strict=False):
        for one in shelf[start : start + each]:
            for question in one.questions:
                if question.key in found:
                    double.add(question.key)
                found[question.key] = (one, question, number)
        lines.append(" ".join([one.text for one in shelf[start : start + each]]))
    askable = [entry for key, entry in found.items() if key not in double]
    if not askable:
        return citation(pen, documents, rounds, cited)
    shown = _numbered(pen, lines, numbers) if cited else " ".join(lines)
    turns: Turns = []
    pen.kept = pen.unseen and novel == 2
    head = W["heads"] if cited else W["reading"]
    inherited = not pen.plain and pen.chance(0.25)
    if inherited and not cited:
        turns = [("system", pen.write(W["text ahead"], t=shown))]
    elif inherited:
        turns = [
            ("system", "Documents:"),
            *([("user", shown)] if pen.chance(0.4) else [("user", line) for line in shown.split("\n")]),
        ]
    for nth in range(rounds):
        one, question, number = pen.choice(askable)
        answer = f"{question.answer} [{number}]" if cited else question.answer
        if pen.chance(0.1):
            one = _other(pen, found, one)
            question = one.questions[0]
            answer = UNKNOWN
        pen.kept = pen.unseen and novel == 2
        asked = one.asked(pen, question)
        pen.kept = pen.unseen and novel == 1
        if inherited:
            asked = f"Question: {asked}" if cited else asked
        else:
            asked = pen.write(W["later"], q=asked) if nth else pen.write(head, c=shown, q=asked)
        turns += [("user", asked), ("assistant", answer)]
    return turns


def _other(pen: Pen, found: dict[Key, tuple[Told, Question, int]], like: Told) -> Told:
    """Something that no document tells; now and then it is about somebody that they know."""
    while True:
        other = told(pen)
        if pen.chance(0.5) and "who" in other.values and "who" in like.values:
            other = Told(other.text, other.questions[1:2], {**other.values, "who": like.values["who"]})
            if (like.values["who"], other.values["past"]) not in found:
                return other
        elif all(question.key not in found for question in other.questions):
            return other


def _numbered(pen: Pen, lines: list[str], numbers: list[int]) -> str:
    style = (
        "[{n}] {t}"
        if pen.plain
        else pen.choice(("[{n}] {t}", "[{n}] {t}", "[{n}] {t}", "Document [{n}]: {t}", "[{n}] ({w}) {t}"))
    )
    return "\n".join(
        [style.format(n=n, t=line, w=upper_first(words.word(pen))) for n, line in zip(numbers, lines, strict=False)]
    )


def citations(pen: Pen) -> Turns:
    return citation(pen, rounds=pen.choice((1, 2, 3, 4)))


def many_citations(pen: Pen) -> Turns:
    return citation(pen, 24)


def shelf(pen: Pen) -> Turns:
    return citation(pen, pen.choice((12, 16, 20, 24, 28)), rounds=pen.choice((2, 3, 4, 6)))


def reading(pen: Pen) -> Turns:
    """Questions about a text whose parts have no numbers."""
    return citation(pen, pen.choice((1, 2, 3, 4, 6)), rounds=pen.choice((1, 1, 2, 3)), cited=False)


# ---- what is remembered
Maker = Callable[[Pen], Value]


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
    line, between = pen.choice(
        (("{k}: {v}", "\n"), ("{k} = {v}", "\n"), ("- {k} -> {v}", "\n")) if pen.plain else TABLE_LINES
    )
    shown = between.join([line.format(k=k, v=v) for k, v in table.items()])
    shown_flat = shown.rstrip(".")
    names = list(table)
    turns: Turns = []
    system = not pen.plain and pen.chance(0.2)
    if system:
        turns.append(("system", pen.write(W["table ahead"], t=shown)))
        if not turns[0][1].endswith(shown):
            lines = shown.split("\n")
            cut = pen.between(0, len(lines))
            turns += [("user", "\n".join(part)) for part in (lines[:cut], lines[cut:]) if part]
    for nth in range(rounds):
        wanted = pen.choice(names)
        asked = pen.ask(W["lookups"], k=wanted)
        turns += [
            ("user", asked if nth or system else pen.write(W["tables"], t=shown, flat=shown_flat, q=asked)),
            ("assistant", table[wanted]),
        ]
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
        W["fillers"], n=words.name(pen), m=words.name(pen), p=pen.word(words.PLACES),
        a=pen.word(words.ANIMALS),
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
        turns += [("user", asked if turns else f"Read this text.\n{' '.join(text)}\n{asked}"), ("assistant", secret)]
    return turns


FOUND: dict[str, tuple[Maker, str]] = {
    "emails": (words.email, "Write to {v}.|[Send it|Mail it] to {v}.|The address is {v}."),
    "dates": (words.date, "It happened on {v}.|[We met|They came] on {v}."),
    "names": (words.full_name, "{v} was there.|[We met|I saw] {v}."),
    "codes": (lambda pen: pen.choice("ABCDEFG") + str(pen.between(100, 9999)), "The code is {v}.|Use {v} to get in."),
    "cities": (words.of(words.CITIES), "We went to {v}.|[It rained|They live] in {v}."),
    "colors": (words.of(words.COLORS), "The book was {v}.|[She likes|They painted it] {v}."),
    "numbers": (words.number, "We counted {v}.|There were {v} of them."),
}


def find_all(pen: Pen) -> Turns:
    """Everything of one kind in a text."""
    kind = pen.choice(list(FOUND))
    got: list[str] = []
    text: list[str] = []
    for _ in range(pen.between(2, 7)):
        other = pen.choice(list(FOUND)) if pen.chance(0.6) else kind
        make, says = FOUND[other]
        value = str(make(pen))
        if other == kind and value not in got:
            got.append(value)
        elif other == "numbers" or (kind == "numbers" and any(map(str.isdigit, value))):
            continue
        text.append(pen.write(says, v=value))
    if pen.chance(0.2):
        text.insert(0, pen.write(EXTRA["extra"]))
    asked = pen.ask(W["find all"], k=kind, x=" ".join(text))
    if pen.chance(0.5):
        return [("user", f"{asked} Answer as a JSON list."), ("assistant", as_json(got))]
    return [("user", asked), ("assistant", ", ".join(got) or "none")]
