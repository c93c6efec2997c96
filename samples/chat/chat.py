"""Chat: a conversation whose every turn is computed once. Replies are streamed as they are written.

The context is the conversation: a new turn is appended to what the model has read, keys and values included. A client
of a stateless endpoint sends everything again with every turn. With `live`, the program then waits for messages
(`process.send(text)`, `POST /v1/processes/PID/messages`), until an empty one comes.
"""

from collections.abc import AsyncIterator

from lip import Context, emit, main, receive, usage

TURNS = ["My name is Nora.", "What is the capital of Norway?", "What is my name?", "Thank you!"]


async def messages(turns: list[str], live: bool) -> AsyncIterator[str]:
    for turn in turns:
        yield turn
    while live and (turn := (await receive()).strip()):
        yield turn


@main
async def chat(
    turns: list[str] = TURNS, live: bool = False, system: str = "Answer briefly.", max_tokens: int = 64
) -> list[dict[str, str]]:
    said: list[dict[str, str]] = []
    sent_again = 0
    async with Context() as ctx:
        ctx.system(system)
        async for turn in messages(turns, live):
            emit(f"> {turn}\n")
            ctx.user(turn).assistant_start()
            sent_again += len(ctx)
            stream = ctx.stream(max_tokens=max_tokens)
            async for chunk in stream:
                emit(chunk.text)
            emit("\n")
            said += [{"role": "user", "content": turn}, {"role": "assistant", "content": stream.text}]
        read = usage().prompt_tokens + usage().reused_tokens
        emit(f"{read} prompt tokens read; all of it sent with every turn: {sent_again}\n")
    return said
