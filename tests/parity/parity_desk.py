"""A process on a core over real weights: what the tests of whole files drive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import torch
from parity_driver import PROBE

from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.messages import GenerateOptions, Readings
from symphony.core.victims import RoomLimits
from symphony.engine.local import LocalEngine
from symphony.engine.messages import Reading
from symphony.errors import SymphonyError

MOVE, DROP = 1e9, 0.0
"""Seconds that computing a token is said to take."""


class Desk:
    """One process on a core of its own."""

    def __init__(self, engine: LocalEngine, token_seconds: float) -> None:
        self.core = Core([engine], CoreConfig(room=RoomLimits(0.0, 0.0, 0.0), debug=True))
        self.core.connect(self.deliver)
        self.session = self.core.open_session("t")
        self.arrivals: dict[int, asyncio.Queue[Any]] = {}
        loop = self.core._loops[engine.info.name]
        self.room, self.arena = loop.room, loop.arena
        loop._prefilled = lambda seconds: None  # what is said, not what is measured
        self.arena.costs.token_seconds = token_seconds

    def deliver(self, op: int, answer: Any) -> None:
        self.arrivals[op].put_nowait(answer)

    def new_op(self) -> int:
        op = len(self.arrivals) + 1
        self.arrivals[op] = asyncio.Queue()
        return op

    async def file(self, tokens: Sequence[int]) -> int:
        file = await self.core.create(self.session, None)
        await self.pred(file, tokens)
        return file

    async def pred(self, file: int, tokens: Sequence[int]) -> torch.Tensor:
        """The log-probabilities [tokens, PROBE] after each."""
        op = self.new_op()
        await self.core.pred(self.session, file, op, tokens, range(len(tokens)), Readings(logprobs=PROBE))
        answer: list[Reading] | SymphonyError = await self.arrivals[op].get()
        if isinstance(answer, SymphonyError):
            raise answer
        return torch.tensor([reading.logprobs for reading in answer])

    async def generate(self, file: int, tokens: Sequence[int], count: int, stop: Sequence[int] = ()) -> list[int]:
        op, out = self.new_op(), []
        options = GenerateOptions(max_tokens=count, chunk_tokens=5, stop_tokens=stop)
        await self.core.generate(self.session, file, op, tokens, options)
        while True:
            assert await self.arrivals[op].get() is None
            chunk = await self.core.next(self.session, op)
            assert chunk is not None
            out += chunk.tokens
            if chunk.finish is not None:
                return out

    async def send_away(self, file: int) -> None:
        """To the host, or to nowhere."""
        await self.core.advise(self.session, file, "dont-need")
        while self.room.moves():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        self.forget_idle()
        tier = (await self.core.stat(self.session, file)).tier
        assert tier == ("host" if self.arena.costs.token_seconds else "evicted")

    def forget_idle(self) -> None:
        """Nothing that no file has is found again."""
        for page in list(self.arena.cache.idle):
            self.arena.cache.forget(page)
            self.arena._free(page)


def run(engine: LocalEngine, token_seconds: float, test: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        desk = Desk(engine, token_seconds)
        running = asyncio.create_task(desk.core.run())
        await test(desk)
        desk.core.check_integrity()
        await desk.core.close()
        await running
        desk.core.check_integrity()

    asyncio.run(asyncio.wait_for(main(), 120))
