"""A question about several documents, each a KV file: put behind each other, only the question is new to the model.

Keys are turned to where their document stands now. What a document is to the model was found without the ones before
it, so that the answer may be another one than to the whole text.
"""

from contextlib import suppress

from lip import Context, Exists, fs, main


async def volume(path: str, document: str) -> Context:
    """The document's file; whoever asks first computes it."""
    if not fs.exists(path):
        async with Context().feed(document) as ctx:
            with suppress(Exists):  # somebody else asked at the same moment
                await ctx.save(path)
    return Context.open(path)


@main
async def shelf(documents: dict[str, str], question: str, tokens: int) -> str:
    first, *others = [await volume(*document) for document in documents.items()]
    async with first as ctx:
        for other in others:
            ctx.append(other)
            other.close()
        bias = dict.fromkeys(ctx.model.stop_tokens, -100.0)
        return (await ctx.feed(question).generate(max_tokens=tokens, logit_bias=bias)).text
