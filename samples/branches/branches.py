"""Branches: one prompt computed once, then n continuations in parallel from copy-on-write forks of it."""

import asyncio

from lip import Context, main


async def branch(ctx: Context, i: int, max_tokens: int) -> str:
    async with ctx.fork() as child:
        child.feed(f"({i}) ")
        return (await child.generate(max_tokens=max_tokens)).text


@main
async def branches(prompt: str = "Tell me about the fox.", n: int = 3, max_tokens: int = 24) -> list[str]:
    async with Context() as ctx:
        ctx.user(prompt)
        await ctx.flush()
        return await asyncio.gather(*(branch(ctx, i, max_tokens) for i in range(n)))
