"""Sliding window with an attention sink: text of any length from a KV file that stays short.

Now and then the middle of the file is dropped: `extract` keeps its first tokens, where the task stands and attention
comes to rest, and the last ones, and turns their positions so that they count up again. The model never reads further
back than the window. Beside it, the same with everything kept, and with a window of the same size without a sink.
"""

import asyncio
from typing import Any

from lip import Context, emit, main


async def write(ctx: Context, sink: int, window: int, max_tokens: int, block: int) -> dict[str, Any]:
    """Generate in blocks, and keep `sink` and `window` tokens between them. Closes the context."""
    text, tokens, most = "", 0, len(ctx)
    while tokens < max_tokens:
        out = await ctx.generate(max_tokens=min(block, max_tokens - tokens))
        text, tokens, most = text + out.text, tokens + len(out.tokens), max(most, len(ctx))
        if out.finish_reason != "length":
            break
        if len(ctx) > sink + window:
            kept = ctx.extract([(0, sink), (len(ctx) - window, len(ctx))], rebase=True)
            ctx.close()
            ctx = kept
    ctx.close()
    return {"text": text, "tokens": tokens, "kept_at_most": most}


@main
async def sliding(
    prompt: str = "Count from 1 to 80.",
    sink: int | None = None,
    window: int = 32,
    max_tokens: int = 320,
    block: int = 8,
) -> dict[str, Any]:
    async with Context() as ctx:
        ctx.user(prompt).assistant_start()
        await ctx.flush()
        first = len(ctx) if sink is None else min(sink, len(ctx))
        ways = {"all": (0, len(ctx) + max_tokens), "no sink": (0, first + window), "sink": (first, window)}
        runs = (write(ctx.fork(), start, end, max_tokens, block) for start, end in ways.values())
        told = dict(zip(ways, await asyncio.gather(*runs), strict=True))
        for name, run in told.items():
            emit("{0}: {tokens} tokens, at most {kept_at_most} kept\n  {text}\n".format(name, **run))
        return told
