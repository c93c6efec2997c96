"""`symphony:lip/kvfs`: KV files. Source: `wit/kvfs.wit`; meanings in semantics 1-8.

A handle holds ids only; the file itself lives in the core.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from symphony.core.messages import Entry, Stat
from symphony.syscall.caller import Caller
from symphony.syscall.model import Model
from symphony.syscall.pollable import Pollable
from symphony.syscall.values import Handler


class KvFile:
    """A guest's handle on a file. `idle` is ready whenever `in_flight` (operations started through it) is 0."""

    __slots__ = ("caller", "id", "idle", "in_flight")

    def __init__(self, caller: Caller, file: int) -> None:
        self.caller = caller
        self.id = file
        self.idle = Pollable(fired=True)
        self.in_flight = 0

    def begin(self) -> None:
        self.in_flight += 1
        self.idle.clear()

    def end(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.fire()

    async def drop(self) -> None:
        await self.caller.core.close_file(self.caller.session, self.id)


class Span(NamedTuple):
    start: int
    end: int


async def create(caller: Caller, model: Model) -> KvFile:
    return KvFile(caller, await caller.core.create(caller.session, model.name))


async def open_file(caller: Caller, model: Model, path: str, how: frozenset[str]) -> KvFile:
    file = await caller.core.open(
        caller.session, model.name, path, write="write" in how, create="create" in how, exclusive="exclusive" in how
    )
    return KvFile(caller, file)


async def fork(caller: Caller, file: KvFile) -> KvFile:
    return KvFile(caller, await caller.core.fork(caller.session, file.id))


async def length(caller: Caller, file: KvFile) -> int:
    return await caller.core.length(caller.session, file.id)


async def tokens(caller: Caller, file: KvFile, span: Span) -> list[int]:
    return await caller.core.tokens(caller.session, file.id, span.start, span.end)


async def truncate(caller: Caller, file: KvFile, length: int) -> None:
    await caller.core.truncate(caller.session, file.id, length)


async def save(caller: Caller, file: KvFile, path: str, overwrite: bool) -> None:
    await caller.core.save(caller.session, file.id, path, overwrite)


async def stat(caller: Caller, file: KvFile) -> Stat:
    return await caller.core.stat(caller.session, file.id)


def idle(caller: Caller, file: KvFile) -> Pollable:
    return file.idle


async def list_directory(caller: Caller, path: str) -> list[Entry]:
    return await caller.core.list(caller.session, path)


async def stat_path(caller: Caller, path: str) -> Stat:
    return await caller.core.stat_path(caller.session, path)


async def rename(caller: Caller, old: str, new: str) -> None:
    await caller.core.rename(caller.session, old, new)


async def unlink(caller: Caller, path: str) -> None:
    await caller.core.unlink(caller.session, path)


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/kvfs#[static]kv-file.create": create,
    "symphony:lip/kvfs#[static]kv-file.open": open_file,
    "symphony:lip/kvfs#[method]kv-file.fork": fork,
    "symphony:lip/kvfs#[method]kv-file.length": length,
    "symphony:lip/kvfs#[method]kv-file.tokens": tokens,
    "symphony:lip/kvfs#[method]kv-file.truncate": truncate,
    "symphony:lip/kvfs#[method]kv-file.save": save,
    "symphony:lip/kvfs#[method]kv-file.stat": stat,
    "symphony:lip/kvfs#[method]kv-file.idle": idle,
    "symphony:lip/kvfs#list": list_directory,
    "symphony:lip/kvfs#stat-path": stat_path,
    "symphony:lip/kvfs#rename": rename,
    "symphony:lip/kvfs#unlink": unlink,
}
