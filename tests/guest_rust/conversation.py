"""The case `conversation` of the probe, with the Python SDK."""

from lip import Context, main, tools


@main
async def conversation() -> list[list[int]]:
    async with Context() as ctx:
        ctx.system("Be brief.").user("Who are you?")
        await ctx.generate(max_tokens=12)
        ctx.user("And now?").assistant("Well.").user("Go on.").feed("I ")
        await ctx.generate(max_tokens=12)
        await ctx.fork().save("/conversation", overwrite=True)
        later = Context.open("/conversation")
        later.user("Still there?")
        await later.flush()
        agent = Context(tools=[offer.as_function() for offer in tools()]).user("1 + 2?")
        agent.message("assistant", "", tool_calls=[]).message("tool", "3").assistant_start()
        agent.feed("So:<|im_end|>", special=True).feed("<|im_end|>")
        return [ctx.tokens(0, len(ctx)), later.tokens(0, len(later)), agent.tokens(0, len(agent))]
