"""Tree of thought: each thought that was kept grows some more, a judge looks at what came, the best go on."""

import asyncio

from lip import Context, main

STRIDE, MASK = 0x9E37_79B9_7F4A_7C15, (1 << 64) - 1


@main
async def tree(problem: str, ask: str, width: int, keep: int, depth: int, tokens: int, seed: int) -> list[str]:
    root = Context().feed(problem)
    bias = dict.fromkeys(root.model.stop_tokens, -100.0)
    await root.flush()

    async def grow(ctx: Context, text: str, number: int) -> tuple[int, str, Context]:
        branch = ctx.fork()
        draw = (seed + number * STRIDE) & MASK
        out = await branch.generate(max_tokens=tokens, temperature=0.8, seed=draw, logit_bias=bias)
        async with branch.fork() as judge:
            said = (await judge.feed(ask).generate(max_tokens=4, logit_bias=bias)).text
        return len(set(said)), text + out.text, branch

    kept = [(root, "")]
    for _ in range(depth):
        found = await asyncio.gather(*(grow(ctx, text, number) for ctx, text in kept for number in range(width)))
        found.sort(key=lambda one: -one[0])
        for _, _, loser in found[keep:]:
            loser.close()
        kept = [(ctx, text) for _, text, ctx in found[:keep]]
    return [text for _, text in kept]
