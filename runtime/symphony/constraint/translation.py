"""Between constraints as they are written and llguidance: its grammars, its bounds, and what it says is wrong.

Knows no tokens.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from llguidance import LLMatcher, LLParserLimits

from symphony.constraint.grammar import Grammar
from symphony.errors import Invalid, LimitExceeded, SymphonyError
from symphony.param import (
    CONSTRAINT_COMPILE_FUEL,
    CONSTRAINT_STATES,
    CONSTRAINT_STEP_FUEL,
    CONSTRAINT_STEP_ITEMS,
    MAX_GRAMMAR_SYMBOLS,
)

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

_SPACINGS: dict[str, JsonCompileOptions] = {
    "spaced": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
    "compact": {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"},
    "flexible": {"whitespace_flexible": True},
}
_FIX = {
    "json-schema": "correct the schema",
    "regex": "Rust's syntax is understood: no look-around, no back-references",
    "grammar": "correct it there; docs/constraints.md has the syntax",
    "choice": "correct the choices",
}
_BOUNDS = re.compile(r"too (?:large|many|complex|big|deep)|fuel|limit|max is \d+|exceed|exhausted", re.IGNORECASE)
"""In messages that tell of a bound that was reached, not of a mistake."""


def translate(grammar: Grammar) -> str:
    """In llguidance's own format. Raises Invalid for a schema that is none."""
    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(str(grammar.source))
    if grammar.kind == "grammar":
        return LLMatcher.grammar_from_lark(str(grammar.source))
    if grammar.kind == "choice":  # as one terminal, which takes thousands; a rule would not
        choices = [json.dumps(choice, ensure_ascii=False) for choice in dict.fromkeys(grammar.source)]
        return LLMatcher.grammar_from_lark("start: CHOICE\nCHOICE: " + "\n | ".join(choices))
    return _schema(grammar)


def _schema(grammar: Grammar) -> str:
    text = str(grammar.source)
    try:
        schema = json.loads(text)
    except RecursionError:
        raise LimitExceeded("the schema nests too deeply", "flatten it") from None
    except ValueError as e:
        raise Invalid(f"the schema is not JSON: {e}", 'pass a JSON object, such as {"type": "object"}') from None
    if schema is False:
        raise unsatisfiable(grammar, "it is false")
    if not isinstance(schema, dict) and schema is not True:
        raise Invalid(f"the schema is {text.strip()[:40]}, not an object", 'pass one, such as {"type": "object"}')
    try:
        return LLMatcher.grammar_from_json_schema("{}" if schema is True else text, _SPACINGS[grammar.spacing])
    except ValueError as e:
        raise explain(grammar, str(e)) from None


def explain(grammar: Grammar, message: str) -> SymphonyError:
    """The error for what llguidance says is wrong."""
    text = "\n".join([line for line in message.split("<non-verbose/>")[0].splitlines() if line.strip()])
    if grammar.kind == "regex":  # which was wrapped into a grammar: its line and column are not the author's
        text = re.sub(r"\n   1 \| start: .*\n\s*\^\s*$", "", text.partition("regex parse error:")[2] or text)
        text = re.sub(r'^at 1\(\d+\): invalid regex ".*" \(in regex\): ', "", text)
    if _BOUNDS.search(message):
        return LimitExceeded(f"the {grammar.noun} is too much for one constraint: {text}", "simplify it, or split it")
    if text.startswith("Unsatisfiable schema"):
        return unsatisfiable(grammar, text.partition(":")[2].strip())
    return Invalid(f"the {grammar.noun} cannot be used: {text}", _FIX[grammar.kind])


def unsatisfiable(grammar: Grammar, why: str = "") -> Invalid:
    return Invalid(f"no text satisfies the {grammar.noun}{': ' if why else ''}{why}", _FIX[grammar.kind])


def limits() -> LLParserLimits:
    """What one matcher may take, in llguidance's units."""
    return LLParserLimits(
        initial_lexer_fuel=CONSTRAINT_COMPILE_FUEL,
        step_lexer_fuel=CONSTRAINT_STEP_FUEL,
        step_max_items=CONSTRAINT_STEP_ITEMS,
        max_lexer_states=CONSTRAINT_STATES,
        max_grammar_size=MAX_GRAMMAR_SYMBOLS,
        verbose_errors=False,
    )
