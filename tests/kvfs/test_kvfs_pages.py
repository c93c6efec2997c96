"""Pages, prefix cache, reservation; and that the audit finds what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kvfs_harness import append

from symphony.errors import Busy, InternalError, Invalid, NoSpace
from symphony.kvfs.file import File
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.kvfs import Kvfs, Shortage
from symphony.kvfs.modes import Principal
from symphony.kvfs.pages import PagePool
from symphony.kvfs.tree import Tree

SIZE = 4


def make(pages: int = 9) -> Kvfs:
    kvfs = Kvfs(clock=lambda: 1.0)
    kvfs.mount("m", "digest", SIZE, pages)
    return kvfs


def test_page_zero_is_never_handed_out() -> None:
    pool = PagePool(5)
    assert sorted(pool.take("t") for _ in range(4)) == [1, 2, 3, 4]
    assert not pool.free
    assert pool.used == {"t": 4}


def test_forks_share_until_one_side_writes() -> None:
    kvfs = make(50)
    f = kvfs.create("t", "t", "m")
    append(kvfs, f, list(range(10)))
    forks = [kvfs.fork(f, "t", "t") for _ in range(1000)]
    assert all(g.pages == f.pages for g in forks)
    assert len({page for g in forks for page in g.pages}) == 3
    partial = f.pages[2]
    [(source, target)] = append(kvfs, forks[0], [99])
    assert (source, target) == (partial, forks[0].pages[2])
    assert forks[0].pages[:2] == f.pages[:2]
    assert append(kvfs, forks[0], [98]) == [], "its page is its own now"


def test_the_last_holder_writes_in_place() -> None:
    kvfs = make()
    f = kvfs.create("t", "t", "m")
    append(kvfs, f, list(range(6)))
    g = kvfs.fork(f, "t", "t")
    kvfs.close(f)
    assert append(kvfs, g, [99]) == []


def test_a_published_page_is_copied_before_it_is_written() -> None:
    kvfs = make()
    f = kvfs.create("t", "t", "m")
    append(kvfs, f, list(range(8)))
    kvfs.truncate(f, 6)
    assert len(append(kvfs, f, [99])) == 1
    g = kvfs.create("t", "t", "m")
    kvfs.begin(g, list(range(8)))
    assert kvfs.reuse(g, 8) == 8, "what was published is still there"
    kvfs.settle(g, 0)


def test_the_cache_gives_way_when_the_copy_has_no_page() -> None:
    kvfs = make(pages=3)
    f = kvfs.create("t", "t", "m")
    append(kvfs, f, list(range(8)))
    kvfs.truncate(f, 6)
    assert append(kvfs, f, [99]) == []


def test_reuse_stops_at_the_limit_and_starts_in_the_middle() -> None:
    kvfs = make(20)
    f = kvfs.create("t", "t", "m")
    append(kvfs, f, list(range(16)))
    g = kvfs.create("t", "t", "m")
    append(kvfs, g, [0, 1])
    assert g.pages != f.pages[:1]
    kvfs.begin(g, list(range(2, 16)))
    assert kvfs.reuse(g, 11) == 6
    assert g.pages == f.pages[:2], "its own partial page gave way to the cached one"
    assert kvfs.reuse(g, 16) == 8
    kvfs.settle(g, 16)
    check_integrity(kvfs)


def test_eviction_takes_the_cache_oldest_first_then_idle_files_oldest_first() -> None:
    kvfs = make(pages=9)
    old, new = kvfs.create("t", "t", "m"), kvfs.create("t", "t", "m")
    append(kvfs, old, [1] * 6)
    append(kvfs, new, [2] * 6)
    gone = kvfs.create("t", "t", "m")
    append(kvfs, gone, [3] * 8)
    kvfs.close(gone)  # two cached pages, two free ones
    f = kvfs.create("t", "t", "m")
    append(kvfs, f, [4] * 12)
    assert (old.computed, new.computed) == (6, 6)
    assert len(kvfs.arenas["m"].cache.idle) == 1
    append(kvfs, f, [5] * 8)
    assert (old.computed, new.computed) == (0, 6)
    assert old.tokens.tolist() == [1] * 6
    kvfs.begin(old, [])
    assert kvfs.reserve(old, 6, spare=8) == Shortage(9, None)
    kvfs.settle(old, 6)


def test_a_chain_is_evicted_from_its_end() -> None:
    kvfs = make(pages=5)
    f = kvfs.create("t", "t", "m")
    append(kvfs, f, list(range(16)))
    kvfs.close(f)
    g = kvfs.create("t", "t", "m")
    append(kvfs, g, [99])
    h = kvfs.create("t", "t", "m")
    kvfs.begin(h, list(range(16)))
    assert kvfs.reuse(h, 16) == 12
    kvfs.settle(h, 0)


def test_what_never_fits() -> None:
    kvfs = make(pages=5)
    f = kvfs.create("t", "t", "m")
    kvfs.begin(f, range(17))
    with pytest.raises(NoSpace, match="17 tokens need 5 KV pages, the pool has 4"):
        kvfs.reserve(f, 17)


def test_a_busy_file_refuses_mutation_and_ends_when_it_settles() -> None:
    kvfs = make()
    f = kvfs.create("t", "t", "m")
    kvfs.begin(f, [1, 2])
    for mutation in (
        lambda: kvfs.begin(f, [3]),
        lambda: kvfs.truncate(f, 0),
        lambda: Tree(kvfs).save(Principal("t", "t"), f, "/x", False),
    ):
        with pytest.raises(Busy):
            mutation()
    kvfs.close(f)
    assert f in kvfs.files
    kvfs.settle(f, 0)
    assert f not in kvfs.files


def test_truncate_beyond_the_end() -> None:
    kvfs = make()
    f = kvfs.create("t", "t", "m")
    for length in (-1, 1):
        with pytest.raises(Invalid):
            kvfs.truncate(f, length)


def spoil_refs(kvfs: Kvfs, f: File) -> None:
    f.arena.pool.refs[f.pages[0]] += 1


def leak_page(kvfs: Kvfs, f: File) -> None:
    f.arena.pool.free.pop()


def free_twice(kvfs: Kvfs, f: File) -> None:
    f.arena.pool.free.append(f.pages[0])


def wrong_key(kvfs: Kvfs, f: File) -> None:
    cache = f.arena.cache
    cache.by_key[b"x"] = cache.by_key.pop(cache.key_of[f.pages[0]])
    cache.key_of[f.pages[0]] = b"x"


def one_way(kvfs: Kvfs, f: File) -> None:
    f.arena.cache.by_key.clear()


def changed_token(kvfs: Kvfs, f: File) -> None:
    f.tokens[0] += 1


def extra_page(kvfs: Kvfs, f: File) -> None:
    f.pages += f.arena.take(1, "t")


def too_far(kvfs: Kvfs, f: File) -> None:
    f.computed += 1


def orphan(kvfs: Kvfs, f: File) -> None:
    f.opens = 0


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_refs,
        leak_page,
        free_twice,
        wrong_key,
        one_way,
        changed_token,
        extra_page,
        too_far,
        orphan,
    ],
)
def test_the_audit_finds_it(spoil: Callable[[Kvfs, File], None]) -> None:
    kvfs = make()
    f = kvfs.create("t", "t", "m")
    append(kvfs, f, list(range(9)))
    spoil(kvfs, f)
    with pytest.raises(InternalError, match="KVFS integrity"):
        check_integrity(kvfs)


def test_a_cached_page_that_nobody_else_holds_is_written_in_place_where_a_copy_would_not_fit() -> None:
    kvfs = make(6)
    f, other = kvfs.create("t", "t", "m"), kvfs.create("t", "t", "m")
    append(kvfs, f, [1] * 16)
    append(kvfs, other, [2] * 4)
    kvfs.truncate(f, 14)  # its last page stays in the cache, as it was
    kvfs.begin(f, [3] * 6)
    assert kvfs.reserve(f, 20) == Shortage(1, None), "one to grow, none for a copy"
    last = f.pages[3]
    kvfs.drop(other)
    assert kvfs.reserve(f, 20) == []
    assert f.pages[3] == last
    assert last not in kvfs.arenas["m"].cache.key_of
    kvfs.commit(f, 20)
    kvfs.settle(f, 20)
    check_integrity(kvfs)
