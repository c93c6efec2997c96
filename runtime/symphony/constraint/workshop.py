"""Where constraints are made: tried in a process that may die of them, then compiled for a model's vocabulary.

Blocks, and belongs to one thread, but for `close`.
"""

from __future__ import annotations

from collections.abc import Sequence

from symphony.constraint.checker import Checker
from symphony.constraint.grammar import Grammar
from symphony.constraint.matcher import Matcher
from symphony.constraint.vocabulary import Tokens, Vocabulary


class Workshop:
    def __init__(self) -> None:
        self._checker = Checker()
        self._vocabularies: dict[str, Vocabulary] = {}

    def make(self, model: str, tokens: Tokens, vocab_size: int, ends: Sequence[int], grammar: Grammar) -> Matcher:
        """Raises Invalid, LimitExceeded, Unavailable (it was closed)."""
        special = [tokens.piece(token).decode("utf-8", "replace") for token in sorted(tokens.special_tokens)]
        self._checker.check(grammar, special)
        vocabulary = self._vocabularies.get(model)
        if vocabulary is None:
            vocabulary = self._vocabularies[model] = Vocabulary(model, tokens, vocab_size, ends)
        return Matcher(grammar, vocabulary)

    def close(self) -> None:
        """From any thread."""
        self._checker.close()
