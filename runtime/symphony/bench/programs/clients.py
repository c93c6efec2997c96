"""The applications as clients: they keep the text, and send all of it whenever the model is to go on.

Written once over `Model`, which is an endpoint or a library; the names and arguments are those of the LIPs in
`bench/programs`. They ask as a careful client does: several choices in one request, independent requests side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from symphony.bench.programs.work import Job, look_up


class Written(NamedTuple):
    """One continuation."""

    text: str
    score: float
    """Log-probability of its tokens, where it was drawn."""


class Model(Protocol):
    """Whatever continues a text. What is not asked for with a seed is greedy."""

    async def complete(self, prompt: str, tokens: int, n: int = 1, seed: int | None = None) -> list[Written]:
        """`n` continuations of exactly so many tokens."""
        ...

    async def chat(self, text: str, tokens: int, schema: Mapping[str, Any] | None = None) -> str:
        """The answer to one turn, of at most so many tokens. Without constraints, `schema` is a hope."""
        ...


async def agent(model: Model, system: str, question: str, calls: int, tokens: int) -> list[str]:
    text, said = system + question, list[str]()
    for step in range(calls):
        said.append((await model.complete(text, tokens))[0].text)
        text += said[-1] + await look_up(step)
    return [*said, (await model.complete(text, tokens))[0].text]


async def tree(
    model: Model, problem: str, ask: str, width: int, keep: int, depth: int, tokens: int, seed: int
) -> list[str]:
    async def grow(text: str) -> list[tuple[int, str]]:
        grown = await model.complete(problem + text, tokens, width, seed)
        said = await asyncio.gather(*(model.complete(problem + text + one.text + ask, 4) for one in grown))
        return [(len(set(judged[0].text)), text + one.text) for one, judged in zip(grown, said, strict=True)]

    kept = [""]
    for _ in range(depth):
        found = [one for grown in await asyncio.gather(*map(grow, kept)) for one in grown]
        found.sort(key=lambda one: -one[0])
        kept = [text for _, text in found[:keep]]
    return kept


async def best_of(model: Model, prompt: str, n: int, tokens: int, seed: int) -> str:
    return max(await model.complete(prompt, tokens, n, seed), key=lambda one: one.score).text


async def prefix_tree(model: Model, root: str, branches: list[str], leaves: list[list[str]], tokens: int) -> list[str]:
    prompts = [root + branch + leaf for branch, ends in zip(branches, leaves, strict=True) for leaf in ends]
    return [one[0].text for one in await asyncio.gather(*(model.complete(prompt, tokens) for prompt in prompts))]


async def rag(model: Model, path: str, document: str, question: str, tokens: int) -> str:
    return (await model.complete(document + question, tokens))[0].text


async def shelf(model: Model, documents: dict[str, str], question: str, tokens: int) -> str:
    return (await model.complete("".join(documents.values()) + question, tokens))[0].text


async def skeleton(model: Model, question: str, points: list[str], outline: int, tokens: int) -> list[str]:
    plan = (await model.complete(question, outline))[0].text
    parts = await asyncio.gather(*(model.complete(question + plan + point, tokens) for point in points))
    return [plan, *(part[0].text for part in parts)]


async def extract(model: Model, text: str, schema: dict[str, Any], tokens: int) -> str:
    return await model.chat(text, tokens, schema)


async def lookup(model: Model, text: str, tokens: int) -> str:
    return await model.chat(text, tokens)


CLIENTS: dict[str, Callable[..., Awaitable[Any]]] = {
    client.__name__: client for client in (agent, tree, best_of, prefix_tree, rag, shelf, skeleton, extract, lookup)
}


async def run_jobs(run: Callable[[Job], Awaitable[Any]], jobs: list[Job], at_once: int) -> list[Any]:
    """The results in order, so many jobs at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(job: Job) -> Any:
        async with places:
            return await run(job)

    return list(await asyncio.gather(*(one(job) for job in jobs)))
