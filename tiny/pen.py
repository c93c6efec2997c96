"""The hand that writes: a seeded source of choices that keeps what training must not see apart from the rest.

Three manners: `PLAIN` takes the first wordings of a bank and adds nothing; `VARIED` all that training may see, with
fillers, adverbs and slips; `UNSEEN` wordings, words and tools that training never sees, with the same slips. It knows
nothing of tasks.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import Enum
from typing import TypeVar

T = TypeVar("T")
ONSETS = "b c d f g h j k l m n p r s t v w z br dr gr kl pr st tr sh ch fl pl".split()
VOWELS = "a e i o u ai ea oo ie ou".split()
CODAS = "n r l s t m x nd rk th la na ro ra ck p d".split()
HELD_OUT = 5
"""One word of so many is for evaluation only."""


class Manner(Enum):
    """Which half of a bank is open."""

    PLAIN = "plain"
    VARIED = "varied"
    UNSEEN = "unseen"


class Pen:
    """See the module. The same seed and manner write the same text, on every machine."""

    def __init__(self, seed: int | str, manner: Manner = Manner.VARIED) -> None:
        self.random = random.Random(f"{manner.value}:{seed}")
        self.manner = manner
        self.choice = self.random.choice
        self.between = self.random.randint

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def wording(self, bank: Sequence[T]) -> T:
        """Of a bank of at least two: the last quarter (one at least) is unseen, the first is plain."""
        known = len(bank) - max(len(bank) // 4, 1)
        if self.manner is Manner.UNSEEN:
            return self.choice(bank[known:])
        return self.choice(bank[: max(known // 2, 1)] if self.manner is Manner.PLAIN else bank[:known])

    def word(self, bank: Sequence[T]) -> T:
        """Of a bank of many: every fifth is unseen."""
        unseen = self.manner is Manner.UNSEEN
        while True:
            index = self.random.randrange(len(bank))
            if (index % HELD_OUT == HELD_OUT - 1) is unseen:
                return bank[index]

    def some(self, items: Sequence[T], least: int = 1) -> list[T]:
        """A few different ones, in any order."""
        return self.random.sample(list(items), self.between(min(least, len(items)), len(items)))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.random.sample(list(items), len(items))

    def coined(self) -> str:
        """A word that is none, but could be said."""
        word = "".join(self.choice(ONSETS) + self.choice(VOWELS) for _ in range(self.between(1, 3)))
        return word + (self.choice(CODAS) if self.chance(0.6) else "")

    def slip(self, text: str) -> str:
        """What hands do now and then: a small letter in front, no full stop, two letters that change places."""
        if self.manner is Manner.PLAIN or not self.chance(0.12):
            return text
        kind = self.between(0, 2)
        if kind == 0:
            return text[:1].lower() + text[1:]
        if kind == 1:
            return text.rstrip(".?!")
        head, space, rest = text.partition(" ")  # the first word is never a value
        if len(head) < 4 or not head.isalpha():
            return text
        at = self.between(1, len(head) - 2)
        return head[:at] + head[at + 1] + head[at] + head[at + 2 :] + space + rest


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
