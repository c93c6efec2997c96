"""Named sessions: a conversation that goes on in a later run without being read again.

Each turn is kept as a KV file with a number, `/sessions/NAME/0001` and so on: a snapshot, which shares all earlier
tokens with the one before it. A turn opens the last one, a private fork, and computes what is new. With `back` the last
turns are taken back first. Two runs may talk in one session: whoever comes second answers again, after the first.
"""

from typing import Any

from lip import Context, Exists, emit, fs, main, usage


async def turn(folder: str, say: str, days: int, max_tokens: int) -> dict[str, Any]:
    while True:
        turns = fs.glob(f"{folder}/*")
        async with Context.open(turns[-1]) if turns else Context() as ctx:
            known, before = len(ctx), usage()
            ctx.user(say)
            reply = await ctx.generate(max_tokens=max_tokens)
            computed = usage().prompt_tokens - before.prompt_tokens
            try:
                await ctx.link(f"{folder}/{len(turns) + 1:04}")
            except Exists:
                continue  # another run was faster: its turn comes first
            ctx.ttl(days * 86400)
            return {"say": say, "reply": reply.text, "known": known, "computed": computed}


@main
async def sessions(
    say: str | list[str] = ["My name is Omar.", "What is the capital of Peru?", "What is my name?"],
    name: str = "demo",
    back: int = 0,
    days: int = 30,
    max_tokens: int = 64,
) -> list[dict[str, Any]]:
    folder = f"/sessions/{name}"
    for path in fs.glob(f"{folder}/*")[::-1][:back]:
        fs.unlink(path)
    said: list[dict[str, Any]] = []
    for text in [say] if isinstance(say, str) else say:
        said.append(await turn(folder, text, days, max_tokens))
        emit("{say} -> {reply}   ({known} tokens known, {computed} computed)\n".format(**said[-1]))
    return said
