"""Constraints: a scripted reply is held against them, and they are followed token by token."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Self

from ._basics import Resource, ScriptError, refusal
from ._stepping import Steps
from ._text import STOP, VOCABULARY, decode, encode


class Constraint(Resource):
    """A rule: `kind` is 'schema', 'regex', 'grammar' or 'choice'; `spacing` is that of a schema."""

    def __init__(self, kind: str, rule: Any, consumed: Sequence[int] = (), spacing: str = "") -> None:
        self.kind = kind
        self.rule = rule
        self._consumed = list(consumed)
        self._spacing = spacing
        self._steps = Steps(kind, rule, spacing)

    @classmethod
    def json_schema(cls, _model: Any, schema: str, spacing: Any) -> Self:
        try:
            return cls("schema", json.loads(schema), spacing=spacing.name)
        except ValueError as error:
            raise refusal("invalid", f"the schema is not JSON: {error}") from None

    @classmethod
    def regex(cls, _model: Any, pattern: str) -> Self:
        try:
            return cls("regex", re.compile(pattern))
        except re.error as error:
            raise refusal("invalid", f"the regular expression has an error: {error}") from None

    @classmethod
    def grammar(cls, _model: Any, lark: str) -> Self:
        return cls("grammar", lark)

    @classmethod
    def choice(cls, _model: Any, options: list[str]) -> Self:
        if not options:
            raise refusal("invalid", "a choice of nothing", "give at least one text")
        return cls("choice", [[*encode(option, False), STOP] for option in options])

    def check(self, text: str) -> None:
        """Raises `ScriptError` for a reply that the model could not have written. That JSON fits its schema, and text
        its grammar, is taken on trust."""
        if self.kind == "choice":
            fits = [*encode(text, False), STOP] in self.rule
        elif self.kind == "regex":
            fits = self.rule.fullmatch(text) is not None
        elif self.kind == "schema":
            fits = _is_json(text)
        else:
            fits = True
        if not fits:
            raise ScriptError(f"the script's reply {text!r} is not what the program's {self.kind} allows")

    def mask(self) -> list[int]:
        words = [0] * ((VOCABULARY + 31) // 32)
        for token in self._next():
            words[token >> 5] |= 1 << (token & 31)
        return words

    def consume(self, tokens: list[int]) -> None:
        before = list(self._consumed)
        for token in tokens:
            if token not in self._next():
                self._consumed = before
                raise refusal("invalid", f"{decode([token])!r} is not allowed here", "pick a token of the mask")
            self._consumed.append(token)

    def rollback(self, n: int) -> None:
        if n > len(self._consumed):
            raise refusal("invalid", f"rollback({n}): {len(self._consumed)} tokens were consumed")
        del self._consumed[len(self._consumed) - n :]

    def fork(self) -> Constraint:
        return Constraint(self.kind, self.rule, self._consumed, self._spacing)

    def forced(self) -> list[int]:
        if self.kind != "choice":
            return self._steps.forced(self._consumed)
        tokens: list[int] = []
        while len(ways := self._next(tokens)) == 1 and STOP not in ways:
            tokens += ways
        return tokens

    def is_complete(self) -> bool:
        return self.is_done() or STOP in self._next()

    def is_done(self) -> bool:
        return self._next() <= {STOP}

    def _next(self, more: list[int] | None = None) -> set[int]:
        so_far = self._consumed + (more or [])
        if self.kind != "choice":
            return self._steps.next(so_far)
        n = len(so_far)
        return {option[n] for option in self.rule if len(option) > n and option[:n] == so_far}


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
