"""Skeleton of thought: first the points of an answer, then all points at the same time.

The model writes a numbered list; each point is worked out in a fork of that conversation, and the forks write side by
side, a token each at every step of the model. The answer takes as many steps as its list and its longest point.
"""

import asyncio
import re
from typing import Any

from lip import Context, emit, main, usage

LIST = r"1\. [^\n]{1,60}(\n[2-9]\. [^\n]{1,60}){0,7}"


async def point(ctx: Context, question: str, max_tokens: int) -> tuple[str, int]:
    """What the model writes about one point, and how many tokens that took."""
    async with ctx.fork() as branch:
        branch.user(question)
        out = await branch.generate(max_tokens=max_tokens)
        return out.text, len(out.tokens)


@main
async def skeleton(
    question: str = "Number the items: France, Japan, Egypt, Peru",
    expand: str = "What is the capital of {point}?",
    max_tokens: int = 120,
) -> dict[str, Any]:
    async with Context() as ctx:
        ctx.user(question)
        outline = await ctx.generate(regex=LIST, max_tokens=max_tokens)
        points = re.findall(r"^\d\. (.+)$", outline.text, re.MULTILINE)
        before = usage().forwards
        questions = [expand.replace("{point}", text) for text in points]
        parts = await asyncio.gather(*(point(ctx, text, max_tokens) for text in questions))
        forwards = usage().forwards - before

    tokens = sum(count for _, count in parts)
    told = [{"point": text, "text": part} for text, (part, _) in zip(points, parts, strict=True)]
    for one in told:
        emit("{point}: {text}\n".format(**one))
    emit(f"{len(points)} points: {tokens} tokens in {forwards} forwards; one after the other, in {tokens}\n")
    return {"points": told, "tokens": tokens, "forwards": forwards}
