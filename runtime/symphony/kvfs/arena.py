"""One model's K/V: device pages with their prefix cache, and the slots of the host tier.

Every device page is free, used or cached, and moves between these states here. A page and a host slot that hold the
same entries are *twins*: a file that goes to the host shares the slot, one that comes back shares the page, and nothing
is copied. A page with a twin is immutable, like a shared or a published one. A slot that nobody references any more
stays as long as its twin does and nobody needs the slot: then the page is *clean*, its file can leave at once.

Does nothing to files; `Kvfs` keeps page tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from symphony.kvfs.pages import PagePool
from symphony.kvfs.prefix import PrefixCache, root

if TYPE_CHECKING:
    from symphony.kvfs.file import File


REMEMBERED = 1024
"""Pages."""


@dataclass(slots=True)
class Costs:
    """What moving and computing take, as measured lately; the owner of the clock keeps them up to date."""

    page_seconds: float
    """To move one page, either way; assumed until pages have been moved."""
    token_seconds: float | None = None
    """To compute one token of a prompt. None: not measured yet; moving is taken to be cheaper."""
    weight: float = 0.0
    """Pages that `page_seconds` was measured with: about the last `REMEMBERED` ones."""
    disk_seconds: float = 0.0
    """To write one page to disk, or to read one; assumed likewise..."""
    disk_weight: float = 0.0
    """...until so many were."""

    def moved(self, pages: int, seconds: float) -> None:
        """A move of few pages, which takes little less than one of many, counts little."""
        self.page_seconds, self.weight = _mean(self.page_seconds, self.weight, pages, seconds)

    def filed(self, pages: int, seconds: float) -> None:
        """Likewise of pages that were written to disk or read."""
        self.disk_seconds, self.disk_weight = _mean(self.disk_seconds, self.disk_weight, pages, seconds)

    def computed(self, token_seconds: float) -> None:
        before = self.token_seconds
        self.token_seconds = token_seconds if before is None else 0.8 * before + 0.2 * token_seconds

    def prefers_moving(self, pages: int, tokens: int) -> bool:
        """Whether the pages are there and back sooner than the tokens are computed again."""
        return self.token_seconds is None or 2 * pages * self.page_seconds < tokens * self.token_seconds

    def prefers_disk(self, pages: int, tokens: int) -> bool:
        """Likewise by way of the disk."""
        return self.token_seconds is None or 2 * pages * self.disk_seconds < tokens * self.token_seconds

    def doubt(self) -> None:
        """Something was not moved because of what moves take: where they were slow once, try again before long."""
        self.page_seconds *= 0.98


def _mean(mean: float, weight: float, count: int, seconds: float) -> tuple[float, float]:
    """The mean time with `count` more, and how many it is of."""
    before = weight * max(1 - count / REMEMBERED, 0.0)
    return (mean * before + seconds) / (before + count), before + count


class Copying(NamedTuple):
    """A page of a file's table that is being replaced by a copy of it."""

    file: File
    place: int
    """In the table."""
    source: int
    target: int


