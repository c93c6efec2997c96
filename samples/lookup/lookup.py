"""Prompt lookup: much of what a model writes stands in its text already, so what followed last time is a good guess.

The guesses are verified together, in one step of the model: those that it would have written itself stand, the others
are forgotten. The text is that of a plain run, to the token. The host has this built in (`draft=Draft(...)`); beside it
stands the same technique as a loop of the program's own, over `ctx.verify`.
"""

from itertools import pairwise

from lip import Context, Draft, emit, main, usage

TEXT = (
    "Write to nora.brandt@example.com. We went to Lisbon. Write to support@example.org. "
    "The code is B4411. Write to ben.okafor@mail.net."
)


def guess(text: list[int], ngram: int, count: int) -> list[int]:
    """What followed the last time that the last `ngram` tokens stood in the text, or fewer of them if need be."""
    for n in range(min(ngram, len(text) - 1), 0, -1):
        for at in range(len(text) - n - 1, -1, -1):
            if text[at : at + n] == text[-n:]:
                return text[at + n : at + n + count]
    return []


async def by_hand(ctx: Context, max_tokens: int, ngram: int, guesses: int) -> list[int]:
    """Greedy generation, several tokens a step."""
    stops = ctx.model.stop_tokens
    text = ctx.tokens()
    written = [(await ctx.pred()).argmax()]
    while written[-1] not in stops and len(written) < max_tokens:
        drafted = guess(text + written, ngram, min(guesses, max_tokens - len(written) - 1))
        for token in await ctx.verify([written[-1], *drafted]):
            written.append(token)
            if token in stops:
                break
    return written


@main
async def lookup(
    prompt: str = f"List all emails in the text.\n{TEXT}", max_tokens: int = 96, ngram: int = 3, guesses: int = 8
) -> dict[str, object]:
    async with Context() as ctx:
        ctx.user(prompt)
        await ctx.assistant_start().flush()
        marks = [usage().forwards]
        plain = await ctx.fork().generate(max_tokens=max_tokens)
        marks.append(usage().forwards)
        built_in = await ctx.fork().generate(max_tokens=max_tokens, draft=Draft(ngram=ngram, tokens=guesses))
        marks.append(usage().forwards)
        own = await by_hand(ctx.fork(), max_tokens, ngram, guesses)
        marks.append(usage().forwards)

    emit(f"{plain.text}\n\n")
    costs = [end - start for start, end in pairwise(marks)]
    for name, forwards in zip(["one token a step", "draft=Draft(...)", "a loop over verify"], costs, strict=True):
        emit(f"{name:20} {len(plain.tokens)} tokens in {forwards} forward passes\n")
    same = built_in.tokens == plain.tokens == own
    return {"text": plain.text, "same": same, "tokens": len(plain.tokens), "forwards": costs}
