"""The automatic prefix cache: full pages, found by what they contain.

A page's key is a hash chained over all tokens up to its end; the chain starts from (model digest, tenant), so tenants
never meet (a hit is visible as time). Pages that no file references stay here until somebody needs the space, least
recently used first. Which pages may enter is decided by `Kvfs`: full, plain, computed. Keys are adversarial (guests
choose tokens), hence a cryptographic hash.
"""

from __future__ import annotations

from array import array

from blake3 import blake3


def root(digest: str, tenant: str) -> bytes:
    """Where the chain of a tenant on a model starts."""
    return blake3(f"{len(digest)}:{digest}{tenant}".encode()).digest()


def link(previous: bytes, tokens: array[int]) -> bytes:
    """The key of the page that holds `tokens` after everything that `previous` stands for."""
    return blake3(previous + tokens.tobytes()).digest()


class PrefixCache:
    """Keys to pages and back; plus the order of the unreferenced ones."""

    __slots__ = ("by_key", "idle", "key_of")

    def __init__(self) -> None:
        self.by_key: dict[bytes, int] = {}
        self.key_of: dict[int, bytes] = {}
        self.idle: dict[int, None] = {}
        """Cached pages without references, least recently used first."""

    def publish(self, key: bytes, page: int) -> None:
        """Make a referenced page findable; the first page with a key wins."""
        if key not in self.by_key and page not in self.key_of:
            self.by_key[key] = page
            self.key_of[page] = key

    def forget(self, page: int) -> None:
        """Make a page unfindable."""
        key = self.key_of.pop(page)
        del self.by_key[key]
        self.idle.pop(page, None)

    def oldest(self) -> int:
        """The least recently used unreferenced page."""
        return next(iter(self.idle))