class Arena:
    """`page_size` tokens a page, `pages` pages (page 0 included), `slots` host slots for the model named `model`."""

    __slots__ = (
        "cache",
        "changed",
        "coming",
        "copying",
        "costs",
        "digest",
        "disk",
        "disk_of_page",
        "freed",
        "host",
        "idle_slots",
        "kept_pages",
        "kept_slots",
        "model",
        "own_disk",
        "own_pages",
        "own_slots",
        "page_of_disk",
        "page_of_slot",
        "page_size",
        "pool",
        "roots",
        "slot_of_page",
        "snapshots",
        "tenant_disk",
        "tenant_pages",
        "tenant_slots",
    )

    def __init__(self, model: str, digest: str, page_size: int, pages: int, slots: int, costs: Costs) -> None:
        self.model = model
        self.digest = digest
        self.page_size = page_size
        self.pool = PagePool(pages)
        self.host = PagePool(slots, first=0)
        self.disk = PagePool(0, first=0)
        """Slots of the disk tier; none unless somebody mounts a store."""
        self.snapshots = 0
        """Of files that are being synced; each lets its pages go before long."""
        self.cache = PrefixCache()
        self.costs = costs
        self.tenant_pages = self.pool.capacity
        """Device pages that may be charged to one tenant..."""
        self.own_pages: dict[str, int] = {}
        """...unless this says otherwise."""
        self.tenant_slots = self.host.capacity
        """Likewise host slots."""
        self.own_slots: dict[str, int] = {}
        self.tenant_disk = 0
        """Likewise slots on disk."""
        self.own_disk: dict[str, int] = {}
        self.kept_pages = self.pool.capacity
        """Pages that a tenant may hold for a file that cannot be given up (derived or pinned) to get more."""
        self.kept_slots = self.host.capacity
        """Likewise slots, for a derived file."""
        self.roots: dict[str, bytes] = {}
        self.slot_of_page: dict[int, int] = {}
        self.page_of_slot: dict[int, int] = {}
        self.idle_slots: dict[int, None] = {}
        """Slots without references that have twins, oldest first."""
        self.page_of_disk: dict[int, int] = {}
        """Full pages that were read from disk, by the slot: who wants the same has them..."""
        self.disk_of_page: dict[int, int] = {}
        """...and the other way round."""
        self.copying: list[Copying] = []
        """Page copies that have not retired; each holds a reference of the file's tenant on its source."""
        self.coming = 0
        """Pages that moves to the host will make available."""
        self.freed: list[int] | None = None
        """When debugging: pages that were freed and may be poisoned."""
        self.changed: dict[File, None] | None = None
        """Files whose K/V or state changed, while somebody follows that (`standby`)."""

    def root(self, tenant: str) -> bytes:
        key = self.roots.get(tenant)
        if key is None:
            key = self.roots[tenant] = root(self.digest, tenant)
        return key

    def pages_of(self, tenant: str) -> int:
        """Device pages that may be charged to the tenant."""
        return self.own_pages.get(tenant, self.tenant_pages)

    def slots_of(self, tenant: str) -> int:
        """Likewise host slots."""
        return self.own_slots.get(tenant, self.tenant_slots)

    def disk_of(self, tenant: str) -> int:
        """Likewise slots on disk."""
        return self.own_disk.get(tenant, self.tenant_disk)

    @property
    def available(self) -> int:
        """Pages that can be taken without dropping anybody's K/V."""
        return len(self.pool.free) + len(self.cache.idle)

    @property
    def free_slots(self) -> int:
        """Slots that can be taken without dropping anybody's K/V."""
        return len(self.host.free) + len(self.idle_slots)

    def pages_for(self, entries: int) -> int:
        return -(-entries // self.page_size)

    def take(self, count: int, tenant: str) -> list[int]:
        """`count` pages (at most `available`), one reference each; cached ones are evicted, oldest first."""
        pool, cache = self.pool, self.cache
        while len(pool.free) < count:
            page = cache.oldest()
            cache.forget(page)
            self._free(page)
        return [pool.take(tenant) for _ in range(count)]

    def hit(self, key: bytes, tenant: str) -> int | None:
        """The page with that key, with one more reference; None: there is none, or the tenant may not have another."""
        page = self.cache.by_key.get(key)
        if page is None or (not self.pool.refs[page] and self.pool.used.get(tenant, 0) >= self.pages_of(tenant)):
            return None
        self.hold(page, tenant)
        return page

    def hold(self, page: int, tenant: str) -> None:
        """One more reference for a page that is used or cached."""
        if self.pool.refs[page]:
            self.pool.ref((page,), tenant)
        else:
            del self.cache.idle[page]
            self.pool.adopt(page, tenant)

    def ref(self, pages: Iterable[int], tenant: str) -> None:
        """One more reference for pages that have some."""
        self.pool.ref(pages, tenant)

    def unref(self, pages: Sequence[int], tenant: str) -> None:
        """One reference less. Later pages of a table are evicted before earlier ones: a chain breaks from its end."""
        cache = self.cache
        for page in self.pool.unref(reversed(pages), tenant):
            if page in cache.key_of:
                cache.idle[page] = None
            else:
                self._free(page)

    def take_slot(self, tenant: str) -> int:
        """A slot (there is one, `free_slots`), with one reference; the oldest copy of a clean page gives way."""
        if not self.host.free:
            self.part(self.page_of_slot[next(iter(self.idle_slots))])
        return self.host.take(tenant)

    def hold_slot(self, slot: int, tenant: str) -> None:
        """One more reference for a slot that is used, or the twin of a page."""
        if self.host.refs[slot]:
            self.host.ref((slot,), tenant)
        else:
            del self.idle_slots[slot]
            self.host.adopt(slot, tenant)

    def unref_slots(self, slots: Sequence[int], tenant: str) -> None:
        """One reference less."""
        for slot in self.host.unref(slots, tenant):
            if slot in self.page_of_slot:
                self.idle_slots[slot] = None
            else:
                self.host.give(slot)

    def twin(self, page: int, slot: int) -> None:
        """They hold the same. Both have references, or the page is cached."""
        self.part(page)
        old = self.page_of_slot.pop(slot, None)
        if old is not None:
            del self.slot_of_page[old]
        self.slot_of_page[page] = slot
        self.page_of_slot[slot] = page

    def read_from(self, page: int, slot: int) -> None:
        """A page with references, all of whose entries are those of that slot on disk."""
        self.forget_disk(slot)
        self.page_of_disk[slot] = page
        self.disk_of_page[page] = slot

    def forget_disk(self, slot: int) -> None:
        """The slot on disk is about to hold something else, or the page that was read from there."""
        page = self.page_of_disk.pop(slot, None)
        if page is not None:
            del self.disk_of_page[page]

    def part(self, page: int) -> None:
        """The page is about to change, or to go."""
        if page in self.disk_of_page:
            self.forget_disk(self.disk_of_page[page])
        slot = self.slot_of_page.pop(page, None)
        if slot is not None:
            del self.page_of_slot[slot]
            if slot in self.idle_slots:
                del self.idle_slots[slot]
                self.host.give(slot)

    def is_private(self, page: int) -> bool:
        """Whether its one holder may write it: nobody shares it, and the cache does not promise its contents."""
        return self.pool.refs[page] == 1 and page not in self.cache.key_of

    def _free(self, page: int) -> None:
        self.part(page)
        self.pool.give(page)
        if self.freed is not None:
            self.freed.append(page)
