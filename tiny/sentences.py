"""Sentences by a small grammar, about one thing (a record of fields) or one event (who did what, where, when).

A description has its subject once and a verb phrase for each other field; phrases are put in any order, joined,
made into a relative clause, or a sentence each. An event has an order of its parts, a voice, and the questions that
can be asked of it. It knows nothing of the tasks that use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tiny import words
from tiny.pen import Manner, Pen, upper_first

ACTIONS = [
    pair.split("/")
    for pair in (
        "use/used store/stored build/built find/found sell/sold buy/bought paint/painted repair/repaired visit/visited "
        "clean/cleaned open/opened close/closed lose/lost carry/carried design/designed send/sent receive/received "
        "invent/invented keep/kept move/moved test/tested check/checked load/loaded publish/published follow/followed"
    ).split()
]
ASIDES = ["of course", "as far as I know", "by the way", "I think", "as they say", "it seems"]
ADVERBS = ["yesterday", "again", "quickly", "at once", "with care", "for now", "once more", "in the end"]
FILLERS = [
    "It was a nice day.",
    "Nothing else changed.",
    "More will follow.",
    "That is all for now.",
    "So much for that.",
]


@dataclass(slots=True, frozen=True)
class Kind:
    """A kind of thing: how its fields are made, and a bank of verb phrases for each but the subject."""

    subject: str
    fields: Mapping[str, words.Maker]
    phrases: Mapping[str, list[str]]
    plain: list[str]
    """Whole sentences."""


KINDS = [
    Kind(
        "name",
        {"name": words.full_name, "age": words.within(1, 99), "city": words.city, "job": words.of(words.JOBS)},
        {
            "age": ["is {age} years old", "turned {age} this year", "is {age}", "has just become {age}"],
            "city": ["lives in {city}", "comes from {city}", "has moved to {city}", "makes a home in {city}"],
            "job": ["works as a {job}", "is a {job}", "earns a living as a {job}", "has the job of a {job}"],
        },
        ["{name} is {age} years old, lives in {city} and works as a {job}."],
    ),
    Kind(
        "company",
        {"company": words.company, "invoice_number": words.code, "total": words.amount, "date": words.date},
        {
            "invoice_number": [
                "sent the invoice {invoice_number}",
                "wrote invoice {invoice_number}",
                "issued {invoice_number}",
            ],
            "total": ["asks for {total} euros", "wants a total of {total} dollars", "is owed {total} euros"],
            "date": ["wrote on {date}", "dated the letter {date}", "put {date} on the paper"],
        },
        ["Invoice {invoice_number} from {company} has a total of {total} euros and is dated {date}."],
    ),
    Kind(
        "name",
        {"name": words.full_name, "company": words.company, "phone": words.phone, "email": words.email},
        {
            "company": ["works for {company}", "is with {company}", "speaks for {company}"],
            "phone": ["has the phone number {phone}", "can be called at {phone}", "answers at {phone}"],
            "email": ["has the email {email}", "can be reached at {email}", "reads mail sent to {email}"],
        },
        ["Contact {name} at {company}, phone {phone}, email {email}."],
    ),
    Kind(
        "flight",
        {"flight": words.code, "from": words.city, "to": words.city, "gate": words.code, "time": words.clock},
        {
            "from": ["starts in {from}", "leaves {from}", "takes off in {from}"],
            "to": ["goes to {to}", "lands in {to}", "is bound for {to}"],
            "gate": ["is at gate {gate}", "boards at gate {gate}", "waits at gate {gate}"],
            "time": ["leaves at {time}", "departs at {time}", "is due out at {time}"],
        },
        ["Flight {flight} from {from} to {to} leaves at {time} from gate {gate}."],
    ),
    Kind(
        "host",
        {
            "host": words.key,
            "port": words.within(1, 65535),
            "status": words.of(["up", "down", "idle", "busy", "failed"]),
        },
        {
            "port": ["listens on port {port}", "uses port {port}", "takes calls on port {port}"],
            "status": ["is {status}", "has the status {status}", "reports that it is {status}"],
        },
        ["The host {host} listens on port {port} and is {status}."],
    ),
]


def record(pen: Pen) -> tuple[dict[str, str | int | float], str]:
    """A thing's fields, and text that tells all of them."""
    kind = pen.choice(KINDS)
    fields = {field: make(pen) for field, make in kind.fields.items()}
    if pen.manner is Manner.PLAIN or (pen.manner is Manner.VARIED and pen.chance(0.2)):
        return fields, pen.choice(kind.plain).format(**fields)
    subject = str(fields[kind.subject])
    phrases = [pen.wording(bank).format(**fields) for bank in pen.shuffled(list(kind.phrases.values()))]
    return fields, decorated(pen, described(pen, subject, phrases))


