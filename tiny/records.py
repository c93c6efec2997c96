"""Records, and text that tells them: things with fields, each field with the ways in which it is said.

A description names its thing once or in every sentence; fields are told by verb phrases, by what stands beside a name
(`aged 31`), by their labels (`whose port is 80`, `Port: 80`), in any order and any number of sentences. It knows
nothing of what is asked about a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tiny.banks import banks, entries
from tiny.facts import event
from tiny.pen import Pen, begun, upper_first
from tiny.words import (
    Maker,
    Value,
    amount,
    anything,
    articles,
    as_list,
    company,
    key,
    last_name,
    maker,
    name,
    phrase,
    title,
    word,
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class Field:
    """`says`: verb phrases behind the thing; `beside`: what stands beside its name, if there is something."""

    make: Maker
    says: str
    beside: str = ""


def _hotel(pen: Pen) -> str:
    return f"Hotel {last_name(pen)}"


def _rating(pen: Pen) -> Decimal:
    return amount(pen) % 10


def _ip(pen: Pen) -> str:
    return ".".join([str(pen.between(0, 255)) for _ in range(4)])


def _recipe(pen: Pen) -> str:
    return title(pen).lower()


def _address(pen: Pen) -> str:
    return f"{pen.between(1, 199)} {last_name(pen)} Street"


OWN: dict[str, Maker] = {"hotel": _hotel, "rating": _rating, "ip": _ip, "recipe": _recipe, "address": _address}


def _maker(said: str) -> Maker:
    return OWN[said] if said in OWN else maker(said)


def _fields() -> dict[str, Field]:
    found: dict[str, Field] = {}
    for entry in entries("fields", ("beside",)):
        label, said = entry.head.split(", ")
        found[label] = Field(_maker(said), entry.text(), entry.text("beside"))
    return found


W = banks("records")
FIELDS = _fields()
SUBJECTS = {
    label: (_maker(said), entry.text()) for entry in entries("subjects") for label, said in [entry.head.split(", ")]
}
KINDS = [row.split() for row in entries("kinds")[0].rows()]
WHOLE = banks("whole")
ALIASES = banks("keys")
"""Other keys that one may ask for."""
MAKERS = {label: field.make for label, field in FIELDS.items()} | {label: make for label, (make, _) in SUBJECTS.items()}
LINKS = {"city": "in", "job": "as a", "date": "on", "phone": "at"}
"""Before a value, where the verb is none."""
Record = dict[str, Value]


def record(pen: Pen) -> tuple[Record, str]:
    """A thing's fields, and text that tells all of them."""
    kind = pen.random.random()
    if kind < (1.0 if pen.plain else 0.2):
        labels = pen.choice(list(WHOLE))
        fields = {label: MAKERS[label](pen) for label in labels.split()}
        return fields, pen.write(WHOLE[labels], **fields)
    if kind < 0.45:
        return listed(pen)
    labels = pen.choice(KINDS)
    subject, *others = labels[0], *pen.some(labels[1:], 2)
    make, shown = SUBJECTS[subject]
    fields = {subject: make(pen), **{label: FIELDS[label].make(pen) for label in others}}
    return fields, described(pen, subject, pen.write(shown, v=fields[subject]), fields)


def described(pen: Pen, subject: str, shown: str, fields: Record) -> str:
    """Sentences that tell all fields of a thing that is called `shown`."""
    pronoun = pen.choice(("He", "She")) if subject in ("name", "guest", "student", "player") else "It"
    relative = "which" if pronoun == "It" else "who"
    told = pen.shuffled([label for label in fields if label != subject])
    beside: list[str] = []
    if pen.chance(0.5):
        while told and len(beside) < 2 and FIELDS[told[0]].beside and pen.chance(0.6):
            label = told.pop(0)
            beside.append(pen.write(FIELDS[label].beside, v=fields[label]))
    numbers = sum(not isinstance(value, str) for value in fields.values())
    clauses = [_clause(pen, label, fields[label], numbers == 1) for label in told]
    head = shown
    if beside:
        head += f", {', '.join(beside)}," if pen.chance(0.6) else f" ({', '.join(beside)})"
    if not clauses:
        return head.rstrip(",") + "."
    shape = pen.between(0, 4)
    if len(clauses) == 1 or shape == 0:
        text = f"{head} {as_list(clauses, pen.choice((' and ', ', and ', ' but ')))}."
    elif shape == 1 and not beside:
        text = f"{shown}, {relative} {clauses[0]}, {as_list(clauses[1:])}."
    elif shape == 2:
        text = f"{head} {clauses[0]}. " + " ".join(
            f"{pen.choice((pronoun, pronoun, shown))} {pen.choice(('', '', 'also '))}{clause}."
            for clause in clauses[1:]
        )
    elif shape == 3:
        text = pen.write(W["presented"])
        named = shown[0].lower() + shown[1:] if shown.startswith(("The ", "Our ")) else shown
        text += f" {named}, {relative} {as_list(clauses)}."
        if beside:
            text += f" ({', '.join(beside)})"
    else:
        cut = pen.between(1, len(clauses) - 1)
        text = f"{head} {as_list(clauses[:cut])}. {pronoun} {as_list(clauses[cut:])}."
    return _surrounded(pen, upper_first(text))


