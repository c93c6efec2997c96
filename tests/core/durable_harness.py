"""A worker of a core with a store on a disk in memory, where K/V leaves the device as soon as somebody needs pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from core.core_harness import Host
from store.store_disk import MemoryDisk
from symphony.core.config import CoreConfig
from symphony.core.depot import DiskLimits
from symphony.core.victims import RoomLimits
from symphony.engine.fake import FakeEngine
from symphony.store.store import Store

WORDS = tuple(range(40, 140))
"""Of seven pages."""


class Durable(Host):
    def __init__(self, disk: MemoryDisk, disk_bytes: int = 1 << 20, **options: Any) -> None:
        sizes: dict[str, Any] = {"pages": 64, "host_pages": 32, **options}
        self.store = Store(disk)
        config = CoreConfig(debug=True, disk=DiskLimits(disk_bytes, 1.0), room=RoomLimits(0.0, 0.0, 0.0))
        super().__init__(FakeEngine(**sizes), config, self.store)

    @property
    def tiers(self) -> Any:
        return self.core._loops["fake"].room.tiers

    async def start_sync(self, session: int, file: int) -> int:
        op = next(self.ids)
        await self.core.sync(session, file, op)
        return op

    async def make(self, session: int, path: str, tokens: Sequence[int] = WORDS, sync: bool = True) -> int:
        file = await self.core.open(session, None, path, write=True, create=True)
        await self.pred(session, file, tokens)
        if sync:
            assert await self.arrival(await self.start_sync(session, file)) is None
        return file


@asynccontextmanager
async def life(disk: MemoryDisk, **options: Any) -> AsyncGenerator[Durable]:
    host = Durable(disk, **options)
    async with host as _:
        yield host
    await host.store.close()


class Bytes:
    """A source that has them all, and gives them in whatever parts are asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def read(self, size: int) -> bytes:
        some, self.data = self.data[:size], self.data[size:]
        return some
