"""Files that were synced with another page size: each is written anew, once somebody opens it, beside everything else.

Until that is done, and if it fails, the file is on disk as it was. Joins durable.py with names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

from symphony.core.damage import lost
from symphony.core.depot import PART_BYTES, Mounted
from symphony.core.durable import Durable
from symphony.core.staging import Staging, layout_of, repaged
from symphony.errors import Invalid, NoSpace, NotFound, SymphonyError
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.image import Image
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.modes import READ, Principal, require
from symphony.kvfs.tree import Tree
from symphony.store.layout import Repager

_log = logging.getLogger(__name__)


class Repaging:
    """All methods belong to the event-loop thread. What is on its way goes on when its callers are gone."""

    def __init__(
        self, kvfs: Kvfs, tree: Tree, loops: Mapping[str, Mounted], durable: Durable, staging: Staging
    ) -> None:
        self._kvfs = kvfs
        self._tree = tree
        self._loops = loops
        self._durable = durable
        self._staging = staging
        self._adapting: dict[File, asyncio.Task[None]] = {}

    async def adapt(self, who: Principal, model: str, path: str) -> None:
        """If the file of that name was made by this model with another page size, give it the one of now. Raises
        Invalid (its K/V is damaged, and cannot be computed again), NoSpace, PermissionDenied."""
        try:
            file = self._tree.file(who, path)
        except (NotFound, Invalid):
            return
        arena = self._durable.depot.home(file.arena)
        if arena is None or arena.model != model:
            return
        require(file, who, READ, path)
        task = self._adapting.get(file)
        if task is None:
            task = self._adapting[file] = asyncio.ensure_future(self._adapt(file, arena, path))
            task.add_done_callback(lambda _: self._adapting.pop(file))
        await asyncio.shield(task)

    async def finish(self) -> None:
        """The end of the core: what is on its way is over."""
        while self._adapting:
            await asyncio.wait(list(self._adapting.values()))

    async def _adapt(self, file: File, arena: Arena, path: str) -> None:
        kvfs, durable, old, image = self._kvfs, self._durable, file.arena, file.image
        if image is not None:
            bad = await durable.depot.damaged(old, file.tenant, image.slots)
            if bad and file.derived is not None:
                raise lost(path)
            entries = min(image.entries, bad[0] * old.page_size) if bad else image.entries
            try:
                with durable.depot.kept(old, file.tenant, image.slots):  # it may be unlinked meanwhile
                    await self._staging.put(file, arena, entries, self._repaged(file, image, entries, arena))
            except NoSpace:
                if file.derived is not None:
                    raise
        if file not in kvfs.files:
            return
        if file.arena is not arena:
            kvfs.rehouse(file, arena)  # without K/V, which is computed
        try:
            await durable.sync(file)
        except SymphonyError:
            _log.exception(
                "%s could not be synced with pages of %d tokens; it is kept as it was", path, arena.page_size
            )

    async def _repaged(self, file: File, image: Image, entries: int, arena: Arena) -> AsyncIterator[list[bytes]]:
        old, size = file.arena, file.arena.page_size
        layout = layout_of(self._loops[arena.model].engine.info)
        repager, step = Repager(layout, arena.page_size), max(PART_BYTES // layout.size(size), 1)
        slots = image.slots[: old.pages_for(entries)]
        for at in range(0, len(slots), step):
            pages = await self._staging.read(old, slots[at : at + step])
            yield await asyncio.to_thread(repaged, repager, layout, size, pages, entries - at * size)
        yield repager.rest()
