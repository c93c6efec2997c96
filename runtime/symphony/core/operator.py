"""What an operator does to a tenant's files by name: look, read, copy, move, remove, pin.

An operator acts on behalf of a principal, and its rights are checked as those of programs are (semantics 20). Names in,
records out, and there is no session: a pin made here stays until it is taken back, or the file ends (semantics 8).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from symphony.core.damage import Verdict, verify
from symphony.core.files import Files
from symphony.core.loop import StepLoop
from symphony.core.porting import Parcel, Source
from symphony.core.survey import forks, space
from symphony.core.views import FileStat, FileView, Fork, Lens, Shown, Space
from symphony.errors import Invalid
from symphony.kvfs.file import File
from symphony.kvfs.modes import READ, WRITE, Principal, require
from symphony.param import INLINE_DECODE_TOKENS


class Operator:
    """On behalf of `who`. Only `text`, `check`, `send` and `receive` suspend."""

    def __init__(self, core: Files, who: Principal) -> None:
        self._core = core
        self._who = who

    # ---- looking -------------------------------------------------------------------------------------------------
    def show(self, path: str) -> Shown:
        """The file or the directory of that name. Raises NotFound, Invalid; so do the others."""
        lens = self._lens()
        return lens.show(lens.find(path), path)

    def list(self, path: str) -> list[Shown]:
        """What lies directly below a directory, sorted; of a file, the file itself."""
        return self._lens().listing(path)

    def stat(self, path: str) -> FileStat:
        """Everything about one file."""
        lens = self._lens()
        file = lens.named_file(path)
        stat = self._core._kvfs.stat(file)
        return FileStat(lens.file(file, path), stat.plain, stat.unique_pages, stat.shared_pages)

    def forks(self, path: str) -> list[Fork]:
        """The files below a path with what they share; parents come before their forks. Raises LimitExceeded too."""
        return forks(self._lens(), path)

    def space(self, path: str) -> list[Space]:
        """What lies directly below a directory takes, and as the last one all of it. Raises LimitExceeded too."""
        sizes = {loop.arena.model: loop.info.bytes_per_page for loop in self._core._loops.values()}
        sizes |= self._core._durable.depot.sizes()
        return space(self._lens(), path, sizes)

    def tokens(self, path: str) -> list[int]:
        """The ids. Raises PermissionDenied too."""
        file = self._lens().named_file(path)
        require(file, self._who, READ, path)
        return file.tokens[: file.length].tolist()

    async def text(self, path: str) -> str:
        """The tokens as text, special ones written out. Raises PermissionDenied too."""
        tokens = self.tokens(path)
        tokenizer = self._loop(self._lens().named_file(path)).engine.tokenizer
        if len(tokens) <= INLINE_DECODE_TOKENS:
            return tokenizer.decode(tokens)
        return await asyncio.to_thread(tokenizer.decode, tokens)

    async def check(self, path: str, repair: bool = False) -> Verdict:
        """Read all that the tenant has synced below a path, or of one file, and hold it against its checksums.
        `repair`: write damaged pages anew, or leave them to be computed again. Raises NotFound, Invalid."""
        durable = self._core._durable
        verdict = Verdict(lost_commits=durable.depot.lost_commits)
        for name, node in self._lens().below(path):
            if isinstance(node, File) and node.record is not None and node.tenant == self._who.tenant:
                await verify(durable, node, name, repair, verdict)
        return verdict

    @asynccontextmanager
    async def send(self, path: str) -> AsyncGenerator[Parcel]:
        """The file, as it is now, to be had elsewhere: see `Porter.send`. Raises PermissionDenied too."""
        file = self._lens().named_file(path)
        require(file, self._who, READ, path)
        async with self._core._porter.send(self._who, file, path) as parcel:
            yield parcel

    async def receive(self, path: str, source: Source, *, overwrite: bool = False, trust: bool = False) -> FileView:
        """A file that `send` gave, here or elsewhere, under that name: see `Porter.receive`."""
        await self._core._porter.receive(self._who, path, source, overwrite=overwrite, trust=trust)
        self._freed()
        return self._view(path)

    # ---- changing ------------------------------------------------------------------------------------------------
    def copy(self, path: str, target: str, overwrite: bool = False) -> FileView:
        """Name a snapshot of the file. Raises Exists, PermissionDenied, Busy, LimitExceeded too."""
        file = self._lens().named_file(path)
        self._core._tree.save(self._who, file, target, overwrite)
        self._freed()
        return self._view(target)

    def move(self, path: str, target: str) -> Shown:
        """Rename a file, or a directory with all that lies below. Raises Exists, PermissionDenied too."""
        self._core._tree.rename(self._who, path, target)
        return self.show(target)

    def remove(self, path: str, recursive: bool = False) -> None:
        """Remove a name, or an empty directory (`recursive`: with all that lies below, or nothing); processes that have
        a file open keep it. With the last name goes an operator's pin. Raises PermissionDenied, LimitExceeded too."""
        if recursive:
            self._core._tree.unlink_all(self._who, path)
        else:
            self._core._tree.unlink(self._who, path)
        self._freed()

    def pin(self, path: str) -> FileView:
        """Keep the file's K/V on the device, and its names alive, until `unpin`. Idempotent.

        Raises PermissionDenied, LimitExceeded too.
        """
        file = self._lens().named_file(path)
        require(file, self._who, WRITE, path)
        if not file.held:
            loop = self._loop(file)
            self._core._kvfs.pin(file)
            file.held = True
            loop.room.prefetch(file)
        return self._view(path)

    def unpin(self, path: str) -> FileView:
        """Take an operator's pin back; those of programs stay. Idempotent. Raises PermissionDenied too."""
        file = self._lens().named_file(path)
        require(file, self._who, WRITE, path)
        if file.held:
            file.held = False
            self._core._kvfs.unpin(file)
        self._core._tree.rest(file)
        self._freed()
        return self._view(path)

    # ---- the inside ----------------------------------------------------------------------------------------------
    def _lens(self) -> Lens:
        return Lens(self._core, self._who)

    def _view(self, path: str) -> FileView:
        lens = self._lens()
        return lens.file(lens.named_file(path), path)

    def _loop(self, file: File) -> StepLoop:
        loop = self._core._loops.get(file.arena.model)
        if loop is None:
            raise Invalid(
                f"the file was made by the model {file.arena.model}, which this host does not run",
                "start the host with that model; the ids can be read here, and the file be removed",
            )
        return loop

    def _freed(self) -> None:
        for loop in self._core._loops.values():
            loop.freed()
