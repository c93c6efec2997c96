"""The books of a `Kvfs`, audited: free + used + cached = all, references = holders, charges = payers, cache keys =
contents.

Reads everything, changes nothing; O(all tokens). Used after every test, when idle in debug mode, and on request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import compress

from symphony.errors import InternalError
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.move import Move
from symphony.kvfs.pages import PagePool
from symphony.kvfs.prefix import link

Holders = Counter[tuple[int, str]]
"""(page, tenant) -> references that somebody can name."""


def check_integrity(kvfs: Kvfs, moves: Iterable[Move] = (), disk: Mapping[Arena, Holders] | None = None) -> None:
    """Raises InternalError that lists what is wrong. `moves`: those that are not over. `disk`: who holds slots on disk
    besides files and moves."""
    wrong: list[str] = []
    moves = list(moves)
    for arena in kvfs.arenas.values():
        files = [file for file in kvfs.files if file.arena is arena]
        pages: Holders = Counter((page, file.tenant) for file in files for page in file.pages)
        slots: Holders = Counter((slot, file.tenant) for file in files for slot in file.slots)
        pages.update((copy.source, copy.file.tenant) for copy in arena.copying)
        for move in moves:
            if move.file.arena is arena:
                pages.update((page, move.tenant) for page in move.pages)
                slots.update((slot, move.tenant) for slot in move.slots)
        wrong += _pool(f"{arena.model}: page", arena.pool, pages, list(arena.cache.idle))
        wrong += _pool(f"{arena.model}: slot", arena.host, slots, list(arena.idle_slots))
        images: Holders = Counter((slot, f.tenant) for f in files if f.image is not None for slot in f.image.slots)
        images.update((disk or {}).get(arena, Counter()))
        for move in moves:
            if move.file.arena is arena and move.image is not None:
                images.update((slot, move.tenant) for slot in move.image.slots)
        wrong += _pool(f"{arena.model}: slot on disk", arena.disk, images, [])
        wrong += _cache(arena)
        wrong += [text for file in files for text in _file(kvfs, file)]
        gains = sum(move.gain for move in moves if move.file.arena is arena)
        if arena.coming != gains:
            wrong.append(f"{arena.model}: {arena.coming} pages are said to come, moves bring {gains}")
    if wrong:
        raise InternalError("KVFS integrity: " + "; ".join(wrong))


def _pool(name: str, pool: PagePool, held: Holders, cached: list[int]) -> Iterable[str]:
    refs: Counter[int] = Counter()
    holders: dict[int, dict[str, int]] = {}
    for (page, tenant), count in held.items():
        refs[page] += count
        holders.setdefault(page, {})[tenant] = count
    everything = [*pool.free, *cached, *refs]
    if sorted(everything) != list(range(pool.first, pool.first + pool.capacity)):
        yield f"{name}s: free, cached and used ones are {sorted(everything)}, not each once"
    used: Counter[str] = Counter()
    ids = range(len(pool.refs))  # there may be very many, of which few are held
    for page in sorted({*compress(ids, pool.refs), *compress(ids, pool.payer), *refs, *pool.foreign}):
        count = pool.refs[page]
        if count != refs[page]:
            yield f"{name} {page} has {count} references and {refs[page]} holders"
        payer = pool.payer[page]
        if bool(payer) != bool(count) or (payer and not held[page, payer]):
            yield f"{name} {page} with {count} references is charged to {payer!r}"
        if payer:
            used[payer] += 1
        others = {tenant: n for tenant, n in holders.get(page, {}).items() if tenant != payer}
        if pool.foreign.get(page, {}) != others:
            yield f"{name} {page}: foreign references {pool.foreign.get(page)} are {others}"
    if pool.used != used:
        yield f"{name}s: charges {pool.used} are {dict(used)}"


def _cache(arena: Arena) -> Iterable[str]:
    cache, refs = arena.cache, arena.pool.refs
    if {key: page for page, key in cache.key_of.items()} != cache.by_key:
        yield f"{arena.model}: the prefix cache's two directions differ"
    if not cache.idle.keys() <= cache.key_of.keys():
        yield f"{arena.model}: an unreferenced page is kept although nothing can find it"
    if {slot: page for page, slot in arena.slot_of_page.items()} != arena.page_of_slot:
        yield f"{arena.model}: the twins' two directions differ"
    if {slot: page for page, slot in arena.disk_of_page.items()} != arena.page_of_disk:
        yield f"{arena.model}: the two directions of what was read from disk differ"
    for page, slot in arena.disk_of_page.items():
        if not (refs[page] or page in cache.idle) or not arena.disk.refs[slot]:
            yield f"{arena.model}: page {page} was read from slot {slot} on disk, and one of them is free"
    if not arena.idle_slots.keys() <= arena.page_of_slot.keys():
        yield f"{arena.model}: an unreferenced slot is kept although no page holds the same"
    for page, slot in arena.slot_of_page.items():
        if not (refs[page] or page in cache.idle) or not (arena.host.refs[slot] or slot in arena.idle_slots):
            yield f"{arena.model}: page {page} and slot {slot} are twins, and one of them is free"


def _file(kvfs: Kvfs, file: File) -> Iterable[str]:
    arena, size = file.arena, file.arena.page_size
    name = f"{arena.model}: file of {file.tenant} ({file.length} tokens)"
    plain = len(file.tokens) if file.derived is None else file.derived
    yield from _hashes(file, name, plain)
    held = len(file.slots) or len(file.pages)
    if file.pages and file.slots:
        yield f"{name}: its K/V lies in two places"
    if not file.computed <= len(file.tokens) or arena.pages_for(file.computed) > held:
        yield f"{name}: {file.computed} entries computed, {len(file.tokens)} tokens, {held} pages"
    if file.published > file.computed // size:
        yield f"{name}: {file.published} pages published, {file.computed} entries computed"
    if file.image is not None and (
        len(file.image.slots) != arena.pages_for(file.image.entries) or file.image.entries > len(file.tokens)
    ):
        yield f"{name}: {file.image.entries} entries of it are said to be on disk, in {len(file.image.slots)} pages"
    imaged = file.image is not None and file.image.entries > (file.derived or 0)
    if file.derived is not None and file.computed <= file.derived < file.length and not imaged:
        yield f"{name}: its derived entries have lost their K/V"
    if not file.busy:
        if file.length != len(file.tokens) or arena.pages_for(file.computed) != held:
            yield f"{name}: idle with {len(file.tokens)} tokens and {held} pages for {file.computed} entries"
        if (file in kvfs.idle) != bool(file.pages) or (file in kvfs.stowed) != bool(file.slots):
            yield f"{name}: its place among the idle files is wrong"
        if not file.opens and not file.names:
            yield f"{name}: nobody can reach it"
    elif file in kvfs.idle or file in kvfs.stowed:
        yield f"{name}: busy, and counted among the idle"
    if file in kvfs.loose and not kvfs.loose.is_placed(file):
        yield f"{name}: its place among those that give way on disk is wrong"
    if (file in kvfs.pinned) != bool(file.pins):
        yield f"{name}: {file.pins} pins"


def _hashes(file: File, name: str, plain: int) -> Iterable[str]:
    """Tenants that opened the file from /shared hold pages that are cached under another tenant's keys."""
    arena, size = file.arena, file.arena.page_size
    keys = {tenant: arena.root(tenant) for tenant in {*arena.roots, file.tenant}}
    for index in range(len(file.tokens) // size):
        tokens = file.tokens[index * size : (index + 1) * size]
        keys = {tenant: link(key, tokens) for tenant, key in keys.items()}
        if index < len(file.hashes) and file.hashes[index] != keys[file.tenant]:
            yield f"{name}: hash {index} is not that of its tokens"
        if file.pages and (index + 1) * size <= min(file.computed, plain):
            key = arena.cache.key_of.get(file.pages[index])
            if key is not None and key not in keys.values():
                yield f"{name}: page {index} is cached under another key"
    if len(file.hashes) > len(file.tokens) // size:
        yield f"{name}: more hashes than full pages"
