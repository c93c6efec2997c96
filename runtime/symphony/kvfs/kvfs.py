"""The KV-cache file system: what can be done to files, and whose pages go when there are none left.

Layers, each using only those below it:

    Tree       what can be done to names; who may do it                                   tree.py
    Kvfs       operations on files; reservation, copy-on-write, eviction                  this file
    File       tokens and page table                                                      file.py
    Arena      one model's pages: free, used or cached                                    arena.py
    PagePool, PrefixCache                                                                 pages.py, prefix.py

Pure bookkeeping on numbers: nothing here touches a device, waits, or knows processes. Two rules carry it:
a page that is shared or published is immutable (writers copy it first), and an operation's work is `tokens[computed:]`
(so dropping K/V needs no bookkeeping elsewhere). Meanings: semantics 1-8, 19.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from symphony.errors import Busy, Invalid, LimitExceeded, NoSpace
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.prefix import link
from symphony.kvfs.stat import Stat
from symphony.param import MAX_FILES_PER_TENANT

Copy = tuple[int, int]
"""(source page, destination page)."""


class Kvfs:
    """All methods return at once. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time, max_files: int = MAX_FILES_PER_TENANT) -> None:
        self.clock = clock
        self.max_files = max_files
        """Files of one tenant, named or open."""
        self.arenas: dict[str, Arena] = {}
        self.files: dict[File, None] = {}
        """Every file that has not ended."""
        self.counts: Counter[str] = Counter()
        """How many of them each tenant has."""
        self.idle: dict[File, None] = {}
        """Files with K/V and no operation in flight, least recently used first: what eviction may drop."""

    def mount(self, model: str, digest: str, page_size: int, pages: int) -> Arena:
        """Add a model's pages."""
        arena = self.arenas[model] = Arena(model, digest, page_size, pages)
        return arena

    # ---- handles -------------------------------------------------------------------------------------------------
    def create(self, tenant: str, owner: str, model: str) -> File:
        """A new, empty, unnamed file with one handle. Raises LimitExceeded."""
        self._check_count(tenant)
        now = self.clock()
        file = File(self.arenas[model], tenant, owner, now, now, now, opens=1)
        self._add(file)
        return file

    def fork(self, file: File, tenant: str, owner: str) -> File:
        """A copy-on-write clone with one handle, which belongs to whom is named. O(pages). Raises LimitExceeded.

        Of a busy file: what it was before the operation; the page that may be being written is not shared. Of another
        tenant's file: its pages keep their keys, and what follows them is hashed under the salt of the new owner.
        """
        self._check_count(tenant)
        length, arena = file.length, file.arena
        computed = min(file.computed, length)
        if file.busy:
            computed -= computed % arena.page_size
        now = file.used = self.clock()
        clone = File(arena, tenant, owner, now, now, now, file.tokens[:length], length, computed, opens=1)
        clone.pages = file.pages[: arena.pages_for(computed)]
        full = computed // arena.page_size
        if tenant == file.tenant:
            clone.published = min(file.published, full)
            clone.foreign = min(file.foreign, full)
            clone.hashes = file.hashes[: length // arena.page_size]
        else:
            clone.published = clone.foreign = full
        arena.ref(clone.pages)
        self._add(clone)
        if clone.pages:
            self.idle[clone] = None
        return clone

    def close(self, file: File) -> None:
        """One handle less. A file without handles and names ends (a busy one when its operation settles)."""
        file.opens -= 1
        file.used = self.clock()
        self.end_if_unused(file)

    def stat(self, file: File) -> Stat:
        private = sum(map(file.arena.is_private, file.pages))
        return Stat(
            length=file.length,
            plain=file.length,
            unique_pages=private,
            shared_pages=len(file.pages) - private,
            tier="device" if file.pages or not file.length else "evicted",
            pinned=bool(file.pins),
            tenant=file.tenant,
            owner=file.owner,
            mode=file.mode,
            created=int(file.created),
            modified=int(file.modified),
            used=int(file.used),
            ttl=None if file.ttl is None else int(file.ttl),
            names=len(file.names),
        )

    # ---- contents ------------------------------------------------------------------------------------------------
    def truncate(self, file: File, length: int) -> None:
        """Keep the first `length` tokens. Raises Invalid, Busy."""
        self.check_idle(file)
        if not 0 <= length <= file.length:
            raise Invalid(f"truncate to {length}: the file has {file.length} tokens", "give its length or less")
        if length < file.length:
            self._cut(file, length)
            file.modified = file.used = self.clock()

    def begin(self, file: File, tokens: Iterable[int]) -> None:
        """An operation starts: the file is busy; `tokens` follow its own, for the operation only. Raises Busy."""
        if file.busy:
            self.check_idle(file)
        file.busy = True
        self.idle.pop(file, None)
        file.tokens.extend(tokens)

    def settle(self, file: File, length: int) -> None:
        """The operation is over, and no device step touches the file any more: it has `length` tokens now."""
        file.busy = False
        if length != file.length:
            file.modified = file.used = self.clock()
        size = file.arena.page_size
        if length == file.computed == len(file.tokens) and len(file.pages) * size < length + size:
            file.length = length  # the common case: there is nothing to cut off
            self.idle[file] = None
        else:
            self._cut(file, length)
        if not file.opens and not file.names:
            self.end_if_unused(file)

    def reuse(self, file: File, limit: int) -> int:
        """Take from the prefix cache what continues the computed entries, at most up to `limit`.

        Returns how many entries were found. For a busy file.
        """
        arena = file.arena
        size = arena.page_size
        before = file.computed
        index = before // size
        while (index + 1) * size <= limit:
            page = arena.hit(self._hash(file, index))
            if page is None:
                break
            arena.unref(file.pages[index:])  # a partial page of our own, and pages reserved behind it
            del file.pages[index:]
            file.pages.append(page)
            index += 1
            file.computed = index * size
            file.published = index
        return file.computed - before

    def reserve(self, file: File, upto: int, spare: int = 0) -> list[Copy] | None:
        """Make entries `[computed, upto)` writable, all or nothing, and leave `spare` pages available to others.

        Returns the page copies to be made before anybody writes (the sources stay referenced until `retire`), or None
        if there is no room now. Idle files lose their K/V for it, least recently used first.
        Raises NoSpace if it can never fit.
        """
        arena = file.arena
        computed = file.computed
        total = -(-upto // arena.page_size)
        partial = computed // arena.page_size if computed % arena.page_size else -1
        if total <= len(file.pages) and (partial < 0 or arena.is_private(file.pages[partial])):
            return []
        if total > arena.pool.capacity:
            fits = arena.pool.capacity * arena.page_size
            raise NoSpace(
                f"{upto} tokens need {total} KV pages, the pool has {arena.pool.capacity}",
                f"keep the sequence within {fits} tokens, or start the host with a larger pool",
            )
        while True:
            copied = partial >= 0 and not arena.is_private(file.pages[partial])
            need = max(0, total - len(file.pages)) + copied
            if not need or need + spare <= arena.available:
                break
            if copied and arena.pool.refs[file.pages[partial]] == 1 and need - 1 + spare <= arena.available:
                arena.cache.forget(file.pages[partial])  # the last page there is: the cache gives way
            elif not self._evict(arena):
                return None
        taken = arena.take(need) if need else []
        copies: list[Copy] = []
        if copied:
            page = taken.pop()
            copies.append((file.pages[partial], page))
            file.pages[partial] = page
        file.pages += taken
        return copies

    def retire(self, arena: Arena, copies: Iterable[Copy]) -> None:
        """The device made these copies: their sources may go."""
        arena.unref([source for source, _ in copies])

    def commit(self, file: File, computed: int) -> None:
        """Entries up to `computed` have K/V now; publish the pages that became full."""
        file.computed = computed
        arena = file.arena
        full = computed // arena.page_size
        while file.published < full:
            arena.cache.publish(self._hash(file, file.published), file.pages[file.published])
            file.published += 1

    def drop(self, file: File) -> None:
        """Give up the file's K/V; the tokens stay, and whoever needs the K/V computes it again."""
        file.arena.unref(file.pages)
        file.pages = []
        file.computed = 0
        file.published = 0
        file.foreign = 0
        self.idle.pop(file, None)

    # ---- the inside ----------------------------------------------------------------------------------------------
    def _evict(self, arena: Arena) -> bool:
        """Drop one idle file's K/V; False if there is none."""
        for file in self.idle:
            if file.arena is arena:
                self.drop(file)
                return True
        return False

    def _cut(self, file: File, length: int) -> None:
        """Make the file exactly `length` tokens long, with the pages of its computed entries and no more."""
        arena = file.arena
        del file.tokens[length:]
        file.length = length
        file.computed = min(file.computed, length)
        keep = arena.pages_for(file.computed)
        if keep < len(file.pages):
            arena.unref(file.pages[keep:])
            del file.pages[keep:]
        del file.hashes[length // arena.page_size :]
        full = file.computed // arena.page_size
        file.published = min(file.published, full)
        file.foreign = min(file.foreign, full)
        self.idle.pop(file, None)
        if file.pages:
            self.idle[file] = None

    def _hash(self, file: File, index: int) -> bytes:
        hashes, size = file.hashes, file.arena.page_size
        while len(hashes) <= index:
            n = len(hashes)
            previous = hashes[-1] if hashes else file.arena.root(file.tenant)
            hashes.append(link(previous, file.tokens[n * size : (n + 1) * size]))
        return hashes[index]

    def check_idle(self, file: File) -> None:
        """Raises Busy."""
        if file.busy:
            raise Busy("an operation is in flight on this file", "wait for it, or work on a fork")

    def end_if_unused(self, file: File) -> None:
        """A handle or a name of the file went: end it if that was the last (a busy one when it settles)."""
        if not file.opens and not file.names and not file.busy:
            self.drop(file)
            if self.files.pop(file, self) is None:
                self.counts[file.tenant] -= 1

    def _check_count(self, tenant: str) -> None:
        if self.counts[tenant] >= self.max_files:
            raise LimitExceeded(
                f"the tenant has {self.max_files} KV files, the most there may be", "close or unlink some"
            )

    def _add(self, file: File) -> None:
        self.files[file] = None
        self.counts[file.tenant] += 1
