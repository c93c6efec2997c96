"""What is on disk of synced files, held against its checksums, and what can be done where it does not fit."""

from __future__ import annotations

from dataclasses import dataclass, field

from symphony.core.depot import Depot
from symphony.core.durable import Durable
from symphony.errors import Invalid, SymphonyError
from symphony.kvfs.file import File


@dataclass(slots=True)
class Damage:
    """A page on disk that does not hold what was written."""

    path: str
    page: int
    pages: int
    """Of the file."""
    what: str
    """Follows from it, or was done."""
    repaired: bool


@dataclass(slots=True)
class Verdict:
    """What a look at all that was synced found."""

    files: int = 0
    pages: int = 0
    damaged: list[Damage] = field(default_factory=list[Damage])
    lost_commits: int = 0
    """Of the journal, that could not be read when the host started."""


async def check(depot: Depot, file: File, path: str) -> None:
    """Raises Invalid if the file's K/V cannot be computed again and what is on disk of it is damaged."""
    image = file.image
    if file.derived is None or image is None or file.computed >= image.entries or file.slots:
        return
    if await depot.damaged(file.arena, file.tenant, image.slots):
        raise lost(path)


def lost(path: str) -> Invalid:
    """Of a file whose K/V is gone for good."""
    return Invalid(
        f"{path}: its K/V on disk is damaged, and it is not of a kind that can be computed again",
        "remove it (symphony fs rm), and make it anew from its tokens (symphony fs cat)",
    )


async def verify(durable: Durable, file: File, path: str, repair: bool, verdict: Verdict) -> None:
    """Read what the journal says of the file; what is found goes into `verdict`."""
    held = durable.ledger.kept.get(file.record or 0)
    if held is None:
        return
    slots, bad = held.slots, await durable.depot.damaged(*held)
    verdict.files += 1
    verdict.pages += len(slots)
    if bad:
        what, repaired = await _repair(durable, file, slots, bad[0]) if repair else (_advice(file), False)
        verdict.damaged += [Damage(path, index, len(slots), what, repaired) for index in bad]


async def _repair(durable: Durable, file: File, slots: tuple[int, ...], good: int) -> tuple[str, bool]:
    """Keep the pages before the first bad one on disk, and write the others anew if they are in memory."""
    image, size, kvfs = file.image, file.arena.page_size, durable.kvfs
    if image is not None and image.slots[: good + 1] == slots[: good + 1]:
        there = file.computed > good * size
        if not there and file.derived is not None:
            return _advice(file), False
        kvfs.set_image(file, image.cut(good * size, size) if good else None, kvfs.loose.get(file))
    elif file.derived is not None and file.computed <= good * size:
        return _advice(file), False
    try:
        await durable.sync(file)
    except SymphonyError as e:
        return f"it could not be repaired: {e}", False
    return "repaired: it was synced anew, as it is now", True


def _advice(file: File) -> str:
    if file.derived is None:
        return "it is computed again when somebody needs it (--repair: now left out)"
    if file.pages or file.slots:
        return "it is still in memory (--repair writes it anew)"
    return "it cannot be computed again: remove the file"
