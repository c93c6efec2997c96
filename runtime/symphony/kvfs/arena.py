"""One model's K/V: device pages with their prefix cache, and the slots of the host tier.

Every device page is free, used or cached, and moves between these states here. A page and a host slot that hold the
same entries are *twins*: a file that goes to the host shares the slot, one that comes back shares the page, and nothing
is copied. A page with a twin is immutable, like a shared or a published one.

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


@dataclass(slots=True)
class Costs:
    """What moving and computing take, as measured lately; the owner of the clock keeps them up to date."""

    page_seconds: float
    """To move one page, either way."""
    token_seconds: float | None = None
    """To compute one token of a prompt. None: not measured yet; moving is taken to be cheaper."""


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
        "freed",
        "host",
        "kept_pages",
        "kept_slots",
        "model",
        "page_of_slot",
        "page_size",
        "pool",
        "roots",
        "slot_of_page",
        "tenant_pages",
        "tenant_slots",
    )

    def __init__(self, model: str, digest: str, page_size: int, pages: int, slots: int, costs: Costs) -> None:
        self.model = model
        self.digest = digest
        self.page_size = page_size
        self.pool = PagePool(pages)
        self.host = PagePool(slots, first=0)
        self.cache = PrefixCache()
        self.costs = costs
        self.tenant_pages = self.pool.capacity
        """Device pages that may be charged to one tenant."""
        self.tenant_slots = self.host.capacity
        """Likewise host slots."""
        self.kept_pages = self.pool.capacity
        """Pages that a tenant may hold for a file that cannot be given up (derived or pinned) to get more."""
        self.kept_slots = self.host.capacity
        """Likewise slots, for a derived file."""
        self.roots: dict[str, bytes] = {}
        self.slot_of_page: dict[int, int] = {}
        self.page_of_slot: dict[int, int] = {}
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

    @property
    def available(self) -> int:
        """Pages that can be taken without dropping anybody's K/V."""
        return len(self.pool.free) + len(self.cache.idle)

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
        if page is None or (not self.pool.refs[page] and self.pool.used.get(tenant, 0) >= self.tenant_pages):
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

    def unref_slots(self, slots: Sequence[int], tenant: str) -> None:
        """One reference less; slots without one are free."""
        for slot in self.host.unref(slots, tenant):
            page = self.page_of_slot.pop(slot, None)
            if page is not None:
                del self.slot_of_page[page]
            self.host.give(slot)

    def twin(self, page: int, slot: int) -> None:
        """They hold the same. Both have references, or the page is cached."""
        self.part(page)
        old = self.page_of_slot.pop(slot, None)
        if old is not None:
            del self.slot_of_page[old]
        self.slot_of_page[page] = slot
        self.page_of_slot[slot] = page

    def part(self, page: int) -> None:
        """The page is about to change, or to go."""
        slot = self.slot_of_page.pop(page, None)
        if slot is not None:
            del self.page_of_slot[slot]

    def is_private(self, page: int) -> bool:
        """Whether its one holder may write it: nobody shares it, and the cache does not promise its contents."""
        return self.pool.refs[page] == 1 and page not in self.cache.key_of

    def _free(self, page: int) -> None:
        self.part(page)
        self.pool.give(page)
        if self.freed is not None:
            self.freed.append(page)
