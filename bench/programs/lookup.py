"""An answer that repeats what is in its prompt: guesses from the text, verified several at a step."""

from lip import Context, main


@main
async def lookup(text: str, tokens: int) -> str:
    async with Context().user(text) as ctx:
        return (await ctx.generate(max_tokens=tokens, draft=True)).text
