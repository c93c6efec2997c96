"""Dialogues about what was read: JSON from text, questions about documents, values that are remembered.

A task takes a pen and returns turns (role, content); the last one, the assistant's, is what an answer is compared to.
Files beside this one have the other tasks. It knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from tiny import words
from tiny.facts import Key, Question, Told, several, told
from tiny.pen import Pen, upper_first
from tiny.records import EXTRA, Record, record, renamed
from tiny.words import Value, as_json, as_list

Turns = list[tuple[str, str]]
UNKNOWN = "I do not know."

KEYS = (
    "{k}|{k}|{k}|the fields {k}|the keys {k}|[only|just] {k}|these fields: {k}|the values of {k}|the following: {k}|the {k}"
    "|~every one of {k}|~the entries {k}"
)
FORMS = "as JSON|as JSON|in JSON|as [a|one] JSON object|in JSON format|~in the form of JSON|~packed into a JSON object"
VERBS = (
    "Extract|Get|Give me|Return|Find|Output|Write|Produce|Give|Pull out|Show|List|Read|Print|Parse|Tell me|I need|I want|Please [extract|return|give me]"
    "|[Can|Could] you [extract|find|give me]|~Dig out|~Fish out|~Put together"
)
ASKS = (
    "{v} {k} {f}|{v} {k} {f}|{v} {k} from the [text|message|following text] {f}|{v} {k} {f} from this text|JSON[, please|]: {k}|Answer {f} with {k}"
    "|Make a JSON object with {k}|Turn [the text|this] into JSON with {k}|What [is|are] {k}? Answer {f}|{F}, {w} {k}|Convert to JSON ({k})"
    "|~What I am after is {k}, {f}|~Boil this down to {k}, {f}"
)
PLAIN_ASKS = "Extract {k} as JSON.\n{s}|{s}\nExtract {k}. Answer in JSON.|Text: {s}\nReturn a JSON object with {k}.|Return JSON with the keys {k}.\nText: {s}"
AHEAD = "{a}[.|:||.]\n{s}|{a}[.|:]\n\n{s}|{a}: {s}|{a}.\nText: {s}|{a}.\n---\n{s}|{a}\n[Input|Message]: {s}|{a}. {s}"
BEHIND = "{s}\n{a}.|{s}\n\n{a}[.|:|]|[Text|Message|Input]: {s}\n{a}.|{s} {a}.|{s}\n---\n{a}."
COMPACT = "Extract {k} as compact JSON.\n{s}|{s}\n[Give|Return] {k} as [compact JSON|JSON without spaces].|Compact JSON with {k}:\n{s}"
SCHEMA = "[Extract|Give me|Return] JSON that fits this schema: {k}\n{s}|Schema: {k}\nText: {s}\nReturn JSON.|{s}\n[Fill|Fill in] this JSON schema: {k}"


def extraction(pen: Pen) -> Turns:
    """Some fields of a record, under the names that are asked for."""
    fields, text = record(pen)
    chosen = {label: fields[label] for label in pen.some(list(fields))}
    if not pen.plain and pen.chance(0.15):
        chosen = _renamed(pen, chosen, fields)
    listed = list(chosen)
    kind = 0.0 if pen.plain else pen.random.random()
    if kind < 0.25:
        ask = pen.ask(PLAIN_ASKS, k=", ".join(listed), s=text)
    elif kind < 0.85:
        shown = as_json(listed) if pen.chance(0.05) else as_list(listed, pen.choice((" and ", ", ")))
        form = pen.write(FORMS)
        verb = pen.write(VERBS)
        told = pen.ask(ASKS, v=verb, w=verb.lower() if verb[0] != "I" else verb, k=pen.write(KEYS, k=shown), f=form, F=upper_first(form))
        ask = pen.write(AHEAD if pen.chance(0.5) else BEHIND, a=told, s=text)
    elif kind < 0.93:
        types = {label: {"type": _type(value)} for label, value in chosen.items()}
        ask = pen.write(SCHEMA, k=as_json({"type": "object", "properties": types, "required": listed}), s=text)
    else:
        return [("user", pen.ask(COMPACT, k=", ".join(listed), s=text)), ("assistant", as_json(chosen, compact=True))]
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
HEADS = (
    "Documents:\n{c}\nQuestion: {q}|{c}\nQuestion: {q}|Context:\n{c}\nQ: {q}|Use these documents.\n{c}\n{q}|Answer from the documents and cite.\n{c}\nQuestion: {q}"
    "|Sources:\n{c}\n{q}|{c}\n\n{q}|Here are [some|the] documents.\n{c}\n\n{q}|{q}\n\nDocuments:\n{c}|[Notes|Facts]:\n{c}\n[Please tell me|My question]: {q}"
    "|~Material:\n{c}\nWhat I want to know: {q}|~We have these papers:\n{c}\nNow answer: {q}"
)
READING = "Text: {c}\n{q}|{c}\n{q}|Read this text.\n{c}\n{q}|Passage:\n{c}\nQuestion: {q}|Read this[:|.] {c}\n{q}|{c}\n\n{q}|[Here is a text|I read this]: {c}\n[Question: |]{q}|~A small text: {c} {q}"
LATER = "Question: {q}|{q}|{q}|Q: {q}|And another question: {q}"


def citation(pen: Pen, documents: int = 0, rounds: int = 1, cited: bool = True) -> Turns:
    """Questions about one of several documents each, answered with its number, or that nobody knows."""
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
    head = HEADS if cited else READING
    inherited = not pen.plain and pen.chance(0.25)
    if inherited and not cited:
        turns = [("system", pen.write("{t}|{t}|Read this text. {t}|This is [the manual|the text|what we know]. {t}", t=shown))]
    elif inherited:
        turns = [("system", "Documents:"), *([("user", shown)] if pen.chance(0.4) else [("user", line) for line in shown.split("\n")])]
    for nth in range(rounds):
        one, question, number = pen.choice(askable)
        answer = f"{question.answer} [{number}]" if cited else question.answer
        if pen.chance(0.1):
            one = _other(pen, found, one)
            question = one.questions[0]
            answer = UNKNOWN
        asked = one.asked(pen, question)
        if inherited:
            asked = f"Question: {asked}" if cited else asked
        else:
            asked = pen.write(LATER, q=asked) if nth else pen.write(head, c=shown, q=asked)
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
    style = "[{n}] {t}" if pen.plain else pen.choice(("[{n}] {t}", "[{n}] {t}", "[{n}] {t}", "Document [{n}]: {t}", "[{n}] ({w}) {t}"))
    return "\n".join([style.format(n=n, t=line, w=upper_first(words.word(pen))) for n, line in zip(numbers, lines, strict=False)])


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
TABLES = (
    "Remember this:\n{t}\n{q}|Remember: {flat}.\n{q}|Remember:\n{t}\n{q}|Here is a table:\n{t}\n{q}|{t}\n{q}|Data:\n{t}\n{q}|[Memory|Notes|Settings|Facts]:\n{t}\n{q}|[Keep|Bear] this in mind:\n{t}\n{q}"
    "|~A few things to memorize:\n{t}\n{q}"
)
LOOKUPS = (
    "What is the value of {k}?|What is {k}?|Give me the value for {k}.|Look up {k}.|{k}?|Value of {k}?|[Tell me|Say|Show] {k}.|What does {k} have?|Who is the {k}?|What is the {k}?"
    "|~Which value belongs to {k}?|~What did I note for {k}?"
)
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
    line, between = pen.choice((("{k}: {v}", "\n"), ("{k} = {v}", "\n"), ("- {k} -> {v}", "\n")) if pen.plain else TABLE_LINES)
    shown = between.join([line.format(k=k, v=v) for k, v in table.items()])
    shown_flat = shown.rstrip(".")
    names = list(table)
    turns: Turns = []
    system = not pen.plain and pen.chance(0.2)
    if system:
        turns.append(("system", pen.write("Remember this:\n{t}|{t}|Remember this:|You know this: {t}", t=shown)))
        if not turns[0][1].endswith(shown):
            lines = shown.split("\n")
            cut = pen.between(0, len(lines))
            turns += [("user", "\n".join(part)) for part in (lines[:cut], lines[cut:]) if part]
    for nth in range(rounds):
        wanted = pen.choice(names)
        asked = pen.ask(LOOKUPS, k=wanted)
        turns += [("user", asked if nth or system else pen.write(TABLES, t=shown, flat=shown_flat, q=asked)), ("assistant", table[wanted])]
    return turns


TABLE_LINES = (
    ("{k}: {v}", "\n"), ("{k} = {v}", "\n"), ("- {k} -> {v}", "\n"), ("The {k} is {v}.", " "), ("the {k} is {v}", ", "), ("{k}: {v}", "; "), ("{k}: {v}", ", "), ("{k} {v}", "\n"),
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


FILLERS = (
    "{n} walked to the {p}.|The {a} was {d}.|{n} and {m} talked about the {o}.|It was a {d} {t}.|A {c} {a} sat near the {p}.|{n} bought some {f}.|The {o} looked {d}."
    "|They went home in the {t}.|{m} read about the {a}.|Nobody saw the {c} {o}."
)


def filler(pen: Pen) -> str:
    return pen.write(
        FILLERS, n=words.name(pen), m=words.name(pen), p=pen.word(words.PLACES), a=pen.word(words.ANIMALS), d=pen.word(words.ADJECTIVES), o=pen.word(words.THINGS),
        c=pen.word(words.COLORS), t=pen.choice(("morning", "evening", "night", "afternoon")), f=pen.word(words.FOOD),
    )  # fmt: skip


def needle(pen: Pen) -> Turns:
    """Codes in a text that is about nothing."""
    text = [filler(pen) for _ in range(pen.choice((5, 10, 20, 40, 60)))]
    codes = {pen.coined() if pen.chance(0.5) else words.name(pen): words.code(pen) if pen.chance(0.5) else words.word(pen) for _ in range(pen.between(1, 4))}
    for who, secret in codes.items():
        text.insert(pen.between(0, len(text)), f"The secret code of {who} is {secret}.")
    turns: Turns = []
    for who, secret in codes.items():
        asked = pen.ask("What is the secret code of {k}?|Which secret code does {k} have?|Tell me the code of {k}.|~What is {k}'s code?", k=who)
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
        elif other == "numbers" or kind == "numbers" and any(map(str.isdigit, value)):
            continue
        text.append(pen.write(says, v=value))
    if pen.chance(0.2):
        text.insert(0, pen.write(EXTRA))
    asked = pen.ask("List all {k} in the text.\n{x}|{x}\nWhich {k} are in the text?|Find all {k}: {x}|[Give me|Show me|Get] [all|the] {k} [in|from] this text.\n{x}|~Collect every one of the {k} here: {x}", k=kind, x=" ".join(text))
    if pen.chance(0.5):
        return [("user", f"{asked} Answer as a JSON list."), ("assistant", as_json(got))]
    return [("user", asked), ("assistant", ", ".join(got) or "none")]
