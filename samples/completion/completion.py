"""Completion: one chat turn, streamed to the client as it is generated."""

from lip import Context, emit, main


@main
async def completion(prompt: str = "Hello, who are you?", max_tokens: int = 48) -> str:
    async with Context() as ctx:
        ctx.user(prompt)
        text = ""
        async for chunk in ctx.stream(max_tokens=max_tokens):
            emit(chunk.text)
            text += chunk.text
        return text
