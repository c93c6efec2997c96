"""Watermark: text that reads like any other, and that whoever has the key can tell from it by counting.

The token before and the key divide the vocabulary into green and red, anew at every place. While writing, green tokens
get a bonus; where the model is sure it makes no difference, where it is not green wins more often. The detector has
neither the model nor the prompt: it counts the green tokens of a text and says how unlikely so many are by chance.
"""

import asyncio
from itertools import pairwise
from math import exp, sqrt
from random import Random

from lip import Context, decode, emit, encode, main


def green(key: int, before: int, token: int) -> bool:
    """Whether a token is on the green half of the list that the one before it seeds: one bit of splitmix64."""
    z = (key * 0x9E3779B97F4A7C15 + (before << 32) + token) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return bool((z ^ z >> 31) & 1)


def detect(key: int, tokens: list[int]) -> tuple[float, int, int]:
    """(z-score, green ones, how many were looked at). A pair of tokens that comes again counts once: it proves nothing
    new. Above 4 is a mark with all but one chance in 30,000."""
    pairs = set(pairwise(tokens))
    count = sum(green(key, before, token) for before, token in pairs)
    return (count - len(pairs) / 2) / sqrt(len(pairs) / 4) if pairs else 0.0, count, len(pairs)


async def write(start: Context, length: int, seed: int, key: int | None, bonus: float) -> str:
    """`length` tokens, drawn among the 64 most probable ones; marked if there is a key."""
    dice, tokens = Random(seed), list[int]()
    async with start.fork() as ctx:
        while len(tokens) < length:
            dist = await ctx.pred(tokens[-1:] or None, top_k=64)
            ids, weights = zip(*dist.top_k(), strict=True)
            if key is not None and tokens:
                weights = [
                    p * exp(bonus * green(key, tokens[-1], token)) for token, p in zip(ids, weights, strict=True)
                ]
            tokens += dice.choices(ids, weights)
    return decode(tokens)


@main
async def watermark(
    start: str = "<|im_start|>user\nRead this text.\n",
    length: int = 96,
    seed: int = 3,
    key: int = 42,
    bonus: float = 2.0,
) -> dict[str, dict[str, object]]:
    async with Context() as ctx:
        ctx.feed(start, special=True)
        await ctx.flush()
        marked, plain = await asyncio.gather(*(write(ctx, length, seed, k, bonus) for k in (key, None)))
    found = {}
    for name, text, used in (("marked", marked, key), ("not marked", plain, key), ("another key", marked, key + 1)):
        z, count, pairs = detect(used, encode(text, special=True))
        found[name] = {"text": text, "z": round(z, 2), "green": count, "pairs": pairs}
        emit(f"{name:12} z = {z:5.2f}, {count} of {pairs} green  {text!r}\n")
    return found
