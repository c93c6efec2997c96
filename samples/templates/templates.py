"""Templates: a form whose text stands, and whose blanks the model fills in, each from a list of choices or a pattern.

The form becomes one Lark grammar, so its order, its words and its line ends are certain, and what is printed on it
costs no forward pass. Within a blank the model decides among all that fits, by what it has read so far.
"""

import json
import re
from string import Formatter
from typing import Any

from lip import Context, emit, main, usage

FORM = "Sky: {sky}\nTemperature: {degrees} degrees\nWind: {wind}\nTake an umbrella: {umbrella}"
BLANKS: dict[str, Any] = {
    "sky": ["clear", "cloudy", "rainy"],
    "degrees": r"-?[0-9]{1,2}",
    "wind": ["calm", "breezy", "stormy"],
    "umbrella": ["yes", "no"],
}


def grammar(form: str, blanks: dict[str, Any]) -> str:
    """The form in Lark: `start: "Sky: " SKY "\\nTemperature: " DEGREES ...`, and a line for each blank."""
    parts: list[str] = []
    for text, blank, _, _ in Formatter().parse(form):
        parts += [json.dumps(text)] if text else []
        parts += [blank.upper()] if blank else []
    lines = [f"start: {' '.join(parts)}"]
    for name, content in blanks.items():
        choices = f"/{content}/" if isinstance(content, str) else " | ".join(json.dumps(word) for word in content)
        lines.append(f"{name.upper()}: {choices}")
    return "\n".join(lines)


def read(form: str, blanks: dict[str, Any], text: str) -> dict[str, str]:
    """What stands in the blanks."""
    pattern = "".join(re.escape(t) + (f"(?P<{name}>.*)" if name else "") for t, name, _, _ in Formatter().parse(form))
    found = re.fullmatch(pattern, text)
    assert found is not None, "the grammar sees to that"
    return {name: found[name] for name in blanks}


@main
async def fill(
    question: str = "It rains in Oslo, 7 degrees, and a storm is coming.",
    form: str = FORM,
    blanks: dict[str, Any] = BLANKS,
) -> dict[str, Any]:
    async with Context() as ctx:
        ctx.user(f"{question}\nFill in the form.")
        await ctx.assistant_start().flush()
        before = usage().forwards
        out = await ctx.generate(grammar=grammar(form, blanks), max_tokens=200)
        forwards = usage().forwards - before
        emit(f"{out.text}\n{len(out.tokens)} tokens in {forwards} forward passes\n")
        return {"blanks": read(form, blanks, out.text), "tokens": len(out.tokens), "forwards": forwards}
