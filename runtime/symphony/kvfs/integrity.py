"""The books of a `Kvfs`, audited: free + used + cached = all, references = page tables, cache keys = contents.

Reads everything, changes nothing; O(all tokens). Used after every test, and on request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from symphony.errors import InternalError
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Copy, Kvfs
from symphony.kvfs.prefix import link


def check_integrity(kvfs: Kvfs, copying: Iterable[tuple[Arena, Copy]] = ()) -> None:
    """Raises InternalError that lists what is wrong. `copying`: page copies that are not retired yet."""
    wrong: list[str] = []
    sources = [(arena, source) for arena, (source, _) in copying]
    for arena in kvfs.arenas.values():
        files = [file for file in kvfs.files if file.arena is arena]
        held = Counter(page for file in files for page in file.pages)
        held.update(page for other, page in sources if other is arena)
        wrong += _pages(arena, held)
        wrong += [text for file in files for text in _file(kvfs, file)]
    if wrong:
        raise InternalError("KVFS integrity: " + "; ".join(wrong))


def _pages(arena: Arena, held: Counter[int]) -> Iterable[str]:
    pool, cache = arena.pool, arena.cache
    everything = [*pool.free, *cache.idle, *held]
    if sorted(everything) != list(range(1, pool.capacity + 1)):
        yield f"{arena.model}: free, cached and used pages are {sorted(everything)}, not each page once"
    for page, refs in enumerate(pool.refs):
        if refs != held[page]:
            yield f"{arena.model}: page {page} has {refs} references and {held[page]} holders"
    if {key: page for page, key in cache.key_of.items()} != cache.by_key:
        yield f"{arena.model}: the prefix cache's two directions differ"
    if not cache.idle.keys() <= cache.key_of.keys():
        yield f"{arena.model}: an unreferenced page is kept although nothing can find it"


def _file(kvfs: Kvfs, file: File) -> Iterable[str]:
    arena, size = file.arena, file.arena.page_size
    name = f"{arena.model}: file of {file.tenant} ({file.length} tokens)"
    key = arena.root(file.tenant)
    foreign = list(arena.roots.values())
    for index in range(len(file.tokens) // size):
        key = link(key, file.tokens[index * size : (index + 1) * size])
        if index < len(file.hashes) and file.hashes[index] != key:
            yield f"{name}: hash {index} is not that of its tokens"
        computed = (index + 1) * size <= file.computed
        if index < file.foreign:
            foreign = [link(other, file.tokens[index * size : (index + 1) * size]) for other in foreign]
            if arena.cache.key_of.get(file.pages[index], key) not in (key, *foreign):
                yield f"{name}: page {index} of another tenant is cached under a key that is not its contents'"
        elif computed and arena.cache.key_of.get(file.pages[index], key) != key:
            yield f"{name}: page {index} is cached under another key"
    if len(file.hashes) > len(file.tokens) // size:
        yield f"{name}: more hashes than full pages"
    if not file.computed <= len(file.tokens) or arena.pages_for(file.computed) > len(file.pages):
        yield f"{name}: {file.computed} entries computed, {len(file.tokens)} tokens, {len(file.pages)} pages"
    if max(file.published, file.foreign) > file.computed // size:
        yield f"{name}: {file.published} pages published, {file.foreign} foreign, {file.computed} entries computed"
    if not file.busy:
        if file.length != len(file.tokens) or arena.pages_for(file.computed) != len(file.pages):
            yield f"{name}: idle with {len(file.tokens)} tokens and {len(file.pages)} pages for {file.computed} entries"
        if (file in kvfs.idle) != bool(file.pages):
            yield f"{name}: its place among the evictable files is wrong"
        if not file.opens and not file.names:
            yield f"{name}: nobody can reach it"
    elif file in kvfs.idle:
        yield f"{name}: busy and evictable"
