"""Who gives way on disk, and what it takes to find out."""

from __future__ import annotations

from kvfs_harness import append

from symphony.errors import NoSpace
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.kvfs.image import Image, unref_image
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.pages import PagePool
from symphony.kvfs.standby import Slots
from symphony.kvfs.tiers import Tiers


def mount(kvfs: Kvfs, disk: int, share: int) -> Arena:
    arena = kvfs.mount("m", "digest", 4, 2000)
    arena.disk, arena.tenant_disk = PagePool(disk, first=0), share
    return arena


def put(kvfs: Kvfs, tenant: str, derived: bool = False) -> File:
    """A file of one page that is on disk, unsynced; a derived one is nowhere else."""
    file = kvfs.create(tenant, "ann", "m")
    kvfs.begin(file, [len(kvfs.files), 2, 3, 4])
    assert kvfs.reserve(file, 4) == []
    kvfs.commit(file, 4)
    kvfs.settle(file, 4)
    slots = kvfs.take_disk(file.arena, 1, tenant)
    file.derived = 0 if derived else None
    kvfs.set_image(file, Image(4, tuple(slots)), 0)
    unref_image(file.arena, slots, tenant)
    if derived:
        kvfs.drop(file)
    return file


def test_a_tenant_at_its_share_has_room_behind_many_files_of_others() -> None:
    kvfs = Kvfs()
    arena = mount(kvfs, 1000, 400)
    for _ in range(300):
        put(kvfs, "other")
    for _ in range(280):
        put(kvfs, "t", derived=True)
    files = [put(kvfs, "t") for _ in range(120)]
    taken = kvfs.take_disk(arena, 2, "t")
    assert [file.image is None for file in files[:3]] == [True, True, False], "the oldest that can be computed again"
    assert arena.disk.used == {"other": 300, "t": 400}
    unref_image(arena, taken, "t")
    check_integrity(kvfs)


def test_what_is_read_is_the_last_to_give_way() -> None:
    kvfs = Kvfs()
    arena = mount(kvfs, 4, 4)
    files = [put(kvfs, "t") for _ in range(4)]
    for _ in range(200):
        kvfs.loose.used(files[0])
    unref_image(arena, kvfs.take_disk(arena, 3, "t"), "t")
    assert [file.image is None for file in files] == [False, True, True, True]
    assert len(kvfs.loose._of(arena, None)._order) < 100, "nothing is remembered of what was"


def test_share_and_disk_may_both_be_short() -> None:
    kvfs = Kvfs()
    arena = mount(kvfs, 4, 2)
    mine = [put(kvfs, "t"), put(kvfs, "t")]
    kvfs.fork(mine[0], "other", "bob")
    put(kvfs, "other")
    kvfs.take_disk(arena, 1, "third")
    assert not arena.disk.free
    assert kvfs.loose.attainable(arena, "t") == 2
    taken = kvfs.take_disk(arena, 2, "t")
    assert len(taken) == 2, "the fork of the other keeps the first slot, until it goes too"
    assert arena.disk.used["t"] == 2


def test_nothing_goes_where_it_would_not_help() -> None:
    kvfs = Kvfs()
    arena = mount(kvfs, 4, 3)
    file = put(kvfs, "t")
    kvfs.take_disk(arena, 1, "t")
    try:
        kvfs.take_disk(arena, 3, "t")
        raise AssertionError("the tenant has a slot that stays, and a share of three")
    except NoSpace:
        assert file.image is not None
    assert kvfs.take_disk(arena, 0, "t") == []


def test_files_that_cannot_go_are_not_tried_again_before_there_is_room_for_one() -> None:
    kvfs = Kvfs()
    arena = mount(kvfs, 3, 3)
    tiers = Tiers(kvfs, arena)
    file = kvfs.create("t", "ann", "m")
    append(kvfs, file, list(range(8)))
    file.derived = 0
    kvfs.take_disk(arena, 2, "t")
    assert tiers.attainable("t") == Slots(0, 1)
    assert tiers.needs(file) == Slots(2, 2)
    assert not tiers.attainable("t").suffice(tiers.needs(file))
    assert not tiers.can_discard(file)
