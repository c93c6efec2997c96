"""Small random histories with locks and little memory: every LIP must end.

A few LIPs of two tenants do whatever comes to their mind with their own files and with named ones that they share:
predict, generate, fork, truncate, save, cancel, lock, unlock, pause. The engine checks all K/V; a deadlock, a wrong
entry or a leaked page ends the history with an exception. What the design answers with an error (busy, no space, a name
that is gone) is part of the game.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from symphony.errors import Busy, Exists, LimitExceeded, NoSpace, NotFound
from symphony.sched.policies import policy
from symphony.sim.device import StepModel
from symphony.sim.lip import Lip, World
from symphony.sim.mix import Group, Mix, Pool, Range
from symphony.sim.run import run_world

_NAMES = 3
_POLICIES = ("adaptive", "eager", "rows:4", "time:1")


@dataclass(slots=True)
class Tally:
    """What happened in a history, or in several."""

    histories: int = 0
    lips: int = 0
    operations: int = 0
    steps: int = 0
    moved: int = 0
    refused: int = 0
    """Calls that were answered with one of the errors of the game..."""
    cycles: int = 0
    """...and those of them where waiting for a lock would have closed a cycle."""
    seconds: float = 0.0
    """Virtual."""

    def add(self, other: Tally) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def history(seed: int) -> Tally:
    """One history. Raises what went wrong: clock.Stuck, an InternalError, a KVFS whose books do not agree."""
    rng = random.Random(seed)
    page_size, pages = rng.choice((2, 4, 8)), rng.randint(6, 24)
    group = Group("soak", think=Range(0, rng.choice((0.0, 1e-4))), prompt=Range(1, page_size * pages // 3))
    mix = Mix(
        "soak",
        (group,),
        device=StepModel(rng.choice((1e-4, 1e-3)), 1e-5, 1e-5, 0.0, rng.choice((1e-5, 1e-3))),
        pool=Pool(pages, page_size, rng.choice((0, pages, 4 * pages))),
        step_tokens=rng.choice((4, 16, 256)),
        step_rows=rng.choice((2, 8, 64)),
    )
    tally = Tally(histories=1, lips=rng.randint(2, 8))

    async def work(world: World, tasks: asyncio.TaskGroup) -> None:
        for number in range(tally.lips):
            own = random.Random(f"{seed} {number}")
            tasks.create_task(_Wanderer(Lip(world, group, f"tenant-{number % 2}", own), own, tally).live())

    tally.seconds, world = run_world(mix, policy(rng.choice(_POLICIES)), work, check=True)
    tally.operations, tally.steps, tally.moved = world.ops, world.device.steps, world.engine.moved
    return tally


class _Wanderer:
    def __init__(self, lip: Lip, rng: random.Random, tally: Tally) -> None:
        self.lip = lip
        self.core = lip.core
        self.session = lip.session
        self.rng = rng
        self.tally = tally
        self.files: list[int] = []
        self.locks: list[int] = []
        self.most = int(lip.group.prompt.high)

    async def live(self) -> None:
        lip, rng = self.lip, self.rng
        acts = (self.write, self.write, self.fork, self.cut, self.name, self.open, self.lock, self.release, self.cancel)
        await lip.sleep(rng.random() * 0.01)
        for _ in range(rng.randint(5, 25)):
            try:
                await rng.choice(acts)()
            except (Busy, NoSpace, NotFound, Exists, LimitExceeded):
                self.tally.refused += 1
            if rng.random() < 0.3:
                await lip.sleep(rng.random() * 0.02)
        if rng.random() < 0.5:  # else the end of the session has to let go of everything
            await self.release()
        await lip.end(True)

    async def file(self) -> int:
        """Any of its files, or a new one."""
        if not self.files or self.rng.random() < 0.2:
            self.files.append(await self.lip.create())
        return self.rng.choice(self.files)

    def tokens(self) -> Sequence[int]:
        same = self.rng.random() < 0.3  # sometimes what others have said too
        count = self.rng.randint(1, self.most)
        return list(range(count)) if same else self.lip.text(count)

    async def write(self) -> None:
        file = await self.file()
        self.lip.in_loop = self.rng.random() < 0.5
        await self.lip.write(file, self.tokens(), self.rng.randint(1, 6))

    async def cancel(self) -> None:
        """Begin something, and think better of it."""
        file, op = await self.file(), self.lip.op()
        await self.lip.start(file, op, self.tokens(), self.rng.randint(1, 10))
        await self.lip.sleep(self.rng.random() * 0.003)
        await self.core.cancel(self.session, op)
        self.lip.world.inbox.forget(op)

    async def fork(self) -> None:
        if len(self.files) > 4:
            await self.core.close_file(self.session, self.files.pop(0))
        self.files.append(await self.core.fork(self.session, await self.file()))

    async def cut(self) -> None:
        file = await self.file()
        length = await self.core.length(self.session, file)
        await self.core.truncate(self.session, file, self.rng.randint(0, length))

    def path(self) -> str:
        return f"/{self.rng.randrange(_NAMES)}"

    async def name(self) -> None:
        if self.rng.random() < 0.2:
            await self.core.unlink(self.session, self.path())
        else:
            await self.core.save(self.session, await self.file(), self.path(), True)

    async def open(self) -> None:
        self.files.append(await self.core.open(self.session, None, self.path(), write=True, create=True))

    async def lock(self) -> None:
        """Lock a shared file, in no order at all; whoever would close a cycle lets go of everything."""
        file = await self.core.open(self.session, None, self.path(), write=True, create=True)
        self.files.append(file)
        shared, op = self.rng.random() < 0.4, self.lip.op()
        if self.rng.random() < 0.3:
            self.locks.append(await self.core.try_lock(self.session, file, shared))
            return
        try:
            self.locks.append(await self.core.lock(self.session, file, op, shared))
        except Busy:
            self.tally.cycles += 1
            await self.release()
            raise
        await self.lip.world.inbox.arrival(op)

    async def release(self) -> None:
        while self.locks:
            await self.core.unlock(self.session, self.locks.pop())
