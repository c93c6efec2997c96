"""What a constraint is written as: a JSON schema, a regular expression, a Lark grammar, a list of choices.

Knows no tokens, and nothing of what understands it (`translation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from symphony.errors import Invalid, LimitExceeded
from symphony.param import MAX_CHOICES, MAX_GRAMMAR_CHARS

NOUNS = {"json-schema": "schema", "regex": "regular expression", "grammar": "grammar", "choice": "list of choices"}
"""Of each kind, for messages."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """`kind`: json-schema, regex, grammar or choice. `source`: its text, or the choices. `spacing`: of JSON, one of
    `wit/constraint.wit`'s."""

    kind: str
    source: str | Sequence[str]
    spacing: str = "spaced"

    @property
    def noun(self) -> str:
        return NOUNS[self.kind]

    def check(self) -> None:
        """What can be told at once. Raises LimitExceeded, Invalid."""
        size = len(self.source) if isinstance(self.source, str) else sum(map(len, self.source))
        if size > MAX_GRAMMAR_CHARS:
            raise LimitExceeded(
                f"the {self.noun} has {size} characters, at most {MAX_GRAMMAR_CHARS}", "use a smaller one, or several"
            )
        if self.kind == "choice":
            if not self.source:
                raise Invalid("there is nothing to choose from", "give at least one choice")
            if len(self.source) > MAX_CHOICES:
                raise LimitExceeded(f"{len(self.source)} choices, at most {MAX_CHOICES}", "choose in several steps")
