"""Branches: one prompt computed once, then n continuations in parallel from copy-on-write forks of it.

`gather` starts them together and joins them at the end; meanwhile they share the steps of the model, a row each.
"""

import asyncio

from lip import Context, emit, main, usage


async def branch(ctx: Context, seed: int, max_tokens: int) -> str:
    async with ctx.fork() as child:
        return (await child.generate(max_tokens=max_tokens, temperature=1.0, seed=seed)).text


@main
async def branches(prompt: str = "Tell a story about Nora the fox.", n: int = 3, max_tokens: int = 24) -> list[str]:
    async with Context() as ctx:
        ctx.user(prompt).assistant_start()
        await ctx.flush()
        texts = await asyncio.gather(*(branch(ctx, seed, max_tokens) for seed in range(n)))
        cost = usage()
        emit(f"{cost.generated_tokens} tokens in {cost.forwards} forward passes; ")
        emit(f"{len(ctx)} prompt tokens for all, {n} requests on their own have {n * len(ctx)}\n")
        return texts
