"""Best of n: draw several answers, have each judged, give the one that the judge likes most.

The question is computed once, and the answers grow from forks of it, side by side. Answers that are the same are judged
once. The judge is the same model with another question; all its verdicts are one step: a `pred_all` that asks for the
log-probabilities of "yes" and "no" and of nothing else.
"""

import asyncio
from collections import Counter
from math import exp

from lip import Context, emit, encode, main, pred_all, usage


async def answers(question: str, pattern: str, n: int, temperature: float) -> list[str]:
    async with Context() as ctx:
        ctx.user(question)
        await ctx.assistant_start().flush()

        async def one(seed: int) -> str:
            async with ctx.fork() as fork:
                return (await fork.generate(regex=pattern, temperature=temperature, seed=seed)).text

        return await asyncio.gather(*(one(seed) for seed in range(n)))


async def judge(questions: list[str]) -> list[float]:
    """How much more the model says yes than no: the probability of yes among the two."""
    yes, no = encode("yes")[0], encode("no")[0]
    contexts = [Context().user(question) for question in questions]
    dists = await pred_all([(ctx, None) for ctx in contexts], logprobs=[yes, no])
    for ctx in contexts:
        ctx.close()
    return [1 / (1 + exp(dist.logprob(no) - dist.logprob(yes))) for dist in dists]


@main
async def best_of(
    question: str = "Subtract 27 from 64.",
    verdict: str = "Is 64 - 27 = {answer} correct?",
    pattern: str = "[0-9]{1,3}",
    n: int = 12,
    temperature: float = 3.0,
) -> dict[str, object]:
    drawn = Counter(await answers(question, pattern, n, temperature))
    written = usage().forwards
    scores = await judge([verdict.format(answer=answer) for answer in drawn])
    ranking = sorted(zip(scores, drawn, strict=True), reverse=True)
    for score, answer in ranking:
        emit(f"{score:.3f}  {answer!r}, drawn {drawn[answer]} times of {n}\n")
    cost = usage()
    emit(
        f"{cost.generated_tokens} tokens drawn in {written} forward passes, all verdicts in {cost.forwards - written}\n"
    )
    return {"answer": ranking[0][1], "score": round(ranking[0][0], 3), "votes": dict(drawn)}
