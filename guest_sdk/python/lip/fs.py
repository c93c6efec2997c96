"""Names of KV files: `lip.fs.ls`, `glob`, `stat`, `exists`, `mkdir`, `rename`, `unlink`, `link`, which answer at once,
and `sync`, which is awaited."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from . import _host
from ._loop import Loop
from ._model import open_model
from .errors import Invalid, NotFound, call, from_wit

_CLASSES = ("owner", "tenant", "other")


@dataclass(frozen=True, slots=True)
class Stat:
    """What is known of a file. Times are seconds since the epoch.

    length        tokens
    plain         leading tokens that were computed in order; what `extract` and `append` bring, or masks, is not
    next_position where the next token comes; the length, as a rule
    unique_pages  pages that only this file holds; shared_pages: with other files or the prefix cache
    tier          'device', 'host', 'disk' or 'evicted': where the keys and values are
    mode          such as 'rwr---': what owner, tenant and others may do
    used          when it was last opened, forked, changed or closed
    ttl           seconds after that at which its names go; None: they stay
    names         how many it has
    """

    length: int
    plain: int
    next_position: int
    unique_pages: int
    shared_pages: int
    tier: str
    pinned: bool
    tenant: str
    owner: str
    mode: str
    created: int
    modified: int
    used: int
    ttl: int | None
    names: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A member of a directory listing; `length` in tokens."""

    name: str
    is_directory: bool
    length: int


def stat_of(raw: Any) -> Stat:
    return Stat(
        raw.length,
        raw.plain,
        raw.next_position,
        raw.unique_pages,
        raw.shared_pages,
        raw.tier.name.lower(),
        raw.pinned,
        raw.tenant,
        raw.owner,
        _letters(raw.mode),
        raw.created,
        raw.modified,
        raw.used,
        raw.ttl,
        raw.names,
    )


def mode_of(raw: Any, changes: dict[str, str | None]) -> Any:
    """The host's flags `raw`, where what a class may do is changed to letters such as 'rw'."""
    flags = _host.kvfs.Mode
    for name, letters in changes.items():
        if letters is None:
            continue
        if set(letters) - set("rw"):
            raise Invalid(f"chmod({name}={letters!r}): what may be done is not understood", "use 'rw', 'r', 'w' or ''")
        for letter, verb in (("r", "READ"), ("w", "WRITE")):
            bit = flags[f"{name.upper()}_{verb}"]
            raw = raw | bit if letter in letters else raw & ~bit
    return raw


def _letters(raw: Any) -> str:
    flags = _host.kvfs.Mode
    verbs = (("r", "READ"), ("w", "WRITE"))
    return "".join(
        letter if raw & flags[f"{name.upper()}_{verb}"] else "-" for name in _CLASSES for letter, verb in verbs
    )


def ls(path: str = "/") -> list[Entry]:
    """The names below a directory, sorted."""
    return [Entry(raw.name, raw.is_directory, raw.length) for raw in call(_host.kvfs.list, _host.text(path))]


def glob(pattern: str) -> list[str]:
    """The paths of the files that match, sorted: `*`, `?`, `[a-z]` within a name, `**` for any number of directories.

    What is shared is looked into if the pattern begins with `/shared`.
    """
    return call(_host.kvfs.glob, _host.text(pattern))


def stat(path: str) -> Stat:
    return stat_of(call(_host.kvfs.stat_path, _host.text(path)))


def exists(path: str) -> bool:
    """Whether a file has this name."""
    try:
        stat(path)
    except NotFound:
        return False
    return True


def mkdir(path: str) -> None:
    """Make a directory, with those above it; it stays when it is empty. Others live while a name lies below them."""
    call(_host.kvfs.mkdir, _host.text(path))


def rename(old: str, new: str) -> None:
    """Give a file another name, or a directory with all that lies below it; atomic, never replaces."""
    call(_host.kvfs.rename, _host.text(old), _host.text(new))


def unlink(path: str) -> None:
    """Remove a name; contexts that are open stay usable. Or an empty directory."""
    call(_host.kvfs.unlink, _host.text(path))


def link(old: str, new: str, *, model: str | None = None) -> None:
    """Give a file a second name. It has to be the default model's, or that of the model named."""
    with call(_host.kvfs.KvFile.open, open_model(model).handle, _host.text(old), _host.kvfs.OpenFlags.WRITE) as file:
        call(file.link, _host.text(new))


async def sync(path: str) -> None:
    """Make the file of this name outlive the host, as it is now: tokens, keys and values. See `Context.sync`."""
    await synced(call(_host.kvfs.sync, _host.text(path)))


async def synced(running: Any) -> None:
    """Wait for the end of a sync."""
    loop = cast(Loop, asyncio.get_running_loop())
    try:
        with running.subscribe() as pollable:
            await loop.wait(pollable)
        outcome = running.get()
    finally:
        running.__exit__(None, None, None)
    if outcome.__class__ is _host.Err:
        raise from_wit(outcome.value)
