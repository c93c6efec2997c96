"""A question about a document that is a KV file: whoever asks first computes it, the others open it."""

from contextlib import suppress

from lip import Context, Exists, fs, main


@main
async def rag(path: str, document: str, question: str, tokens: int) -> str:
    if not fs.exists(path):
        async with Context().feed(document) as ctx:
            with suppress(Exists):  # somebody else asked at the same moment
                await ctx.save(path)
    async with Context.open(path) as ctx:
        bias = dict.fromkeys(ctx.model.stop_tokens, -100.0)
        return (await ctx.feed(question).generate(max_tokens=tokens, logit_bias=bias)).text
