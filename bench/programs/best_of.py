"""Best of n: n drawn continuations of one prompt, and the one that the model itself finds most likely."""

import asyncio

from lip import Context, main

STRIDE, MASK = 0x9E37_79B9_7F4A_7C15, (1 << 64) - 1


@main
async def best_of(prompt: str, n: int, tokens: int, seed: int) -> str:
    async with Context().feed(prompt) as ctx:
        bias = dict.fromkeys(ctx.model.stop_tokens, -100.0)
        await ctx.flush()

        async def one(number: int) -> tuple[float, str]:
            draw = (seed + number * STRIDE) & MASK
            async with ctx.fork() as branch:
                out = await branch.generate(max_tokens=tokens, temperature=0.8, seed=draw, logprobs=0, logit_bias=bias)
            return sum(out.logprobs or []), out.text

        return max(await asyncio.gather(*map(one, range(n))), key=lambda found: found[0])[1]
