"""What a host does to a store, at random: files come, change, are named anew and go; and the plain model of it."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Iterable
from typing import Any

from symphony.errors import SymphonyError
from symphony.store.records import Dropped, Format, Named, Put, Record, State
from symphony.store.store import Store

FORMS = [Format("one", "d" * 64, 4, 1536), Format("two", "e" * 64, 16, 700)]
Picture = dict[int, Any]
"""Of each file what it says, and the contents of its pages."""


class Work:
    """Drives a store. `pictures`: the state after each commit that was acknowledged, the empty one first; what was
    asked for last may be there as well. Slots are used as `kvfs` does: free once nothing that is durable names them."""

    def __init__(self, store: Store, rng: random.Random, tell: Callable[[int], None] = lambda n: None) -> None:
        self.store = store
        self.rng = rng
        self.tell = tell
        self.state = State()
        self.pages: dict[tuple[Format, int], bytes] = {}
        self.pictures: list[Picture] = [{}]
        self.next = 1
        self.failures: list[SymphonyError] = []
        self.apart = 0
        """How often one of several failed, and another one did not."""
        self.flying: set[int] = set()
        """Slots that commits of this moment write."""

    async def run(self, commits: int) -> None:
        for _ in range(commits):
            await self.commit()

    async def _apart(self, pages: dict[Format, dict[int, bytes]], records: list[Record]) -> None:
        await self.store.commit(pages, [])
        await self.store.commit({}, records)

    async def commit(self) -> None:
        """One to three commits at the same time, which may become one or two in the journal."""
        self.flying.clear()
        jobs = [self._job() for _ in range(self.rng.choice([1, 1, 1, 2, 3]))]
        before = State(copy.deepcopy(self.state.files))
        kept = dict(self.pages)
        for job in jobs:
            self._take(*job)
        if len(jobs) == 1 and self.rng.random() < 0.3:  # as what went to disk for want of memory before it was synced
            work = [self._apart(*jobs[0])]
        else:
            work = [self.store.commit(*job) for job in jobs]
        done = await asyncio.gather(*work, return_exceptions=True)
        errors = [error for error in done if error is not None]
        for error in errors:
            assert isinstance(error, SymphonyError), error
        if not errors:
            self.tell(len(self.pictures) - 1)
            return
        self.failures += [error for error in errors if isinstance(error, SymphonyError)]
        self.apart += len(errors) < len(done)
        del self.pictures[-len(jobs) :]
        self.state, self.pages = before, kept
        for job, error in zip(jobs, done, strict=True):
            if error is None:
                self._take(*job)
        self.tell(len(self.pictures) - 1)

    def _take(self, pages: dict[Format, dict[int, bytes]], records: list[Record]) -> None:
        for form, some in pages.items():
            self.pages.update({(form, slot): data for slot, data in some.items()})
        self.state.apply(copy.deepcopy(records))
        self.pictures.append(self.picture())

    def picture(self) -> Picture:
        return picture(self.state.files.values(), lambda form, slot: self.pages[form, slot])

    def _job(self) -> tuple[dict[Format, dict[int, bytes]], list[Record]]:
        rng, known = self.rng, list(self.state.files.values())
        what = rng.random()
        if known and what < 0.15:
            return {}, [Dropped(rng.choice(known).id)]
        if known and what < 0.3:
            file = rng.choice(known)
            return {}, [Named(file.id, rng.randrange(64), None, 5.0, [(False, f"n{rng.randrange(99)}")])]
        form = rng.choice(FORMS)
        old = rng.choice(known) if known and what < 0.6 else None
        if old is not None:
            form = old.format
        number = old.id if old is not None else self.next
        self.next += old is None
        taken = {slot for file in known if file.format == form for slot in file.slots} | self.flying
        free = [slot for slot in range(200) if slot not in taken]
        kept = old.slots[: rng.randint(0, len(old.slots))] if old is not None else []
        fresh = sorted(rng.sample(free[:12], rng.randint(0, 4)))
        self.flying |= set(fresh)
        tokens = rng.randbytes(4 * rng.randint(1, 60))
        put = Put(number, "t", "o", 7, None, 1.0, 2.0, 3.0, [(False, f"f{number}")], form, tokens, 0, None, None, [])
        put.slots = [*kept, *fresh]
        return {form: {slot: rng.randbytes(form.page_bytes) for slot in fresh}}, [put]


def picture(files: Iterable[Put], page: Callable[[Format, int], bytes | None]) -> Picture:
    return {
        file.id: (file.names, file.mode, bytes(file.tokens), [page(file.format, slot) for slot in file.slots])
        for file in files
    }


async def look(store: Store) -> Picture:
    """What a store has, pages read and checked."""
    found: dict[tuple[Format, int], bytes | None] = {}
    for file in store.files():
        for slot, data in zip(file.slots, await store.read(file.format, file.slots), strict=True):
            found[file.format, slot] = data
    return picture(store.files(), lambda form, slot: found[form, slot])
