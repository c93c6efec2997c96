"""Regular expressions, Lark grammars and JSON schemas, followed token by token: by llguidance, as the host does it.

The tokens are those that were met so far, and every ASCII character. When others have been met, the matcher is made
anew and goes through what was consumed. Knows no resources and no script. Symphony brings llguidance along; without it,
who steps is told so.
"""

from __future__ import annotations

import json
from itertools import takewhile
from typing import Any

from ._basics import ScriptError, refusal
from ._text import SPECIAL, STOP, encode, pieces

_SPACINGS = {"COMPACT": (",", ":"), "SPACED": (", ", ": ")}


class Steps:
    """One rule, at whatever place is asked for."""

    def __init__(self, kind: str, rule: Any, spacing: str) -> None:
        self._kind = kind
        self._rule = rule
        self._spacing = spacing
        self._matcher: Any = None
        self._size = 0
        """Tokens that the matcher knows."""
        self._consumed: list[int] = []

    def next(self, so_far: list[int]) -> set[int]:
        """The tokens that may follow; the stop token among them where the text is complete."""
        if STOP in so_far:
            return set()
        matcher = self._at(so_far)
        if matcher.is_stopped():
            return {STOP} if matcher.is_accepting() else set()
        bits = int.from_bytes(matcher.compute_bitmask(), "little")
        return {token for token in range(self._size) if bits >> token & 1}

    def forced(self, so_far: list[int]) -> list[int]:
        """The tokens that follow in any case, but for the stop token."""
        if STOP in so_far:
            return []
        while True:
            tokens = list(self._at(so_far).compute_ff_tokens())
            if self._size == len(pieces()):  # else it met words on the way
                return tokens

    def _at(self, so_far: list[int]) -> Any:
        new = so_far[len(self._consumed) :]
        if self._matcher is None or self._size < len(pieces()) or so_far[: len(self._consumed)] != self._consumed:
            self._matcher, new = self._made(), so_far
        if new:
            self._matcher.consume_tokens(new)
        self._consumed = list(so_far)
        if self._matcher.is_error():
            raise refusal("invalid", f"the {self._kind} cannot be followed: {self._matcher.get_error().strip()}")
        return self._matcher

    def _made(self) -> Any:
        try:
            from llguidance import LLMatcher, LLTokenizer
        except ImportError:
            raise ScriptError(
                f"following a {self._kind} token by token takes llguidance: pip install llguidance"
            ) from None
        tokens = _Tokens()
        self._size = len(tokens.tokens)
        try:
            return LLMatcher(LLTokenizer(tokens), self._grammar(LLMatcher), log_level=0)
        except ValueError as error:
            raise refusal("invalid", f"the {self._kind} cannot be used: {error}") from None

    def _grammar(self, matcher: Any) -> str:
        if self._kind == "regex":
            return matcher.grammar_from_regex(self._rule.pattern)
        if self._kind == "grammar":
            return matcher.grammar_from_lark(self._rule)
        options: dict[str, Any] = {"whitespace_flexible": self._spacing not in _SPACINGS}
        if self._spacing in _SPACINGS:
            options["item_separator"], options["key_separator"] = _SPACINGS[self._spacing]
        return matcher.grammar_from_json_schema(json.dumps(self._rule), options)


class _Tokens:
    """The vocabulary as it is now, in the shape that llguidance asks for."""

    is_tokenizer_wrapper = True
    bos_token_id = None
    eos_token_id = STOP

    def __init__(self) -> None:
        for character in ("\n", *map(chr, range(32, 127))):
            encode(character, False)
        self.tokens = [piece.encode() for piece in pieces()]
        self.special_token_ids = list(range(len(SPECIAL)))

    def __call__(self, text: str | bytes) -> list[int]:
        """Up to the first word that was not met before, which is met by this."""
        ids = encode(text if isinstance(text, str) else text.decode("utf-8", "replace"), False)
        return list(takewhile(lambda token: token < len(self.tokens), ids))
