"""An agent that thinks, looks something up, and goes on with what it read; everything stays in one KV file."""

from lip import Context, main, tool


@main
async def agent(system: str, question: str, calls: int, tokens: int) -> list[str]:
    async with Context() as ctx:
        go_on = {"max_tokens": tokens, "logit_bias": dict.fromkeys(ctx.model.stop_tokens, -100.0)}
        ctx.feed(system).feed(question)
        said: list[str] = []
        for step in range(calls):
            said.append((await ctx.generate(**go_on)).text)
            ctx.feed(await tool("look_up", step=step))
        said.append((await ctx.generate(**go_on)).text)
        return said
