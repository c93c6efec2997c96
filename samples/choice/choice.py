"""Choice: constrained decoding by hand. The program, not the host, decides which tokens are allowed at each step.

It asks for the log-probabilities of exactly the tokens that keep an option alive and follows the best one, so the
answer is always one of the options, whatever the model would rather have said. Where only one token is left, it does
not ask at all.
"""

from lip import Context, emit, encode, main, usage


@main
async def choose(
    question: str = "Sentiment: I loved the lamp.", options: list[str] = ["positive", "negative", "neutral"]
) -> dict[str, object]:
    async with Context() as ctx:
        ctx.user(question)
        end = ctx.model.stop_tokens[0]  # so that an option may be the beginning of another
        alive = {option: [*encode(option), end] for option in options}
        at, pending = 0, list[int]()
        while len(alive) > 1:
            allowed = sorted({ids[at] for ids in alive.values()})
            best = allowed[0]
            if len(allowed) > 1:
                dist = await ctx.pred(pending or None, logprobs=allowed)
                best, pending = max(allowed, key=dist.logprob), []
            alive = {option: ids for option, ids in alive.items() if ids[at] == best}
            pending.append(best)
            at += 1
        [(answer, ids)] = alive.items()
        emit(f"{answer}: {len(ids)} tokens, {usage().forwards} forward passes\n")
        return {"answer": answer, "tokens": len(ids), "forwards": usage().forwards}
