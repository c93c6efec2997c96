"""KV files that leave the host and come to it.

    send       a snapshot of a file, as one safetensors file (store/kvfile.py), a piece at a time
    receive    such a file, from anywhere: K/V goes to disk as it comes, and is made durable with the name at the end

What is received is of whoever made it: unless the operator vouches for it, it counts as derived, so that no other file
ever gets it from the prefix cache. Joins staging.py (K/V to disk and back) and durable.py with names;
HTTP and disks are elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import prod
from typing import Protocol

from symphony.core.checks import check_context, check_ids
from symphony.core.depot import PART_BYTES, Mounted
from symphony.core.durable import Durable
from symphony.core.staging import Staging, layout_of, repaged
from symphony.engine.messages import ModelInfo
from symphony.errors import Invalid, NotFound, Unavailable
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.image import Image, unref_image
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.modes import Principal
from symphony.kvfs.tree import Tree
from symphony.store.kvfile import (
    CHECK,
    MAX_HEADER_BYTES,
    VERSION,
    Description,
    Head,
    broken,
    compose,
    described,
    parse,
    split,
    total,
)
from symphony.store.layout import Layout, Repager, is_sound
from symphony.store.pool import checksum
from symphony.store.words import packed, unpacked

_log = logging.getLogger(__name__)


class Source(Protocol):
    """Bytes that come from somewhere."""

    async def read(self, size: int) -> bytes:
        """The next `size`; fewer only at the end."""
        ...


@dataclass(slots=True)
class Parcel:
    """A file on its way out."""

    size: int
    """Bytes."""
    parts: AsyncIterator[bytes]


class Porter:
    """All methods belong to the event-loop thread."""

    def __init__(
        self, kvfs: Kvfs, tree: Tree, loops: Mapping[str, Mounted], durable: Durable, staging: Staging
    ) -> None:
        self._kvfs = kvfs
        self._tree = tree
        self._loops = loops
        self._durable = durable
        self._staging = staging

    # ---- out -----------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def send(self, who: Principal, file: File, path: str) -> AsyncGenerator[Parcel]:
        """The file as it is now, whatever happens to it meanwhile; what that takes counts as `who`'s. Raises Invalid
        (its K/V on disk is damaged, or it is another model's), Busy, NoSpace, LimitExceeded, Unavailable."""
        loop = self._loops.get(file.arena.model)
        if loop is None:
            raise Invalid(
                f"{path} was made by the model {file.arena.model}, which this host does not run",
                "start the host with that model",
            )
        kvfs, arena = self._kvfs, file.arena
        snapshot = kvfs.fork(file, who.tenant, who.owner)
        kvfs.begin(snapshot, ())  # nobody takes its pages
        arena.snapshots += 1
        try:
            image = await self._staged(loop, snapshot, path)
            head = _head(loop.engine.info, snapshot, image.entries)
            tokens = packed(snapshot.tokens) + (b"" if snapshot.positions is None else packed(snapshot.positions))
            arena.disk.ref(image.slots, who.tenant)
        finally:
            kvfs.settle(snapshot, snapshot.length)
            kvfs.close(snapshot)
            arena.snapshots -= 1
            loop.freed()
        try:
            with self._durable.depot.hold(arena, who.tenant, image.slots):
                yield Parcel(total(head), self._parts(arena, head, tokens, image.slots))
        finally:
            unref_image(arena, image.slots, who.tenant)

    async def _staged(self, loop: Mounted, file: File, path: str) -> Image:
        """All K/V of a snapshot on disk, so that who takes it in slowly holds no memory."""
        image, arena, engine = file.image, file.arena, loop.engine
        if image is not None and image.entries >= file.computed:
            if await self._durable.depot.damaged(arena, file.tenant, image.slots):
                raise Invalid(
                    f"{path}: its K/V on disk is damaged", "repair it (symphony fs check --repair), or remove it"
                )
            return image

        async def pages() -> AsyncIterator[list[bytes]]:
            step = max(PART_BYTES // engine.info.image_bytes, 1)
            for at in range(0, arena.pages_for(file.computed), step):
                yield await engine.read(file.pages[at : at + step], file.slots[at : at + step])

        await self._staging.put(file, arena, file.computed, pages())
        return file.image or Image(0, ())

    async def _parts(self, arena: Arena, head: Head, first: bytes, slots: Sequence[int]) -> AsyncIterator[bytes]:
        layout, size, at = layout_of(self._loops[arena.model].engine.info), arena.page_size, 0
        checks = checksum(described(head) + first)
        yield compose(head) + first

        def joined(pages: list[bytes], entries: int) -> tuple[bytes, bytes]:
            (piece,) = repaged(Repager(layout, entries), layout, size, pages, entries)
            return piece, checksum(piece)

        for entries in head.pieces:
            count = arena.pages_for(entries)
            pages = await self._staging.read(arena, slots[at : at + count])
            piece, check = await asyncio.to_thread(joined, pages, entries)
            at += count
            checks += check
            yield piece
        yield checks

    # ---- in ------------------------------------------------------------------------------------------------------
    async def receive(self, who: Principal, path: str, source: Source, *, overwrite: bool, trust: bool) -> None:
        """A file of that name, durable, from what `send` gave anywhere. `trust`: what was plain there is plain here.

        Raises Invalid (what comes is not such a file, or not of a model of this host), Exists, PermissionDenied,
        NoSpace, LimitExceeded, Unavailable: nothing has changed then. Where the disk fails in the end (InternalError)
        the file may be there, until the host ends.
        """
        size = int.from_bytes(await _take(source, 8), "little")
        if not 0 < size <= MAX_HEADER_BYTES:
            raise broken(f"a header of {size} bytes is none")
        head = await asyncio.to_thread(parse, await _take(source, size))  # a large one takes a tenth of a second
        loop = self._loop(head)
        info = loop.engine.info
        if not head.length:
            raise broken("it is empty")
        check_context(head.length, info)
        self._tree.target(who, path, overwrite)
        first = await _take(source, 4 * (head.length + (head.positions or 0)))
        file = self._kvfs.create(who.tenant, who.owner, info.name)
        try:
            _fill(file, head, first, info, trust)
            await self._take_in(file, head, checksum(described(head) + first), source)
            await self._calm(who, path)
            self._tree.save(who, file, path, overwrite)
            named = self._tree.file(who, path)
        finally:
            self._kvfs.close(file)
            loop.freed()
        await self._durable.sync(named)

    async def _calm(self, who: Principal, path: str) -> None:
        """Wait until no sync of what has that name is on its way: what takes its place could not be made durable."""
        with suppress(NotFound, Invalid):
            while self._durable.is_busy(self._tree.file(who, path)):
                await self._durable.some_end()

    def _loop(self, head: Head) -> Mounted:
        for loop in self._loops.values():
            info = loop.engine.info
            shape = info.image_shape
            if info.digest != head.description.digest or shape is None:
                continue
            if not head.pieces or tuple(shape) == (head.dtype, head.before, head.after):
                return loop
            raise broken(f"its K/V has the shape [{_dims(head.before)}entries, {_dims(head.after)}] of {head.dtype}")
        raise Invalid(
            f"the KV file was made by the model {head.description.model!r} with other weights, KV dtype or RoPE than "
            f"the models of this host have: {', '.join(self._loops)}",
            "start a host with that model",
        )

    async def _take_in(self, file: File, head: Head, check: bytes, source: Source) -> None:
        checks = [check]
        layout = Layout(prod(head.before), head.piece_bytes(1) // max(prod(head.before), 1))
        repager = Repager(layout, file.arena.page_size)

        def work(piece: bytes, entries: int) -> list[bytes]:
            if not is_sound(piece, head.dtype):
                raise broken("its K/V has numbers that are none, or are huge")
            checks.append(checksum(piece))
            return repager.add(piece, entries)

        async def pages() -> AsyncIterator[list[bytes]]:
            for entries in head.pieces:
                piece = await _take(source, head.piece_bytes(entries))
                yield await asyncio.to_thread(work, piece, entries)
            yield repager.rest()
            if await _take(source, CHECK * len(checks)) != b"".join(checks):
                raise broken("it does not fit its checksums: it was damaged, or changed")
            if await source.read(1):
                raise broken("something follows its end")

        await self._staging.put(file, file.arena, head.entries, pages())


def _head(info: ModelInfo, file: File, entries: int) -> Head:
    shape = info.image_shape
    if shape is None:
        raise Unavailable("the engine of this model does not give its K/V", "export from a host that runs it itself")
    positions = None if file.positions is None else len(file.positions)
    size = file.arena.page_size
    pieces: list[int] = []
    for pages in split(entries, size, info.image_bytes):
        pieces.append(min(pages * size, entries - sum(pieces)))
    description = Description(VERSION, info.name, info.digest, file.derived)
    return Head(description, len(file.tokens), positions, *shape, tuple(pieces))


def _fill(file: File, head: Head, first: bytes, info: ModelInfo, trust: bool) -> None:
    """Tokens and positions. Raises Invalid."""
    tokens = unpacked(first[: 4 * head.length])
    check_ids(tokens, info)
    derived, entries = head.description.derived, head.entries
    if head.positions is not None:
        file.positions = unpacked(first[4 * head.length :])
        plain = derived or 0
        if derived is None or file.positions[:plain] != array("I", range(min(plain, len(file.positions)))):
            raise broken("its plain entries have positions of their own")
        if any(position >= info.context_limit for position in file.positions):
            raise broken(f"it has positions beyond the {info.context_limit} of the model")
    if derived is not None and entries <= derived:
        raise broken("it lacks the K/V of its derived entries")
    file.tokens, file.length = tokens, len(tokens)
    file.derived = derived if trust or not entries else 0


async def _take(source: Source, size: int) -> bytes:
    data = await source.read(size)
    if len(data) < size:
        raise broken("it ends too early")
    return data


def _dims(shape: tuple[int, ...]) -> str:
    return "".join(f"{size}, " for size in shape)
