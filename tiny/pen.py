"""The hand that writes: a seeded source of choices, and a small grammar of wordings.

A wording is text with groups of alternatives, `[Get|Find|~Fetch] the {what}`, in any depth. What is in braces is filled
in last: `{z}` with any word or one that is none, `{_}` with an English one. `~` keeps an alternative for evaluation.
Three manners: `PLAIN` takes first alternatives; `VARIED`, which is what training sees, all but those kept, with slips
of the hand; `UNSEEN` those kept wherever there are some, and words that training never sees. It knows nothing of tasks.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from tiny.banks import entries

T = TypeVar("T")
ONSETS = "b c d f g h j k l m n p r s t v w z br dr gr kl pr st tr sh th ch fl pl qu y x".split()
VOWELS = "a e i o u ai ea oo ie ou".split()
CODAS = "n r l s t m x nd rk th la na ro ra ck p d".split()
HELD_OUT = 5
"""One word of so many is for evaluation only."""
SLIPS = 0.18
NOISE = " ".join(entries("noise")[0].rows()).split()


class Manner(Enum):
    """Which half of a bank is open."""

    PLAIN = "plain"
    VARIED = "varied"
    UNSEEN = "unseen"


@dataclass(slots=True, frozen=True)
class Group:
    """Alternatives, each a row of texts and groups."""

    known: tuple[Row, ...]
    kept: tuple[Row, ...]

    def rows_kept(self) -> Iterator[Row]:
        """The alternatives that only evaluation has, in this group and those within."""
        yield from self.kept
        for row in self.known:
            for part in row:
                if isinstance(part, Group):
                    yield from part.rows_kept()


Row = tuple[str | Group, ...]


_PARSED: dict[str, Group] = {}


def parsed(wording: str) -> Group:
    """Its groups, parsed once."""
    group = _PARSED.get(wording)
    if group is None:
        group, end = _group(wording, 0)
        assert end == len(wording), wording
        _PARSED[wording] = group
    return group


def wordings() -> list[Group]:
    """All that were written so far."""
    return list(_PARSED.values())


def _group(text: str, at: int) -> tuple[Group, int]:
    """The group that begins at a place, to its bracket or the end of the text."""
    known: list[Row] = []
    kept: list[Row] = []
    while True:
        keep = text.startswith("~", at)
        at += keep
        row: list[str | Group] = []
        start = at
        while at < len(text) and text[at] not in "|]":
            if text[at] == "[":
                inner, end = _group(text, at + 1)
                row += [text[start:at], inner]
                at = start = end + 1
            else:
                at += 1
        row.append(text[start:at])
        (kept if keep else known).append(tuple(part for part in row if part != ""))
        if at == len(text) or text[at] == "]":
            return Group(tuple(known), tuple(kept)), at
        at += 1


class Pen:
    """See the module. The same seed and manner write the same text, on every machine."""

    def __init__(self, seed: int | str, manner: Manner = Manner.VARIED) -> None:
        self.random = random.Random(f"{manner.value}:{seed}")
        self.manner = manner
        self.plain, self.unseen = manner is Manner.PLAIN, manner is Manner.UNSEEN
        self.kept = self.unseen
        """Whether wordings are those that are kept; a task may say where."""
        self._draw = self.random.random

    def chance(self, share: float) -> bool:
        return self._draw() < share

    def choice(self, items: Sequence[T]) -> T:
        return items[int(self._draw() * len(items))]

    def between(self, low: int, high: int) -> int:
        return low + int(self._draw() * (high - low + 1))

    def write(self, wording: str, /, **values: object) -> str:
        """One of a wording's texts."""
        out: list[str] = []
        self._expand(parsed(wording), out, top=True)
        return self._filled("".join(out), values)

    def ask(self, wording: str, /, **values: object) -> str:
        """The same, as somebody types it: with slips, though not in values."""
        out: list[str] = []
        self._expand(parsed(wording), out, top=True)
        text = "".join(out)
        if not self.plain and self._draw() < SLIPS:
            text = self._slip(text)
        return self._filled(text, values)

    def _filled(self, text: str, values: dict[str, object]) -> str:
        while "{z}" in text:
            text = text.replace("{z}", self.noise(), 1)
        while "{_}" in text:
            text = text.replace("{_}", self.choice(NOISE), 1)
        return text.format_map(values) if values else text

    def noise(self) -> str:
        """A word that says nothing to the matter."""
        return self.choice(NOISE) if self._draw() < 0.5 else self.coined()

    def _expand(self, group: Group, out: list[str], top: bool = False) -> None:
        rows = group.known
        if self.kept and group.kept:
            rows = group.kept
        elif self.plain:
            rows = rows[: (len(rows) + 1) // 2] if top else rows[:1]
        for part in rows[int(self._draw() * len(rows))]:
            if type(part) is str:
                out.append(part)
            else:
                self._expand(part, out)  # pyright: ignore[reportArgumentType]

    def word(self, bank: Sequence[T]) -> T:
        """Of a bank of many: every fifth is unseen."""
        while True:
            index = int(self._draw() * len(bank))
            if (index % HELD_OUT == HELD_OUT - 1) is self.unseen:
                return bank[index]

    def some(self, items: Sequence[T], least: int = 1) -> list[T]:
        """A few different ones, in any order."""
        return self.random.sample(list(items), self.between(min(least, len(items)), len(items)))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.random.sample(list(items), len(items))

    def coined(self, syllables: int = 0) -> str:
        """A word that is none, but could be said."""
        choice = self.choice
        word = "".join(choice(ONSETS) + choice(VOWELS) for _ in range(syllables or self.choice((1, 2, 2, 3))))
        return word + choice(CODAS) if self._draw() < 0.6 else word

    def _slip(self, text: str) -> str:
        """What hands do: small letters, no full stop, a word with a letter wrong."""
        kind = self.between(0, 6)
        if kind == 0:
            return text[:1].lower() + text[1:]
        if kind == 1:
            return text.rstrip(".?!")
        if kind == 2 and "{" not in text:
            return text.lower()
        words = text.split(" ")
        at = self.between(0, len(words) - 1)
        word = words[at]
        if kind > 4:  # a word too many
            words.insert(at, self.choice(NOISE))
            return " ".join(words)
        if len(word) < 4 or not word.isalpha():
            return text
        i = self.between(1, len(word) - 2)
        swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        words[at] = self.choice((swapped, word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:]))
        return " ".join(words)


def begun(text: str, values: Iterable[object]) -> str:
    """With a large letter in front, unless a value stands there."""
    return text if text.startswith(tuple(map(str, values))) else upper_first(text)


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
