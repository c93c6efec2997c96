"""Tree of thought: the model proposes steps, judges where each leads, and the program keeps the most promising.

The puzzle: reach the target from all the numbers, one step at a time. The program knows the rules, so every step drawn
is legal and its sum is right; the model knows, more or less, which are promising. A branch of the tree is a fork of its
parent's KV file. All branches of a level draw side by side, and one step of the model judges them all.
"""

import asyncio
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from lip import Context, emit, encode, main, pred_all, usage


@dataclass
class State:
    """A branch: the file in which the model read how it came there, the numbers left, the steps."""

    ctx: Context
    numbers: list[int]
    steps: list[str]


def moves(numbers: list[int]) -> dict[str, list[int]]:
    """Every legal step, as the model writes it, with the numbers after it."""
    found: dict[str, list[int]] = {}
    for i, j in combinations(range(len(numbers)), 2):
        x, y = max(numbers[i], numbers[j]), min(numbers[i], numbers[j])
        rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
        for sign, value in (("+", x + y), ("-", x - y), ("*", x * y)):
            left = [value, *rest]
            found[f"{x} {sign} {y} = {value} (left: {' '.join(map(str, left))})"] = left
    return found


async def propose(state: State, draws: int, alone: list[int]) -> list[State]:
    """The steps that the model draws here, each once, as new branches. `alone`: what each draw would cost by itself."""
    legal = moves(state.numbers)
    state.ctx.user(f"Numbers: {' '.join(map(str, state.numbers))}\nPropose a step.")
    await state.ctx.assistant_start().flush()  # computed once, shared by all draws

    async def draw(seed: int) -> tuple[str, Context]:
        fork = state.ctx.fork()
        out = await fork.generate(choice=list(legal), temperature=1.0, seed=seed, max_tokens=100)
        alone.append(len(fork))
        return out.text, fork

    drawn = dict(await asyncio.gather(*(draw(seed) for seed in range(draws))))
    return [State(fork, legal[text], [*state.steps, text.split(" (")[0]]) for text, fork in drawn.items()]


async def judge(states: list[State], target: int, alone: list[int]) -> list[float]:
    """How much more probable than "no" the model finds "yes", in nats, for each state."""
    forks = [state.ctx.fork() for state in states]
    for fork, state in zip(forks, states, strict=True):
        fork.user(f"Numbers: {' '.join(map(str, state.numbers))}\nTarget: {target}\nCan one step reach it?")
    yes, no = encode("yes")[0], encode("no")[0]
    dists = await pred_all([(fork, None) for fork in forks], logprobs=[yes, no])
    alone.extend(len(fork) for fork in forks)
    return [dist.logprob(yes) - dist.logprob(no) for dist in dists]


@main
async def tree(numbers: list[int] = [1, 5, 6, 9], target: int = 24, draws: int = 6, width: int = 4) -> dict[str, Any]:
    level = [State(Context(), numbers, [])]
    alone: list[int] = []
    states = 0
    while len(level[0].numbers) > 1:
        families = await asyncio.gather(*(propose(state, draws, alone) for state in level))
        grown = [child for family in families for child in family]
        states += len(grown)
        if len(grown[0].numbers) > 1:
            values = await judge(grown, target, alone)
        else:
            values = [1.0 if state.numbers == [target] else 0.0 for state in grown]
        order = sorted(range(len(grown)), key=lambda i: -values[i])[:width]
        level = [grown[i] for i in order]
        for i in order:
            emit(f"{'    ' * (len(grown[i].steps) - 1)}{grown[i].steps[-1]:<12} {grown[i].numbers} {values[i]:+.1f}\n")
    used = usage()
    tokens = used.prompt_tokens + used.generated_tokens
    emit(
        f"{states} states: {tokens} tokens in {used.forwards} forwards; {len(alone)} calls alone: {sum(alone)} tokens\n"
    )
    return {
        "solved": level[0].numbers == [target],
        "steps": level[0].steps,
        "states": states,
        "forwards": used.forwards,
        "tokens": tokens,
        "tokens_alone": sum(alone),
    }
