"""A pool of KV pages: who holds which, counted.

    free ──take──▶ used (references > 0) ──last unref──▶ free, or CACHED if the prefix cache knows its contents
     ▲                    ▲                                │
     └──── evict ─────────┼────────────────────────────────┤
                          └──────────── ref (a hit) ◀──────┘

Page 0 is the engine's scratch page and never handed out. The pool knows numbers only: no contents, no files.
"""

from __future__ import annotations


class PagePool:
    """`pages` page ids, `1..pages` usable. Which pages are cached is the prefix cache's knowledge."""

    __slots__ = ("capacity", "free", "refs")

    def __init__(self, pages: int) -> None:
        if pages < 2:
            raise ValueError(f"a pool of {pages} pages has none to hand out; page 0 is reserved")
        self.capacity = pages - 1
        """Pages that can be handed out in all."""
        self.free = list(range(pages - 1, 0, -1))
        self.refs = [0] * pages

    def take(self) -> int:
        """A free page, with one reference. Somebody made sure that there is one."""
        page = self.free.pop()
        self.refs[page] = 1
        return page

    def give(self, page: int) -> None:
        """Put an unreferenced page back among the free ones."""
        self.free.append(page)
