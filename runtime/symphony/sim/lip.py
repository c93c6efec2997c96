"""A simulated LIP: a session of the real core, a process of the real level 1, and what it did written down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from symphony.core.core import Core
from symphony.core.messages import GenerateOptions, Reading
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import GREEDILY
from symphony.errors import NotFound, SymphonyError
from symphony.sim.cpu import Cpu
from symphony.sim.device import Device
from symphony.sim.mix import Group
from symphony.sim.records import Records


class Inbox:
    """Where the core delivers; LIPs wait here for their operations."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._early: dict[int, Any] = {}

    def deliver(self, op: int, answer: Any) -> None:
        waiter = self._waiting.pop(op, None)
        if waiter is None:
            self._early[op] = answer
        elif not waiter.done():
            waiter.set_result(answer)

    async def arrival(self, op: int) -> Any:
        if op in self._early:
            return self._early.pop(op)
        waiter = self._waiting[op] = asyncio.get_running_loop().create_future()
        return await waiter

    def forget(self, op: int) -> None:
        """The operation was cancelled; what it said before does not matter."""
        self._early.pop(op, None)


@dataclass(slots=True)
class World:
    """What all LIPs of a run share."""

    core: Core
    engine: FakeEngine
    cpu: Cpu
    device: Device
    records: Records
    inbox: Inbox = field(default_factory=Inbox)
    ops: int = 0
    pids: int = 0
    asleep: int = 0
    """LIPs that wake by themselves."""


class Lip:
    """Files are ids of the core; every call is awaited."""

    def __init__(self, world: World, group: Group, tenant: str, rng: random.Random) -> None:
        self.world = world
        self.core = world.core
        self.group = group
        self.rng = rng
        self.tenant = world.records.tenant(tenant)
        self.in_loop = rng.random() < group.in_loop
        self.started = self.now
        self.deadline = self.started + group.deadline
        world.pids += 1
        self.pid = world.pids
        world.cpu.add(self.pid, tenant, group.nice)
        self.session = self.core.open_session(tenant, priority=group.nice, deadline=self.deadline)
        self._last_token: dict[int, float] = {}
        """When each file got its last token."""

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def end(self, completed: bool) -> None:
        usage = self.core.usage(self.session)
        self.tenant.computed += usage.prompt_tokens + usage.generated_tokens
        await self.core.close_session(self.session)
        self.world.cpu.remove(self.pid)
        if completed:
            records = self.world.records
            records.lives.append(self.now - self.started)
            records.late += self.now > self.deadline

    # ---- beside the model
    async def think(self) -> None:
        await self.world.cpu.use(self.pid, self.group.think.draw(self.rng))
        await self.sleep(self.group.away.draw(self.rng))

    async def pause(self) -> None:
        """A tool, or a person."""
        await self.sleep(self.group.pause.draw(self.rng))

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.world.asleep += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self.world.asleep -= 1
            self.core.resume(self.session)

    def text(self, count: int) -> list[int]:
        """Tokens that nobody else has."""
        return list(self.rng.randbytes(count))

    # ---- files
    async def create(self) -> int:
        return await self.core.create(self.session, None)

    async def shared(self) -> tuple[int, list[int]]:
        """A file, and the tokens of the common prefix that it does not hold yet."""
        group = self.group
        prefix = [(7 * i + len(group.name)) % 250 for i in range(group.shared)]
        if not (group.save and prefix):
            return await self.create(), prefix
        path = f"/{group.name}/prefix"
        try:
            return await self.core.open(self.session, None, path), []
        except NotFound:
            file = await self.create()
            await self.pred(file, prefix, ())
            await self.core.save(self.session, file, path, True)
            return file, []

    # ---- the model
    def op(self) -> int:
        """A new operation id."""
        self.world.ops += 1
        return self.world.ops

    async def pred(self, file: int, tokens: Sequence[int], outputs: Sequence[int]) -> list[Reading]:
        world = self.world
        device = world.device
        op = self.op()
        asked, ready, steps = self.now, max(self.now, device.end), device.steps
        await self.core.pred(self.session, file, op, tokens, outputs, GREEDILY)
        answer = await world.inbox.arrival(op)
        if isinstance(answer, SymphonyError):
            raise answer
        records = world.records
        records.longest = max(records.longest, self.now - asked)
        if len(tokens) == 1:
            records.answers.append(self.now - asked)
            records.waits.append((device.start - ready) / (device.end - device.start))
            self.tenant.asked += device.steps - steps
            self.tenant.served += 1
        return answer

    async def write(self, file: int, tokens: Sequence[int], count: int) -> None:
        """`count` tokens after `tokens`, chosen here or by the core."""
        if self.in_loop:
            for _ in range(count):
                [reading] = await self.pred(file, tokens, (len(tokens) - 1,))
                self._got(file, 1)
                await self.think()
                tokens = (reading.sampled or 0,)
        else:
            await self._generate(file, tokens, count)

    async def start(self, file: int, op: int, tokens: Sequence[int], count: int) -> None:
        """Begin a generation."""
        await self.core.generate(self.session, file, op, tokens, GenerateOptions(max_tokens=count, chunk_tokens=1))

    async def _generate(self, file: int, tokens: Sequence[int], count: int) -> None:
        world = self.world
        op = self.op()
        asked = self.now
        await self.start(file, op, tokens, count)
        while True:
            await world.inbox.arrival(op)
            chunk = await self.core.next(self.session, op)
            if chunk is None:
                continue
            world.records.longest = max(world.records.longest, self.now - asked)
            self._got(file, len(chunk.tokens))
            if chunk.finish is not None:
                return
            await self.think()
            asked = self.now

    def _got(self, file: int, count: int) -> None:
        if not count:
            return
        records, now = self.world.records, self.now
        if not self._last_token:
            records.first.append(now - self.started)
        last = self._last_token.get(file)
        if last is not None:
            records.gaps += [(now - last) / count] * count
        self._last_token[file] = now
        self.tenant.tokens += count