def _clause(pen: Pen, label: str, value: Value, alone: bool) -> str:
    """A verb phrase for a field: one of its own, one with its label, or one that says nothing, if the value says it
    all; `alone`: there is one number only."""
    kind = pen.random.random()
    if kind < 0.18:
        return pen.write(W["by label"], label=label.replace("_", " "), v=value)
    if kind < 0.27 and isinstance(value, str) and ("@" in value or ":" in value or label in LINKS):
        link = LINKS.get(label, "at" if label in ("time", "email") else "in")
        return f"{pen.coined()}{pen.choice(('ed', 's'))} {link} {value}"
    if kind < 0.3 and alone and not isinstance(value, str):
        return pen.write("{z}s {v}|{z} {z} {v}|has {v} {z}s|{z}s {v} {z}s|is {z} {v}", v=value)
    text = pen.write(FIELDS[label].says, v=value)
    if pen.chance(0.08):
        text += pen.write(" [again|now|for sure|by the way|as far as I know|of course|as always|~once more]")
    return articles(text) if label in ("job", "item", "species", "product") else text


def _surrounded(pen: Pen, text: str) -> str:
    """With a sentence or two that have nothing to do with it."""
    if pen.plain or pen.chance(0.6):
        return text
    other = pen.write(W["extra"]) if pen.chance(0.5) else event(pen).text
    return f"{text} {other}" if pen.chance(0.5) else f"{other} {text}"


def listed(pen: Pen) -> tuple[Record, str]:
    """Fields with their labels: those of a kind, or any, with names that nobody has seen."""
    if pen.chance(0.4):
        labels = pen.some(pen.choice(KINDS), 2)
        fields: Record = {label: MAKERS[label](pen) for label in labels}
    else:
        fields = {key(pen): anything(pen) for _ in range(pen.between(2, 5))}
    shown = {
        label.replace("_", " ") if label in MAKERS and pen.chance(0.7) else label: value
        for label, value in fields.items()
    }
    kind = pen.between(0, 8)
    if kind < 3:
        start, between, end = (("", ": ", "\n"), ("", " = ", "\n"), ("- ", ": ", "\n"))[kind]
        lines = [
            f"{start}{upper_first(label) if pen.chance(0.3) else label}{between}{value}"
            for label, value in shown.items()
        ]
        return fields, end.join(lines)
    if kind == 3:
        return fields, pen.choice(("; ", ", ", " | ")).join(
            [f"{label}{pen.choice((': ', ' '))}{value}" for label, value in shown.items()]
        )
    noun = pen.choice((word, company, name, phrase))(pen)
    one = pen.write(W["labeled"], l="{l}", v="{v}", n=noun)
    if kind < 7:
        return fields, " ".join([begun(one.format(l=label, v=value), [label, value]) for label, value in shown.items()])
    links = pen.choice(
        ("with {l} {v}", "whose {l} is {v}", "with a {l} of {v}", "where the {l} is {v}", "that has {l} {v}")
    )
    parts = articles(as_list([links.format(l=label, v=value) for label, value in shown.items()]))
    return fields, pen.write(W["seen"], n=noun, p=parts)


def renamed(pen: Pen, label: str) -> str:
    """A key that somebody may ask for instead of a label."""
    return pen.choice(ALIASES[label].split()) if label in ALIASES else label
