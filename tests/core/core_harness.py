"""A worker for tests: a core over a `FakeEngine`, its inbox, and the plain model of what it should say."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from core.naive_victims import watch
from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.messages import Chunk, GenerateOptions, Reading, Readings
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import GREEDY
from symphony.errors import SymphonyError
from symphony.store.store import Store

SAMPLE = Readings(sample=GREEDY)


class Gate:
    """Lets a test hold a step on the device: pass `sleep=gate.sleep, step_seconds=1` to the engine."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.entered.set()
        await self.open.wait()


class Host:
    """`async with Host(engine) as h`: the core runs; at the end its books are checked and no page may be in use."""

    def __init__(
        self,
        engine: FakeEngine | None = None,
        config: CoreConfig | None = None,
        store: Store | None = None,
        **options: Any,
    ) -> None:
        self.engine = engine or FakeEngine(**options)
        self.core = Core([self.engine], config or CoreConfig(debug=True), store)
        self.core.connect(self.deliver)
        watch(self.core)
        self.ids = itertools.count(1)
        self.answers: dict[int, Any] = {}
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.deliveries = 0

    async def __aenter__(self) -> Host:
        self.running = asyncio.create_task(self.core.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.core.check_integrity()
        await self.core.close()
        await self.running
        self.core.check_integrity()
        assert self.core.idle()
        assert self.pages_used == 0

    @property
    def pages_used(self) -> int:
        """Pages of files, named ones excluded."""
        kvfs = self.core._kvfs
        return len({(f.arena.model, page) for f in kvfs.files if not f.names for page in f.pages})

    def deliver(self, op: int, answer: Any) -> None:
        self.deliveries += 1
        self.answers.setdefault(op, []).append(answer)
        waiter = self.waiting.pop(op, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def arrival(self, op: int) -> Any:
        """The next thing delivered for an operation."""
        if not self.answers.get(op):
            self.waiting[op] = asyncio.get_running_loop().create_future()
            await self.waiting[op]
        return self.answers[op].pop(0)

    # ---- the calls of a worker
    async def start_pred(
        self,
        session: int,
        file: int,
        tokens: Sequence[int],
        outputs: Sequence[int] | None = None,
        readings: Readings = SAMPLE,
    ) -> int:
        op = next(self.ids)
        wanted = (max(len(tokens) - 1, 0),) if outputs is None else outputs
        await self.core.pred(session, file, op, tokens, wanted, readings)
        return op

    async def pred(self, session: int, file: int, tokens: Sequence[int], *args: Any, **kwargs: Any) -> list[Reading]:
        answer = await self.arrival(await self.start_pred(session, file, tokens, *args, **kwargs))
        if isinstance(answer, SymphonyError):
            raise answer
        return answer

    async def start(self, session: int, file: int, tokens: Sequence[int], **options: Any) -> int:
        op = next(self.ids)
        await self.core.generate(session, file, op, tokens, GenerateOptions(**options))
        return op

    async def chunk(self, session: int, op: int) -> Chunk:
        assert await self.arrival(op) is None
        chunk = await self.core.next(session, op)
        assert chunk is not None
        return chunk

    async def drain(self, session: int, op: int, tokens: list[int] | None = None) -> Chunk:
        """All chunks of a generation as one; `tokens` grows as they come."""
        whole = Chunk([] if tokens is None else tokens)
        while whole.finish is None:
            chunk = await self.chunk(session, op)
            whole.tokens += chunk.tokens
            whole.text += chunk.text
            whole.logprobs += chunk.logprobs
            whole.alternatives += chunk.alternatives
            whole.finish = chunk.finish
        return whole

    async def generate(self, session: int, file: int, tokens: Sequence[int], **options: Any) -> Chunk:
        return await self.drain(session, await self.start(session, file, tokens, **options))

    async def contents(self, session: int, file: int) -> list[int]:
        return await self.core.tokens(session, file, 0, await self.core.length(session, file))

    def expect(self, tokens: Sequence[int], count: int) -> list[int]:
        """What greedy generation after `tokens` must give."""
        all_tokens = list(tokens)
        for _ in range(count):
            all_tokens.append(self.engine.greedy(all_tokens))
        return all_tokens[len(tokens) :]


def run(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A coroutine as a test."""

    @functools.wraps(test)
    def wrapper(**arguments: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**arguments), 60))

    return wrapper


async def settle(turns: int = 50) -> None:
    """Let everything that can happen without time happen."""
    for _ in range(turns):
        await asyncio.sleep(0)
