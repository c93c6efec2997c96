"""Constraints: what may be written at all, as a JSON schema, a regular expression, a Lark grammar or a list of choices.

    out = await ctx.generate(schema={"type": "object", ...})          # from the beginning to the end
    rule = Constraint.regex(r"[a-z]+@[a-z]+\\.com")                     # by hand
    while not rule.done:
        token = (await ctx.pred(tokens, constraint=rule, sample=True)).sampled
        rule.consume(token)
        tokens = token

The matcher lives beside the model; this is a handle on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from . import _host
from ._model import open_model
from ._sampling import count, ids
from .errors import Invalid, call

_KINDS = ("schema", "regex", "grammar", "choice")
SPACINGS = ("spaced", "compact", "flexible")


class Constraint:
    """A grammar, and a place in it: behind the tokens consumed so far. It belongs to the vocabulary of one model.

    Making one holds the program up while the host compiles it; a `fork` costs next to nothing. Mistakes raise `Invalid`
    with their place, what is too large `LimitExceeded`.
    """

    def __init__(self, handle: Any) -> None:
        """Use `json_schema`, `regex`, `grammar` or `choice`."""
        self._handle = handle

    @classmethod
    def json_schema(cls, schema: Any, *, spacing: str = "spaced", model: str | None = None) -> Self:
        """JSON that fits a schema: a dict, its text, or a class that has one (`model_json_schema()`, as pydantic's do).

        `spacing`: `{"a": 1, "b": 2}` is 'spaced', `{"a":1,"b":2}` 'compact'; 'flexible' leaves it to the model, which
        then has to write it. Properties come in the schema's order; forbid more with `"additionalProperties": False`.
        """
        if spacing not in SPACINGS:
            raise Invalid(f"spacing={spacing!r} is not understood", f"there are: {', '.join(SPACINGS)}")
        how = _host.constraint.JsonSpacing[spacing.upper()]
        return cls(call(_made().json_schema, open_model(model).handle, _text_of(schema), how))

    @classmethod
    def regex(cls, pattern: str, *, model: str | None = None) -> Self:
        """Text that a regular expression matches from its beginning to its end, in Rust's syntax."""
        return cls(call(_made().regex, open_model(model).handle, _host.text(pattern)))

    @classmethod
    def grammar(cls, lark: str, *, model: str | None = None) -> Self:
        """Text that a Lark grammar derives from its rule `start`."""
        return cls(call(_made().grammar, open_model(model).handle, _host.text(lark)))

    @classmethod
    def choice(cls, options: Sequence[str], *, model: str | None = None) -> Self:
        """One of several texts."""
        if isinstance(options, str) or not all(isinstance(option, str) for option in options):
            raise Invalid("choice() takes a list of texts", "for example choice=['yes', 'no']")
        return cls(call(_made().choice, open_model(model).handle, [_host.text(option) for option in options]))

    @property
    def done(self) -> bool:
        """Nothing can follow but a stop token, or one was consumed."""
        return self._open().is_done()

    @property
    def complete(self) -> bool:
        """What was consumed satisfies the grammar; something may still follow."""
        return self._open().is_complete()

    def mask(self) -> list[int]:
        """The tokens that may come next, a bit each: bit j of word w is token 32 w + j. Where the text is complete, the
        model's stop tokens are among them. Words of several constraints can be joined with `&`: `pred(allowed=...)`."""
        return list(call(self._open().mask))

    def allows(self, token: int) -> bool:
        """Whether this token may come next."""
        words, at = self.mask(), count("a token id", token)
        return at < 32 * len(words) and bool(words[at >> 5] >> (at & 31) & 1)

    def consume(self, tokens: int | Sequence[int]) -> None:
        """Go on behind these tokens. `Invalid` for one that is forbidden; the place is unchanged then."""
        call(self._open().consume, ids("a token id", [tokens] if isinstance(tokens, int) else tokens))

    def rollback(self, n: int) -> None:
        """Take back the last n tokens."""
        call(self._open().rollback, count("rollback: n", n))

    def forced(self) -> list[int]:
        """Tokens that come next whatever the model says: no need to ask it. May be empty."""
        return list(self._open().forced())

    def fork(self) -> Self:
        """One more at the same place, which goes its own way."""
        return type(self)(call(self._open().fork))

    def close(self) -> None:
        """Let the host forget it; the end of the program does that too. Closing twice is fine."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Any:
        if self._handle is None:
            raise Invalid("this constraint was closed", "make another one, or close it later")
        return self._handle


def _made() -> Any:
    return _host.constraint.Constraint


def _text_of(schema: Any) -> str:
    if isinstance(schema, str):
        return _host.text(schema)
    if hasattr(schema, "model_json_schema"):
        schema = schema.model_json_schema()
    try:
        return json.dumps(schema)
    except (TypeError, ValueError) as error:
        raise Invalid(f"the schema is not JSON: {error}", "give a dict, such as {'type': 'object'}") from None


def handle_of(constraint: Any) -> Any:
    """What crosses to the host."""
    if not isinstance(constraint, Constraint):
        raise Invalid(
            f"constraint={constraint!r} is not a Constraint", "make one with Constraint.json_schema(...) or its like"
        )
    return constraint._open()


def split(options: Mapping[str, Any], model: str) -> tuple[Any, Constraint | None, dict[str, Any]]:
    """The handle that the arguments of a generation name or ask for, the constraint to close once the generation has
    begun, and the other arguments."""
    rest = dict(options)
    given = rest.pop("constraint", None)
    asked = {kind: value for kind in _KINDS if (value := rest.pop(kind, None)) is not None}
    if len(asked) + (given is not None) > 1:
        names = ", ".join([*asked, *(["constraint"] if given is not None else [])])
        raise Invalid(f"several constraints at once: {names}", "give one of them")
    if given is not None:
        return handle_of(given), None, rest
    for kind, value in asked.items():
        make = {"schema": Constraint.json_schema, "regex": Constraint.regex, "grammar": Constraint.grammar}
        own = make.get(kind, Constraint.choice)(value, model=model)
        return handle_of(own), own, rest
    return None, None, rest


Constraint.__module__ = "lip"
