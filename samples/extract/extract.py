"""JSON extraction: from text to a value that fits a schema, every time.

The schema goes along with the generation. A token that would leave it is never drawn, and what it forces anyway
(braces, keys, quotes) is appended without asking the model: fewer forward passes than tokens. Beside it, for
comparison, the same question without a schema.
"""

from typing import Any

from lip import Context, emit, main, usage

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "city": {"type": "string", "maxLength": 40},
    },
    "required": ["name", "age", "city"],
    "additionalProperties": False,
}


@main
async def extract(
    text: str = "Nora Brandt is 34 years old and lives in Lisbon.", schema: dict[str, Any] = PERSON
) -> dict[str, Any]:
    async with Context() as ctx:
        ctx.user(f"Extract {', '.join(schema['properties'])} as JSON.\n{text}")
        await ctx.assistant_start().flush()
        free = ctx.fork()

        start = usage().forwards
        out = await ctx.generate(schema=schema, max_tokens=200)
        middle = usage().forwards
        plain = await free.generate(max_tokens=200)
        end = usage().forwards

        emit(f"with the schema: {len(out.tokens)} tokens in {middle - start} forward passes\n")
        emit(f"without:         {len(plain.tokens)} tokens in {end - middle}, {plain.text!r}\n")
        return {"value": out.json(), "tokens": len(out.tokens), "forwards": middle - start}
