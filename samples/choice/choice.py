"""Choice: constrained decoding by hand. The program, not the host, decides which tokens are allowed at each step.

It asks for the log-probabilities of exactly the tokens that keep an option alive and follows the best one, so the
answer is always one of the options, whatever the model would rather have said.
"""

from lip import Context, encode, main


@main
async def choose(question: str = "Is the sky blue?", options: list[str] = ["yes", "no", "maybe"]) -> dict[str, object]:
    async with Context() as ctx:
        ctx.user(f"{question} Answer with one of: {', '.join(options)}.")
        alive = {option: encode(option) for option in options}
        answer: list[int] = []
        while not (len(alive) == 1 and next(iter(alive.values())) == answer):
            allowed = sorted({ids[len(answer)] for ids in alive.values() if len(ids) > len(answer)})
            if not allowed:
                break
            dist = await ctx.pred(answer[-1:] or None, logprobs=allowed)
            best = max(allowed, key=lambda token: dist.logprob(token))
            answer.append(best)
            alive = {o: ids for o, ids in alive.items() if ids[: len(answer)] == answer}
        return {"answer": next(iter(alive)), "tokens": len(answer)}
