"""Questions about documents, answered with the number of the one that tells; and about texts without numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from tiny import words
from tiny.banks import banks
from tiny.facts import Key, Question, Told, several, told
from tiny.pen import Pen, upper_first
from tiny.turns import Turns, said

W = banks("documents")
UNKNOWN = "I do not know."
STYLES = ("[{n}] {t}", "[{n}] {t}", "[{n}] {t}", "Document [{n}]: {t}", "[{n}] ({w}) {t}")


@dataclass(slots=True)
class Shelf:
    """What documents tell: for each question its sentence and the document's number."""

    lines: list[str] = field(default_factory=list[str])
    numbers: list[int] = field(default_factory=list[int])
    found: dict[Key, tuple[Told, Question, int]] = field(default_factory=dict[Key, tuple[Told, Question, int]])
    double: set[Key] = field(default_factory=set[Key])
    """Questions that have two answers."""

    def add(self, number: int, sentences: list[Told]) -> None:
        for one in sentences:
            for question in one.questions:
                if question.key in self.found:
                    self.double.add(question.key)
                self.found[question.key] = (one, question, number)
        self.numbers.append(number)
        self.lines.append(" ".join([one.text for one in sentences]))

    def shown(self, pen: Pen) -> str:
        style = STYLES[0] if pen.plain else pen.choice(STYLES)
        return "\n".join(
            [
                style.format(n=number, t=line, w=upper_first(words.word(pen)))
                for number, line in zip(self.numbers, self.lines, strict=True)
            ]
        )


def _filled(pen: Pen, documents: int) -> Shelf:
    sentences = several(pen, documents or pen.choice((2, 3, 4, 6, 8)))
    each = 1 if pen.plain or documents or pen.chance(0.7) else pen.choice((2, 3))
    count = len(sentences)
    numbers = list(range(1, count + 1))
    if not pen.plain and pen.chance(0.15):
        numbers = pen.random.sample(range(1, count + 20), count)
    shelf = Shelf()
    for number, start in zip(numbers, range(0, count, each), strict=False):
        shelf.add(number, sentences[start : start + each])
    return shelf


def citation(pen: Pen, documents: int = 0, rounds: int = 1, cited: bool = True) -> Turns:
    """Questions about one of several documents each, answered with its number, or that nobody knows."""
    novel = pen.between(0, 2)  # what is unseen, if something is: documents, the head, questions
    pen.kept = pen.unseen and novel == 0
    shelf = _filled(pen, documents)
    askable = [entry for key, entry in shelf.found.items() if key not in shelf.double]
    if not askable:
        return citation(pen, documents, rounds, cited)
    shown = shelf.shown(pen) if cited else " ".join(shelf.lines)
    pen.kept = pen.unseen and novel == 2
    inherited = not pen.plain and pen.chance(0.25)
    turns = _inherited(pen, shown, cited) if inherited else []
    for nth in range(rounds):
        one, question, number = pen.choice(askable)
        answer = f"{question.answer} [{number}]" if cited else question.answer
        if pen.chance(0.1):
            one = _other(pen, shelf, one)
            question, answer = one.questions[0], UNKNOWN
        pen.kept = pen.unseen and novel == 2
        asked = one.asked(pen, question)
        pen.kept = pen.unseen and novel == 1
        if inherited:
            asked = f"Question: {asked}" if cited else asked
        elif nth:
            asked = pen.write(W["later"], q=asked)
        else:
            asked = pen.write(W["heads" if cited else "reading"], c=shown, q=asked)
        turns += said(asked, answer)
    return turns


def _inherited(pen: Pen, shown: str, cited: bool) -> Turns:
    """The documents in turns of their own, as programs do that keep them."""
    if not cited:
        return [("system", pen.write(W["text ahead"], t=shown))]
    return [("system", "Documents:"), *[("user", line) for line in ([shown] if pen.chance(0.4) else shown.split("\n"))]]


def _other(pen: Pen, shelf: Shelf, like: Told) -> Told:
    """Something that no document tells; now and then it is about somebody that they know."""
    while True:
        other = told(pen)
        if pen.chance(0.5) and "who" in other.values and "who" in like.values:
            other = Told(other.text, other.questions[1:2], {**other.values, "who": like.values["who"]})
            if (like.values["who"], other.values["past"]) not in shelf.found:
                return other
        elif all(question.key not in shelf.found for question in other.questions):
            return other


def citations(pen: Pen) -> Turns:
    return citation(pen, rounds=pen.choice((1, 2, 3, 4)))


def many_citations(pen: Pen) -> Turns:
    return citation(pen, 24)


def shelf(pen: Pen) -> Turns:
    return citation(pen, pen.choice((12, 16, 20, 24, 28)), rounds=pen.choice((2, 3, 4, 6)))


def reading(pen: Pen) -> Turns:
    """Questions about a text whose parts have no numbers."""
    return citation(pen, pen.choice((1, 2, 3, 4, 6)), rounds=pen.choice((1, 1, 2, 3)), cited=False)
