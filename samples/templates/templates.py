"""Templates: a form whose text stands, and whose blanks the model fills in, each from a list of choices or a pattern.

The form becomes one Lark grammar, so its order, its words and its line ends are certain, and what is printed on it
costs no forward pass. Within a blank the model decides among all that fits, by what it has read so far.
"""

import json
import re
from string import Formatter
from typing import Any

from lip import Context, emit, main, usage

STORY = (
    "Nora was a kind fox who lived near the park. One evening Nora lost a green chair. Nora looked in the kitchen but "
    'the chair was not there. Then Ben came and said: "I saw your chair in the park." They walked to the park together '
    "and found the green chair. Nora was happy and gave Ben a fig."
)
FORM = "{who} lost {thing} and {helper} helped to find it in the {place}."
BLANKS: dict[str, Any] = {
    "who": "[A-Z][a-z]+",
    "thing": "an? [a-z]+ [a-z]+",
    "helper": "[A-Z][a-z]+",
    "place": ["kitchen", "park", "school", "tower"],
}


def grammar(form: str, blanks: dict[str, Any]) -> str:
    """The form in Lark: `start: WHO " lost " THING " and " HELPER ...`, and a line for each blank."""
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
    assert found is not None, "the grammar sees to that, unless the text was cut off"
    return {name: found[name] for name in blanks}


@main
async def fill(
    question: str = f"Summarize: {STORY}",
    form: str = FORM,
    blanks: dict[str, Any] = BLANKS,
) -> dict[str, Any]:
    async with Context() as ctx:
        ctx.user(question)
        await ctx.assistant_start().flush()
        before = usage().forwards
        out = await ctx.generate(grammar=grammar(form, blanks), max_tokens=200)
        forwards = usage().forwards - before
        emit(f"{out.text}\n{len(out.tokens)} tokens in {forwards} forward passes\n")
        return {"blanks": read(form, blanks, out.text), "tokens": len(out.tokens), "forwards": forwards}
