"""The KV-cache file system: what can be done to files, and whose pages go when there are none left.

Layers, each using only those below it:

    Tree       what can be done to names; who may do it                                   tree.py
    Transfers  extract, append-from                                                       transfer.py
    Tiers      moves between device, host and disk; taking K/V off the device             tiers.py, spill.py, fetches.py
    Kvfs       operations on files; reservation, copy-on-write                            this file
    File       tokens and page table                                                      file.py
    Arena      one model's pages and slots: free, used or cached                          arena.py
    PagePool, PrefixCache                                                                 pages.py, prefix.py

Pure bookkeeping on numbers: nothing here touches a device, waits, or knows processes. Two rules carry it:
a page that is shared, published or has a twin is immutable (writers copy it first), and an operation's work is
`tokens[computed:]` (so dropping K/V needs no bookkeeping elsewhere). Meanings: semantics 1-8, 19, 20.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from symphony.errors import Busy, Invalid, LimitExceeded, NoSpace
from symphony.kvfs.arena import Arena, Copying, Costs
from symphony.kvfs.file import File
from symphony.kvfs.image import Image, unref_image
from symphony.kvfs.loose import Loose
from symphony.kvfs.prefix import link
from symphony.kvfs.stat import Stat
from symphony.param import MAX_FILES_PER_TENANT, MAX_PINNED_SHARE

Copy = tuple[int, int]
"""(source page, destination page)."""


class Shortage(NamedTuple):
    """Pages that a reservation lacks."""

    pages: int
    tenant: str | None
    """Whose pages would help: the tenant's own, which is at its quota; None: anybody's."""


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
        self.idle: dict[File, int] = {}
        """Files with pages and no operation in flight, least recently used first; their numbers ascend."""
        self.stowed: dict[File, int] = {}
        """Likewise files with host slots."""
        self._rests = 0
        self.pinned: dict[File, None] = {}
        self.stale: dict[int, File] = {}
        """Files that were synced, by their record, of which names, mode or end were not recorded since they changed."""
        self.loose = Loose()
        """Files of which more is on disk than a sync wrote; that gives way to whatever needs the room."""

    def mount(
        self, model: str, digest: str, page_size: int, pages: int, slots: int = 0, costs: Costs | None = None
    ) -> Arena:
        """Add a model's pages, and its slots on the host."""
        arena = self.arenas[model] = Arena(model, digest, page_size, pages, slots, costs or Costs(0.0))
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

        Of a busy file: what it was before the operation; the page that may be being written is not shared, and where
        it cannot be computed again either, the fork is refused with Busy. Of another tenant's file: its pages keep
        their keys, and what follows them is hashed under the salt of the new owner.
        """
        self._check_count(tenant)
        length, arena = file.length, file.arena
        computed = min(file.computed, length)
        derived = file.derived if file.derived is not None and file.derived < length else None
        if file.busy and computed % arena.page_size and not file.slots:
            if derived is not None:
                self.check_idle(file)
            computed -= computed % arena.page_size
        now = file.used = self.clock()
        clone = File(arena, tenant, owner, now, now, now, file.tokens[:length], length, computed, opens=1)
        clone.derived = derived
        if file.positions is not None and derived is not None:
            clone.positions = file.positions[:length]
        full, held = computed // arena.page_size, arena.pages_for(computed)
        if tenant == file.tenant:
            clone.published = min(file.published, full)
            clone.hashes = file.hashes[: length // arena.page_size]
        else:
            clone.published = full  # never under a key of its own
        clone.touched, clone.resident, clone.cuts = file.touched, file.resident, file.cuts
        self._add(clone)
        if file.image is not None and length:
            entries = min(file.image.entries, length)
            self.set_image(clone, file.image.cut(entries, arena.page_size), self.loose.get(file))
        if file.slots:
            clone.slots = file.slots[:held]
            arena.host.ref(clone.slots, tenant)
        else:
            clone.pages = file.pages[:held]
            arena.ref(clone.pages, tenant)
        self.rest(clone)
        return clone

    def adopt(self, file: File) -> None:
        """A file of an earlier life, without handles and without K/V in memory."""
        self._add(file)

    def close(self, file: File) -> None:
        """One handle less. A file without handles and names ends (a busy one when its operation settles)."""
        file.opens -= 1
        file.used = self.clock()
        self.note(file)
        self.end_if_unused(file)

    def reopen(self, file: File) -> None:
        """One handle more on a named file."""
        file.opens += 1
        file.used = self.clock()
        self.note(file)

    def note(self, file: File) -> None:
        """What the file holds, or what may be done about it, is not what it was."""
        if (changed := file.arena.changed) is not None:
            changed[file] = None
        if file in self.loose.synced:
            self.loose.place(file)

    def stat(self, file: File) -> Stat:
        arena = file.arena
        private = sum(map(arena.is_private, file.pages)) + arena.host.private(file.slots)
        return Stat(
            length=file.length,
            plain=file.length if file.derived is None else min(file.derived, file.length),
            next_position=file.position(file.length),
            unique_pages=private,
            shared_pages=len(file.pages) + len(file.slots) - private,
            tier=file.tier,
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

    def pin(self, file: File) -> None:
        """One more reason to keep the K/V on the device, should it be on its way out too. Raises LimitExceeded."""
        if not file.pins:
            held = self.pinned_pages(file.arena) + max(len(file.pages), len(file.slots))
            limit = int(file.arena.pool.capacity * MAX_PINNED_SHARE)
            if held > limit:
                raise LimitExceeded(
                    f"{held} KV pages would be pinned, the limit is {limit}", "unpin other files, or truncate this one"
                )
            self._check_kept(file)
            self.pinned[file] = None
            if file.move is not None and file.move.out:
                file.move = None
        file.pins += 1
        self.note(file)

    def unpin(self, file: File) -> None:
        """One reason less; there was one."""
        file.pins -= 1
        if not file.pins:
            del self.pinned[file]
            self.note(file)

    def pinned_pages(self, arena: Arena, but: File | None = None) -> int:
        """Device pages that pins keep, or will when the K/V is back from the host; those of one file not counted."""
        files = [file for file in self.pinned if file.arena is arena and file is not but]
        away = sum([len(file.move.pages if file.move is not None else file.slots) for file in files if file.slots])
        return len({page for file in files for page in file.pages}) + away

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
        if self.idle.pop(file, self) is self:
            self.stowed.pop(file, None)
        if file.arena.changed is not None:
            self.note(file)
        file.tokens.extend(tokens)

    def derive(self, file: File, first: int, positions: Sequence[int] | None) -> None:
        """An operation computes entries from `first` on in a way of its own, at `positions` if they do not count on."""
        if positions is not None:
            known = file.positions if file.positions is not None else file.tokens[:0]
            known.extend([file.position(entry) for entry in range(len(known), first)])
            known.extend(positions)
            file.positions = known
        if file.derived is None:
            file.derived = first

    def go_on(self, file: File, token: int) -> None:
        """As `commit` and `settle` with all that it has, and then `begin` with one more token: nobody has the file in
        between."""
        file.length = file.computed = total = len(file.tokens)
        if file.published < total // file.arena.page_size:
            self.commit(file, total)
        file.modified = file.used = self.clock()
        file.tokens.append(token)

    def amend(self, file: File, token: int) -> None:
        """The one token of the operation, not computed yet, is another."""
        file.tokens[file.length] = token
        del file.hashes[file.length // file.arena.page_size :]

    def rewind(self, file: File, length: int) -> None:
        """An operation takes tokens of its own back: the file has `length` of them for it now, and no pages more."""
        self._shorten(file, length)

    def settle(self, file: File, length: int) -> None:
        """The operation is over, and no device step touches the file any more: it has `length` tokens now."""
        file.busy = False
        if length != file.length:
            file.modified = file.used = self.clock()
        size = file.arena.page_size
        held = len(file.pages) * size
        if 0 < length == file.computed == len(file.tokens) and length <= held < length + size:
            file.length = length  # the common case: there is nothing to cut off
            self._rests = self.idle[file] = self._rests + 1
            if file.arena.changed is not None:
                self.note(file)
        else:
            self._cut(file, length)
        if not file.opens and not file.names:
            self.end_if_unused(file)

    def complete(self, file: File) -> None:
        """As `commit` and `settle` with all tokens that it has: sooner where nothing is cut off, as of most tokens."""
        arena, total = file.arena, len(file.tokens)
        size, held = arena.page_size, len(file.pages)
        if arena.changed is not None or not file.opens or held != (total + size - 1) // size:
            self.commit(file, total)
            self.settle(file, total)
            return
        if file.length != total:
            file.length = total
            file.modified = file.used = self.clock()
        file.computed = total
        if file.published < total // size:
            self.commit(file, total)
        file.busy = False
        self._rests = self.idle[file] = self._rests + 1

    def reuse(self, file: File, limit: int) -> int:
        """Take from the prefix cache what continues the computed entries, at most up to `limit`.

        Returns how many entries were found. For a busy file whose K/V is not on the host.
        """
        arena = file.arena
        size = arena.page_size
        before = file.computed
        if file.derived is not None:
            limit = min(limit, file.derived)
        index = before // size
        while (index + 1) * size <= limit:
            page = arena.hit(self.key(file, index), file.tenant)
            if page is None:
                break
            arena.unref(file.pages[index:], file.tenant)  # a partial page of our own, and pages reserved behind it
            del file.pages[index:]
            file.pages.append(page)
            index += 1
            file.computed = index * size
            file.published = index
        return file.computed - before

    def reserve(self, file: File, upto: int, spare: int = 0) -> list[Copy] | Shortage:
        """Make entries `[computed, upto)` writable, all or nothing, and leave `spare` pages available to others.

        For a busy file whose K/V is not on the host. Returns the page copies to be made before anybody writes (the
        sources stay referenced until `retire`), or what is missing now. Raises NoSpace if it can never fit.
        """
        arena = file.arena
        computed = file.computed
        total = -(-upto // arena.page_size)
        partial = computed // arena.page_size if computed % arena.page_size else -1
        if total <= len(file.pages) and (partial < 0 or arena.is_private(file.pages[partial])):
            if partial >= 0:
                arena.part(file.pages[partial])
            return []
        self.check_fits(file, total, upto)
        copied = partial >= 0 and not arena.is_private(file.pages[partial])
        need = max(0, total - len(file.pages)) + copied
        missing = self.shortage(file, need, spare)
        if missing and copied and arena.pool.refs[file.pages[partial]] == 1:  # nobody but the cache wants it unchanged
            need -= 1
            missing = self.shortage(file, need, spare)
            if missing is None:
                arena.cache.forget(file.pages[partial])  # the last page there is: the cache gives way
                copied = False
        if missing:
            return missing
        taken = arena.take(need, file.tenant) if need else []
        copies: list[Copy] = []
        if copied:
            page = taken.pop()
            copies.append(self.replace(file, partial, page))
        elif partial >= 0:
            arena.part(file.pages[partial])
        file.pages += taken
        return copies

    def replace(self, file: File, index: int, page: int) -> Copy:
        """A fresh page in place of one that must not be written; the copy to be made."""
        source = file.pages[index]
        file.arena.copying.append(Copying(file, index, source, page))
        file.pages[index] = page
        return source, page

    def check_fits(self, file: File, pages: int, upto: int, stays: bool = False) -> None:
        """Raises NoSpace if the file can never have so many device pages. `stays`: it will be derived."""
        arena, own = file.arena, self._own(file, stays)
        if pages <= min(arena.pool.capacity, own) and not self.pinned:
            return
        kept = self.pinned_pages(arena, but=file)
        limit = min(arena.pool.capacity - kept, own)
        if file.pins:
            limit = min(limit, max(int(arena.pool.capacity * MAX_PINNED_SHARE) - kept, len(file.pages)))
        if pages > limit:
            why = f"the pool has {arena.pool.capacity}"
            if limit < arena.pool.capacity:
                why += ", and pins leave" if limit < own else ", and the tenant may hold"
                why += f" {limit}"
            raise NoSpace(
                f"{upto} tokens need {pages} KV pages, {why}",
                f"keep the sequence within {limit * arena.page_size} tokens, or start the host with a larger pool",
            )

    def shortage(self, file: File, need: int, spare: int, stays: bool = False) -> Shortage | None:
        """What is missing for `need` more pages of the file; None: nothing. `stays`: it will be derived."""
        arena = file.arena
        if need and (limit := self._own(file, stays)) < arena.pool.capacity:
            own = arena.pool.used.get(file.tenant, 0) + need - limit
            if own > 0:
                return Shortage(own, file.tenant)
        missing = need + spare - arena.available
        return Shortage(missing, None) if need and missing > 0 else None

    def retire(self, arena: Arena, made: bool = True, count: int | None = None) -> None:
        """The device made the oldest `count` page copies (default: all), whose sources may go; or else they take their
        places again."""
        for file, index, source, target in arena.copying[:count]:
            given_up = source
            if not made and index < len(file.pages) and file.pages[index] == target:
                file.pages[index], given_up = source, target
            arena.unref((given_up,), file.tenant)
        del arena.copying[:count]

    def commit(self, file: File, computed: int) -> None:
        """Entries up to `computed` have K/V now; publish the plain pages that became full."""
        file.computed = computed
        arena = file.arena
        full = (computed if file.derived is None else min(computed, file.derived)) // arena.page_size
        while file.published < full:
            arena.cache.publish(self.key(file, file.published), file.pages[file.published])
            file.published += 1

    def drop(self, file: File) -> None:
        """Give up the file's K/V; the tokens stay, and whoever needs the K/V computes it again, or has it fetched. For
        plain files, and those whose K/V is on disk."""
        assert self.may_drop(file), "derived K/V cannot be computed again"
        self._release(file)

    def may_drop(self, file: File) -> bool:
        """Whether its K/V comes back if it is given up."""
        return file.derived is None or self.is_imaged(file)

    def is_imaged(self, file: File) -> bool:
        """Whether all K/V that it has is on disk too."""
        return file.image is not None and file.image.entries >= file.computed

    def set_image(self, file: File, image: Image | None, loose: int | None = None) -> None:
        """What is on disk of the file now; but for so many leading pages (None: all) it gives way to others."""
        arena, old = file.arena, file.image
        if image is not None:
            arena.disk.ref(image.slots, file.tenant)
        if old is not None:
            unref_image(arena, old.slots, file.tenant)
        file.image = image
        self.loose.put(file, loose)
        self.note(file)

    def rehouse(self, file: File, arena: Arena) -> None:
        """The file is another arena's from now on, of the same model; nobody has it open, and its K/V is given up."""
        self.set_image(file, None)
        file.arena, file.published = arena, 0
        file.hashes.clear()
        self.note(file)

    def take_disk(self, arena: Arena, count: int, tenant: str) -> list[int]:
        """Slots on disk, one reference each; images that no sync wrote give way. Raises NoSpace."""
        disk, loose = arena.disk, self.loose
        while (file := loose.first(arena, count, tenant)) is not None:
            keep, image = loose.synced[file], file.image
            self.set_image(file, image.cut(keep * arena.page_size, arena.page_size) if image and keep else None)
        left = arena.disk_of(tenant) - disk.used.get(tenant, 0)
        if count > max(min(left, len(disk.free)), 0):
            raise NoSpace(
                f"{count} KV pages would go to disk, and there is room for {max(min(left, len(disk.free)), 0)}",
                "unlink files that were synced, or start the host with a larger disk tier",
            )
        return [disk.take(tenant) for _ in range(count)]

    def changed_record(self, file: File) -> None:
        """What would be found of it after a restart is not what it is now; nothing, once it has no name any more."""
        if file.record is not None:
            self.stale[file.record] = file
            if not file.names:
                file.record = None

    def key(self, file: File, index: int) -> bytes:
        """The prefix cache's key of the file's page `index`, which its tokens fill."""
        hashes, size = file.hashes, file.arena.page_size
        while len(hashes) <= index:
            n = len(hashes)
            previous = hashes[-1] if hashes else file.arena.root(file.tenant)
            hashes.append(link(previous, file.tokens[n * size : (n + 1) * size]))
        return hashes[index]

    def check_idle(self, file: File) -> None:
        if file.busy:
            raise Busy("an operation is in flight on this file", "wait for it, or work on a fork")

    def end_if_unused(self, file: File) -> None:
        """The file ends if nobody can reach it any more; an operator's pin, if no name leads to it."""
        if file.held and not file.names:
            file.held = False
            self.unpin(file)
        if not file.opens and not file.names and not file.busy:
            self._release(file)
            self.set_image(file, None)
            self.changed_record(file)
            self.pinned.pop(file, None)
            if self.files.pop(file, self) is None:
                self.counts[file.tenant] -= 1

    def rest(self, file: File) -> None:
        """Put the file where its K/V and its state say."""
        self.idle.pop(file, None)
        self.stowed.pop(file, None)
        if not file.busy and (file.pages or file.slots):
            self._rests += 1
            (self.idle if file.pages else self.stowed)[file] = self._rests
        self.note(file)

    def trim(self, file: File) -> None:
        """Give up pages that are reserved, but not written."""
        held = file.arena.pages_for(file.computed)
        if held < len(file.pages):
            file.arena.unref(file.pages[held:], file.tenant)
            del file.pages[held:]

    # ---- the inside ----------------------------------------------------------------------------------------------
    def _release(self, file: File) -> None:
        arena = file.arena
        arena.unref(file.pages, file.tenant)
        arena.unref_slots(file.slots, file.tenant)
        file.pages, file.slots, file.move = [], [], None
        file.computed = file.published = 0
        self.rest(file)

    def _cut(self, file: File, length: int) -> None:
        """Make the file exactly `length` tokens long, with the pages or slots of its computed entries and no more."""
        self._shorten(file, length)
        file.length = length

    def _shorten(self, file: File, length: int) -> None:
        arena = file.arena
        if length < max(file.computed, 0 if file.image is None else file.image.entries):
            file.cuts += 1
        if length < file.computed:
            file.move = None
        if file.image is not None and length < file.image.entries:
            if file.computed < file.image.entries:
                file.move = None  # it may be on its way from there
            self.set_image(file, file.image.cut(length, arena.page_size) if length else None, self.loose.get(file))
        del file.tokens[length:]
        file.computed = min(file.computed, length)
        keep = arena.pages_for(file.computed)
        if file.computed % arena.page_size and keep <= len(file.pages) and file.pages[keep - 1] in arena.disk_of_page:
            arena.forget_disk(arena.disk_of_page[file.pages[keep - 1]])  # it goes on in the middle of the page
        if keep < len(file.pages):
            arena.unref(file.pages[keep:], file.tenant)
            del file.pages[keep:]
        if keep < len(file.slots):
            arena.unref_slots(file.slots[keep:], file.tenant)
            del file.slots[keep:]
        if file.derived is not None and length <= file.derived:
            file.derived = file.positions = None
        if file.positions is not None:
            del file.positions[length:]
        del file.hashes[length // arena.page_size :]
        full = file.computed // arena.page_size
        file.published = min(file.published, full)
        self.rest(file)

    def _own(self, file: File, stays: bool) -> int:
        """Pages that its tenant may hold for the file to get more."""
        limit = file.arena.pages_of(file.tenant)
        if stays or file.pins or file.derived is not None:
            return min(limit, file.arena.kept_pages)
        return limit

    def _check_kept(self, file: File) -> None:
        """Raises LimitExceeded if the file's tenant would have too many device pages that cannot be given up."""
        arena, tenant = file.arena, file.tenant
        limit = arena.kept_pages
        if arena.pool.used.get(tenant, 0) + len(file.slots) <= limit:
            return
        files = [f for f in self.files if f.tenant == tenant and f.arena is arena and (f.pins or f.derived is not None)]
        held = len({page for f in (*files, file) for page in f.pages}) + len(file.slots)
        if held > limit:
            raise LimitExceeded(
                f"{held} KV pages of the tenant could not be given up to others, the limit is {limit}",
                "unpin files, or close or truncate those of extract and append",
            )

    def _check_count(self, tenant: str) -> None:
        if self.counts[tenant] >= self.max_files:
            raise LimitExceeded(
                f"the tenant has {self.max_files} KV files, the most there may be", "close or unlink some"
            )

    def _add(self, file: File) -> None:
        self.files[file] = None
        self.counts[file.tenant] += 1
