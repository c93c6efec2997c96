"""Prompts that share their beginnings, as a tree: each part is computed once, because the program says so."""

import asyncio

from lip import Context, main


@main
async def prefix_tree(root: str, branches: list[str], leaves: list[list[str]], tokens: int) -> list[str]:
    async with Context().feed(root) as trunk:
        bias = dict.fromkeys(trunk.model.stop_tokens, -100.0)
        await trunk.flush()

        async def leaf(branch: Context, text: str) -> str:
            async with branch.fork().feed(text) as ctx:
                return (await ctx.generate(max_tokens=tokens, logit_bias=bias)).text

        async def grow(text: str, ends: list[str]) -> list[str]:
            async with trunk.fork().feed(text) as branch:
                await branch.flush()
                return await asyncio.gather(*(leaf(branch, end) for end in ends))

        grown = await asyncio.gather(*map(grow, branches, leaves))
        return [text for texts in grown for text in texts]
