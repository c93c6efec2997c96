"""What a tenant can learn from its own waiting: whether a neighbour has used a prompt. On a virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.messages import Readings
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import GREEDY
from symphony.sim.clock import run
from symphony.sim.device import Device, StepModel
from symphony.sim.lip import Inbox

PROMPT = 128
DRAW = Readings(sample=GREEDY)


class Prober:
    """Sends prompts, and says how long the first token took."""

    def __init__(self, core: Core, inbox: Inbox) -> None:
        self.core, self.inbox, self.ops = core, inbox, 0

    async def ask(self, tenant: str, prompt: Sequence[int]) -> float:
        loop = asyncio.get_running_loop()
        session = self.core.open_session(tenant)
        file = await self.core.create(session, None)
        self.ops += 1
        start = loop.time()
        await self.core.pred(session, file, self.ops, prompt, (len(prompt) - 1,), DRAW)
        await self.inbox.arrival(self.ops)
        seconds = loop.time() - start
        await self.core.close_session(session)
        return seconds


async def probes(count: int, attacker: str, rng: random.Random) -> tuple[list[float], list[float]]:
    """Times of the attacker's prompts that the victim had used before, and of those that it had not."""
    loop = asyncio.get_running_loop()
    device = Device(StepModel(base=2e-3, token=5e-5))
    engine = FakeEngine(pages=2000, check=False, step_seconds=device)
    core, inbox = Core([engine], CoreConfig(clock=loop.time, wall_clock=loop.time, timer_resolution=0.0)), Inbox()
    core.connect(inbox.deliver)
    running = asyncio.ensure_future(core.run())
    await asyncio.sleep(0)
    prober = Prober(core, inbox)
    used: list[float] = []
    unused: list[float] = []

    async def crowd() -> None:
        while True:
            await asyncio.sleep(rng.expovariate(50))
            await prober.ask("crowd", rng.choices(range(250), k=rng.randrange(1, 60)))

    others = [asyncio.ensure_future(crowd()) for _ in range(2)]
    for _ in range(count):
        guess = rng.choices(range(250), k=PROMPT)
        secret = rng.random() < 0.5
        await prober.ask("victim", guess if secret else rng.choices(range(250), k=PROMPT))
        await asyncio.sleep(rng.expovariate(100))
        (used if secret else unused).append(await prober.ask(attacker, guess))
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await core.close()
    await running
    return used, unused


def auc(quick: Sequence[float], slow: Sequence[float]) -> float:
    """The probability that one of `quick` is less than one of `slow`, ties counting half."""
    ranked = sorted([(time, 0) for time in quick] + [(time, 1) for time in slow])
    wins = 0.0
    at = before = 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        ties = [kind for _, kind in ranked[at:end]]
        wins += ties.count(1) * (before + ties.count(0) / 2)
        before += ties.count(0)
        at = end
    return wins / (len(quick) * len(slow))


def test_another_tenant_learns_nothing() -> None:
    used, unused = run(probes(2000, "attacker", random.Random(1)))
    assert 0.45 <= auc(used, unused) <= 0.55


def test_the_measure_would_show_it() -> None:
    """Within a tenant sharing is meant, and seen."""
    used, unused = run(probes(200, "victim", random.Random(2)))
    assert auc(used, unused) > 0.95


@pytest.mark.parametrize(("quick", "slow", "expected"), [([1, 1], [2, 2], 1), ([2], [1], 0), ([1, 2], [1, 2], 0.5)])
def test_auc(quick: list[float], slow: list[float], expected: float) -> None:
    assert auc(quick, slow) == expected
