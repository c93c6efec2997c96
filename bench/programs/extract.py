"""A value of a JSON schema out of a text: one call."""

from typing import Any

from lip import Context, main


@main
async def extract(text: str, schema: dict[str, Any], tokens: int) -> Any:
    async with Context().user(text) as ctx:
        return (await ctx.generate(schema=schema, max_tokens=tokens)).text