def described(pen: Pen, subject: str, phrases: list[str]) -> str:
    """All phrases about the subject, in the order given."""
    relative = "who" if " " in subject else "which"

    def joined(parts: list[str]) -> str:
        return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + pen.choice([" and ", ", and "]) + parts[-1]

    shapes = [
        lambda: f"{subject} {joined(phrases)}.",
        lambda: f"{subject}, {relative} {phrases[0]}, {joined(phrases[1:])}.",
        lambda: " ".join(f"{subject} {phrase}." for phrase in phrases),
        lambda: f"{subject} {phrases[0]}. " + f"{subject} also {joined(phrases[1:])}.",
        lambda: f"We know of {subject}, {relative} {joined(phrases)}.",
        lambda: f"It is {subject} {relative} {joined(phrases)}.",
    ]
    return pen.wording(shapes)()


def decorated(pen: Pen, text: str) -> str:
    """With an aside or a sentence that adds nothing, now and then."""
    if pen.manner is not Manner.PLAIN and pen.chance(0.25):
        aside = pen.wording(ASIDES)
        text = pen.choice(
            [f"{upper_first(aside)}: {text}", f"{text} {pen.wording(FILLERS)}", f"{pen.wording(FILLERS)} {text}"]
        )
    return text


@dataclass(slots=True, frozen=True)
class Event:
    """A sentence, and (question, answer) pairs about it."""

    text: str
    questions: list[tuple[str, str]]


def event(pen: Pen) -> Event:
    """Who did what, perhaps where and when."""
    base, past = pen.word(ACTIONS)
    who = pen.choice([words.name, words.full_name, words.company])(pen)
    what = f"the {pen.word(words.ADJECTIVES)} {words.word(pen)}"
    where = pen.choice([f"in {words.city(pen)}", f"in the {pen.word(words.PLACES)}"]) if pen.chance(0.6) else ""
    when = pen.choice([f"in {pen.between(1900, 2035)}", f"on {pen.word(words.DAYS)}"]) if pen.chance(0.5) else ""
    tail = "".join(f" {part}" for part in (where, when) if part)
    adverb = f" {pen.wording(ADVERBS)}" if pen.manner is not Manner.PLAIN and pen.chance(0.2) else ""
    shapes = [
        lambda: f"{who} {past} {what}{tail}.",
        lambda: f"{who} {past} {what}{adverb}{tail}.",
        lambda: f"{what} was {past} by {who}{tail}.",
        lambda: f"{when}, {who} {past} {what} {where}.".replace(" .", ".") if when else f"{who} {past} {what}{tail}.",
        lambda: f"{who} is the one who {past} {what}{tail}.",
        lambda: f"It was {who} who {past} {what}{tail}.",
    ]
    questions = [(f"Who {past} {what}?", who), (f"What did {who} {base}?", what)]
    if where:
        questions.append((f"Where did {who} {base} {what}?", where))
    if when:
        questions.append((f"When did {who} {base} {what}?", when))
    return Event(upper_first(pen.wording(shapes)()), questions)
