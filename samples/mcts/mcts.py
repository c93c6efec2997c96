"""Monte Carlo tree search: the model writes a story sentence by sentence, on from where stories came out best so far.

A node is a beginning of the story: a fork of its parent's KV file with one sentence more. UCT walks down to a
beginning that promises much or was seldom tried; its next sentences are drawn side by side, each story is told to its
end once, and what that was worth goes up to the root. What it is worth the program says: how many wished words it has.
"""

import asyncio
from dataclasses import dataclass, field
from itertools import count
from math import log, sqrt
from typing import Any

from lip import Context, decode, emit, main, usage


@dataclass(eq=False)
class Node:
    """A beginning of the story, and the file in which the model wrote it."""

    ctx: Context
    text: str = ""
    over: bool = False
    parent: "Node | None" = None
    children: "list[Node]" = field(default_factory=list)
    visits: int = 0
    total: float = 0.0

    def promise(self, explore: float) -> float:
        assert self.parent is not None
        return self.total / self.visits + explore * sqrt(log(self.parent.visits) / self.visits)

    def learn(self, value: float) -> None:
        node: Node | None = self
        while node is not None:
            node.visits += 1
            node.total += value
            node = node.parent


@dataclass
class Teller:
    """What draws sentences and endings. `alone`: tokens that its calls would compute if each were sent by itself."""

    temperature: float
    seeds: "count[int]"
    max_tokens: int
    alone: int = 0

    async def write(self, ctx: Context, stop: list[str]) -> tuple[str, bool]:
        """What the model writes on, and whether the story is over with it."""
        sampling: dict[str, Any] = {"temperature": self.temperature, "seed": next(self.seeds)}
        out = await ctx.generate(stop=stop, max_tokens=self.max_tokens, **sampling)
        self.alone += len(ctx)
        unfinished = out.finish_reason == "stop-string"
        return decode(out.tokens) if unfinished else out.text, not unfinished

    async def child(self, parent: Node) -> tuple[Node, str]:
        """The parent with a sentence more, and a story that begins so."""
        node = Node(parent.ctx.fork(), parent=parent)
        sentence, node.over = await self.write(node.ctx, ["."])
        node.text = story = parent.text + sentence
        if not node.over:
            async with node.ctx.fork() as fork:
                story += (await self.write(fork, []))[0]
        return node, story


@main
async def mcts(
    prompt: str = "Tell a story about Nora.",
    wishes: list[str] = ["fox", "harbor", "golden", "umbrella", "grape"],
    rounds: int = 8,
    width: int = 4,
    explore: float = 0.1,
    temperature: float = 1.0,
    seed: int = 0,
    max_tokens: int = 120,
) -> dict[str, Any]:
    root, teller = Node(Context()), Teller(temperature, count(seed), max_tokens)
    await root.ctx.user(prompt).assistant_start().flush()  # computed once, shared by all
    best, value, told = "", -1.0, 0
    for _ in range(rounds):
        node = root
        while node.children:
            node = max(node.children, key=lambda child: child.promise(explore))
        if node.over:
            node.learn(node.total / node.visits)  # nothing can be added to it; others become more attractive
            continue
        for child, story in await asyncio.gather(*(teller.child(node) for _ in range(width))):
            worth = sum(wish in story for wish in wishes) / len(wishes)
            node.children.append(child)
            child.learn(worth)
            told += 1
            if worth > value:
                best, value = story, worth
                emit(f"{told:3}. {worth:.2f} {story}\n")
    used = usage()
    tokens = used.prompt_tokens + used.generated_tokens
    emit(f"{told} stories: {tokens} tokens in {used.forwards} forwards; calls alone: {teller.alone} tokens\n")
    return {
        "story": best,
        "value": value,
        "stories": told,
        "forwards": used.forwards,
        "tokens": tokens,
        "tokens_alone": teller.alone,
    }
