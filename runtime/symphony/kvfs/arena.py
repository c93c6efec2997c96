"""One model's pages and prefix cache together: every page is free, used or cached, and moves here.

Knows nothing of files; `Kvfs` keeps page tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from symphony.kvfs.pages import PagePool
from symphony.kvfs.prefix import PrefixCache, root


class Arena:
    """`page_size` tokens a page, `pages` pages (page 0 included) for the model named `model`."""

    __slots__ = ("cache", "digest", "model", "page_size", "pool", "roots")

    def __init__(self, model: str, digest: str, page_size: int, pages: int) -> None:
        self.model = model
        self.digest = digest
        self.page_size = page_size
        self.pool = PagePool(pages)
        self.cache = PrefixCache()
        self.roots: dict[str, bytes] = {}

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

    def take(self, count: int) -> list[int]:
        """`count` pages (at most `available`), one reference each; cached ones are evicted, oldest first."""
        pool, cache = self.pool, self.cache
        while len(pool.free) < count:
            page = cache.oldest()
            cache.forget(page)
            pool.give(page)
        return [pool.take() for _ in range(count)]

    def hit(self, key: bytes) -> int | None:
        """The page with that key, with one more reference."""
        page = self.cache.by_key.get(key)
        if page is not None:
            refs = self.pool.refs
            if not refs[page]:
                del self.cache.idle[page]
            refs[page] += 1
        return page

    def ref(self, pages: Iterable[int]) -> None:
        """One more reference for pages that have some."""
        refs = self.pool.refs
        for page in pages:
            refs[page] += 1

    def unref(self, pages: Sequence[int]) -> None:
        """One reference less. Later pages of a table are evicted before earlier ones: a chain breaks from its end."""
        refs, cache = self.pool.refs, self.cache
        for page in reversed(pages):
            refs[page] -= 1
            if refs[page]:
                continue
            if page in cache.key_of:
                cache.idle[page] = None
            else:
                self.pool.give(page)

    def is_private(self, page: int) -> bool:
        """Whether its one holder may write it: nobody shares it, and the cache does not promise its contents."""
        return self.pool.refs[page] == 1 and page not in self.cache.key_of
