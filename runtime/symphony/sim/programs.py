"""What simulated LIPs do: the two shapes of program that `mix.Group` describes."""

from __future__ import annotations

import asyncio

from symphony.sim.lip import Lip


async def line(lip: Lip) -> None:
    """One file that grows: an agent, a chat, a question about documents, a plain completion."""
    group, rng = lip.group, lip.rng
    file, tokens = await lip.shared()
    tokens += lip.text(max(1, group.prompt.count(rng) - group.shared))
    rounds = max(1, group.rounds.count(rng))
    for turn in range(rounds):
        await lip.write(file, tokens, max(1, group.output.count(rng)))
        if turn + 1 < rounds:
            await lip.pause()
            tokens = lip.text(max(1, group.result.count(rng)))


async def tree(lip: Lip) -> None:
    """A beam of files, each forked into branches at every level; the best ones go on."""
    group, rng = lip.group, lip.rng
    root, tokens = await lip.shared()
    await lip.pred(root, tokens + lip.text(max(1, group.prompt.count(rng) - group.shared)), ())
    beam = [root]
    for _ in range(max(1, group.rounds.count(rng))):
        forks = [(await lip.core.fork(lip.session, file), lip.text(1)) for file in beam for _ in range(group.branches)]
        for file in beam:
            await lip.core.close_file(lip.session, file)
        count = max(1, group.output.count(rng))
        await asyncio.gather(*(lip.write(file, first, count) for file, first in forks))
        await lip.pause()
        files = [file for file, _ in forks]
        rng.shuffle(files)
        beam, rest = files[: group.beam], files[group.beam :]
        for file in rest:
            await lip.core.close_file(lip.session, file)


PROGRAMS = {"line": line, "tree": tree}
