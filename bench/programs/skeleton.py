"""Skeleton of thought: first an outline, then all its points at once, each in a fork behind it."""

import asyncio

from lip import Context, main


@main
async def skeleton(question: str, points: list[str], outline: int, tokens: int) -> list[str]:
    async with Context().feed(question) as ctx:
        bias = dict.fromkeys(ctx.model.stop_tokens, -100.0)
        plan = await ctx.generate(max_tokens=outline, logit_bias=bias)

        async def expand(point: str) -> str:
            async with ctx.fork().feed(point) as branch:
                return (await branch.generate(max_tokens=tokens, logit_bias=bias)).text

        return [plan.text, *await asyncio.gather(*map(expand, points))]
