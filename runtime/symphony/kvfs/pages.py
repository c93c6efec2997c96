"""A pool of page ids: who holds which, counted, and who pays.

    free ──take──▶ used (references > 0) ──last unref──▶ orphaned: the caller gives it back, or keeps it findable
     ▲                                                       │
     └───────────────────────── give ◀───────────────────────┘

A page is paid for by the tenant that took it. When that tenant's last reference goes and others hold the page, the
charge moves to one of them (semantics 20). The pool knows numbers only: no contents, no files, no device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Watcher(Protocol):
    def changed(self, ids: Iterable[int]) -> None:
        """References to these ids changed, or who is charged for them."""
        ...


class PagePool:
    """Ids `first..pages`, exclusive; `first` is 1 where page 0 is the engine's scratch page."""

    __slots__ = ("capacity", "first", "foreign", "free", "payer", "refs", "released", "used", "watchers")

    def __init__(self, pages: int, first: int = 1) -> None:
        self.first = first
        self.capacity = max(pages - first, 0)
        """Pages that can be handed out in all."""
        self.free = list(range(pages - 1, first - 1, -1))
        self.refs = [0] * pages
        self.payer = [""] * pages
        """Of pages with references: the tenant that is charged."""
        self.used: dict[str, int] = {}
        """Pages charged to each tenant."""
        self.foreign: dict[int, dict[str, int]] = {}
        """References by tenants that do not pay: page -> tenant -> count."""
        self.released = 0
        """How often references were given back."""
        self.watchers: list[Watcher] = []
        """Who is told of references that come and go; not of the first one to a page."""

    def take(self, tenant: str) -> int:
        """A free page, with one reference. Somebody made sure that there is one."""
        page = self.free.pop()
        self.adopt(page, tenant)
        return page

    def adopt(self, page: int, tenant: str) -> None:
        """The first reference to a page that has none and is not free."""
        self.refs[page] = 1
        self.payer[page] = tenant
        self.used[tenant] = self.used.get(tenant, 0) + 1

    def ref(self, pages: Iterable[int], tenant: str) -> None:
        """One more reference for pages that have some."""
        refs, payer = self.refs, self.payer
        if self.watchers:
            pages = list(pages)
        for page in pages:
            refs[page] += 1
            if payer[page] != tenant:
                counts = self.foreign.setdefault(page, {})
                counts[tenant] = counts.get(tenant, 0) + 1
        for watcher in self.watchers:
            watcher.changed(pages)

    def unref(self, pages: Iterable[int], tenant: str) -> list[int]:
        """One reference less. Returns the pages that have none left, in order; they are charged to nobody."""
        self.released += 1
        refs, foreign = self.refs, self.foreign
        orphans: list[int] = []
        if self.watchers:
            pages = list(pages)
        for page in pages:
            refs[page] -= 1
            if foreign and page in foreign:
                self._unref_foreign(page, tenant)
            if not refs[page]:
                orphans.append(page)
        for page in orphans:
            self._charge(page, "")
        for watcher in self.watchers:
            watcher.changed(pages)
        return orphans

    def held(self, page: int, tenant: str) -> int:
        """References by the tenant if it pays for the page, else 0."""
        if self.payer[page] != tenant:
            return 0
        return self.refs[page] - sum(self.foreign.get(page, {}).values())

    def private(self, pages: Iterable[int]) -> int:
        """How many of them have one reference."""
        refs = self.refs
        return sum([refs[page] == 1 for page in pages])

    def give(self, page: int) -> None:
        """Put an orphaned page back among the free ones."""
        self.free.append(page)

    def _unref_foreign(self, page: int, tenant: str) -> None:
        counts = self.foreign[page]
        if self.payer[page] != tenant:
            counts[tenant] -= 1
            if not counts[tenant]:
                del counts[tenant]
        elif counts and self.refs[page] == sum(counts.values()):
            heir = next(iter(counts))
            del counts[heir]
            self._charge(page, heir)
        if not counts:
            del self.foreign[page]

    def _charge(self, page: int, tenant: str) -> None:
        """Move the charge; "" is nobody."""
        before = self.payer[page]
        self.used[before] -= 1
        if not self.used[before]:
            del self.used[before]
        self.payer[page] = tenant
        if tenant:
            self.used[tenant] = self.used.get(tenant, 0) + 1
