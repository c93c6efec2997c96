"""Pages between tenants: a file of /shared gives its pages, and nothing else ever meets (semantics 20)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from symphony.errors import InternalError
from symphony.kvfs.file import File
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.kvfs import Kvfs, Shortage
from symphony.kvfs.prefix import link, root

SIZE = 4


def make() -> Kvfs:
    kvfs = Kvfs(clock=lambda: 0.0)
    kvfs.mount("m", "digest", SIZE, 40)
    return kvfs


def run(kvfs: Kvfs, file: File, tokens: Sequence[int]) -> int:
    """An operation that appends. Returns how many entries came from the prefix cache."""
    kvfs.begin(file, tokens)
    found = kvfs.reuse(file, len(file.tokens))
    assert not isinstance(kvfs.reserve(file, len(file.tokens)), Shortage)
    kvfs.retire(file.arena)
    kvfs.commit(file, len(file.tokens))
    kvfs.settle(file, len(file.tokens))
    check_integrity(kvfs)
    return found


def key(tenant: str, tokens: Sequence[int]) -> bytes:
    kvfs = make()
    value = root("digest", tenant)
    file = kvfs.create(tenant, tenant, "m")
    file.tokens.extend(tokens)
    for i in range(len(tokens) // SIZE):
        value = link(value, file.tokens[i * SIZE : (i + 1) * SIZE])
    return value


PROMPT = list(range(10))


def test_a_clone_for_another_tenant_has_the_pages_and_its_own_salt() -> None:
    kvfs = make()
    file = kvfs.create("ann", "ann", "m")
    run(kvfs, file, PROMPT)
    clone = kvfs.fork(file, "bob", "bob")
    assert (clone.tenant, clone.pages, clone.computed) == ("bob", file.pages, 10)
    run(kvfs, clone, [10, 11, 12])
    cache = file.arena.cache
    assert clone.pages[:2] == file.pages[:2]
    assert cache.key_of[clone.pages[0]] == key("ann", PROMPT[:4])
    assert cache.key_of[clone.pages[2]] == key("bob", range(12)), "what follows is bob's"
    assert key("ann", range(12)) not in cache.by_key


def test_neither_tenant_finds_what_the_other_computed() -> None:
    kvfs = make()
    file = kvfs.create("ann", "ann", "m")
    run(kvfs, file, PROMPT)
    clone = kvfs.fork(file, "bob", "bob")
    run(kvfs, clone, [10, 11, 12])
    assert run(kvfs, kvfs.create("bob", "bob", "m"), range(13)) == 0, "bob's chain does not begin with ann's pages"
    kvfs2 = make()
    file = kvfs2.create("ann", "ann", "m")
    run(kvfs2, file, PROMPT)
    run(kvfs2, kvfs2.fork(file, "bob", "bob"), [10, 11, 12])
    assert run(kvfs2, kvfs2.create("ann", "ann", "m"), range(13)) == 8, "ann finds her own two pages, not bob's third"


def test_two_clones_of_one_tenant_share_their_continuation() -> None:
    kvfs = make()
    file = kvfs.create("ann", "ann", "m")
    run(kvfs, file, PROMPT)
    first, second, other = (kvfs.fork(file, tenant, tenant) for tenant in ("bob", "bob", "eve"))
    run(kvfs, first, range(10, 15))
    assert run(kvfs, second, range(10, 15)) == 2
    assert second.pages[2] == first.pages[2]
    assert run(kvfs, other, range(10, 15)) == 0


def test_a_clone_that_lost_its_pages_is_its_tenants_alone() -> None:
    kvfs = make()
    file = kvfs.create("ann", "ann", "m")
    run(kvfs, file, PROMPT)
    clone = kvfs.fork(file, "bob", "bob")
    kvfs.drop(clone)
    assert run(kvfs, clone, [10]) == 0, "computed again, although ann's pages are there"
    assert not set(clone.pages) & set(file.pages)
    assert run(kvfs, kvfs.create("bob", "bob", "m"), range(11)) == 8


def test_a_clone_is_cut_and_cloned_again_like_any_file() -> None:
    kvfs = make()
    file = kvfs.create("ann", "ann", "m")
    run(kvfs, file, PROMPT)
    clone = kvfs.fork(file, "bob", "bob")
    kvfs.truncate(clone, 6)
    run(kvfs, clone, [99, 99, 99])
    assert clone.pages[0] == file.pages[0]
    assert clone.pages[1] not in file.pages
    again = kvfs.fork(clone, "bob", "ben")
    assert (again.pages, again.owner) == (clone.pages, "ben")
    third = kvfs.fork(again, "eve", "eve")
    assert third.published == 2
    run(kvfs, third, range(8))
    for f in (file, clone, again, third):
        kvfs.close(f)
    check_integrity(kvfs)
    assert file.arena.available == 39


def test_the_audit_looks_at_pages_of_other_tenants_too() -> None:
    kvfs = make()
    file = kvfs.create("ann", "ann", "m")
    run(kvfs, file, PROMPT)
    clone = kvfs.fork(file, "bob", "bob")
    kvfs.close(file)
    clone.tokens[0] += 1
    with pytest.raises(InternalError, match="page 0 is cached under another key"):
        check_integrity(kvfs)
