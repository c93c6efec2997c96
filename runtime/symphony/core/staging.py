"""K/V on its way to disk and from there, a part at a time, so that none has to fit into memory.

Below porting.py and repaging.py; of names and of what a KV file looks like outside it knows nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from math import prod

from symphony.core.depot import PART_BYTES, Depot
from symphony.engine.messages import ModelInfo
from symphony.errors import InternalError, Unavailable
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.image import Image, unref_image
from symphony.kvfs.kvfs import Kvfs
from symphony.store.layout import Layout, Repager, leading


class Staging:
    """All methods belong to the event-loop thread."""

    def __init__(self, kvfs: Kvfs, depot: Depot) -> None:
        self._kvfs = kvfs
        self._depot = depot

    async def put(self, file: File, arena: Arena, entries: int, pages: AsyncIterator[list[bytes]]) -> None:
        """Write the K/V of a file's first entries to disk, and make it the file's. Raises NoSpace, Unavailable, and
        what `pages` raises."""
        depot, kvfs, tenant = self._depot, self._kvfs, file.tenant
        if not depot.keeps(arena):
            raise Unavailable(
                "this host keeps nothing on disk",
                "start it with a home of its own: symphony serve, or Runtime(home=...)",
            )
        slots = tuple(kvfs.take_disk(arena, arena.pages_for(entries), tenant))
        try:
            with depot.hold(arena, tenant, slots):
                left = iter(slots)
                async for some in pages:
                    for part in _parts_of(some):
                        await depot.write(arena, {next(left): data for data in part})
                if file.arena is not arena and file in kvfs.files:
                    kvfs.rehouse(file, arena)
                if entries and file in kvfs.files:
                    kvfs.set_image(file, Image(entries, slots), 0)
        finally:
            unref_image(arena, slots, tenant)

    async def read(self, arena: Arena, slots: Sequence[int]) -> list[bytes]:
        """What these slots hold. Raises InternalError if that is not what was written."""
        found = await self._depot.read(arena, slots)
        good = [data for data in found if data is not None]
        if len(good) < len(slots):
            raise InternalError("the file's K/V on disk was damaged while it was read", "try again")
        return good


def repaged(repager: Repager, layout: Layout, size: int, pages: list[bytes], entries: int) -> list[bytes]:
    """What is complete once the repager has the first `entries` of these pages of `size` too."""
    made: list[bytes] = []
    for i, data in enumerate(pages):
        here = min(size, entries - i * size)
        made += repager.add(leading(layout, data, size, here), here)
    return made


def layout_of(info: ModelInfo) -> Layout:
    """Of a model whose images have a shape."""
    shape = info.image_shape
    assert shape is not None
    groups = prod(shape.before)
    return Layout(groups, info.image_bytes // (groups * info.page_size))


def _parts_of(pages: list[bytes]) -> Iterator[list[bytes]]:
    step = max(PART_BYTES // len(pages[0]), 1) if pages else 1
    for at in range(0, len(pages), step):
        yield pages[at : at + step]
