"""What could be given up is known without looking at all files again."""

from __future__ import annotations

from kvfs_harness import append

from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.spares import Spares
from symphony.kvfs.standby import Slots, Standby


def test_only_what_changed_is_looked_at_again() -> None:
    kvfs = Kvfs()
    arena = kvfs.mount("m", "digest", 4, 200)
    root = kvfs.create("t", "ann", "m")
    append(kvfs, root, list(range(40)))
    forks = [kvfs.fork(root, "t", "ann") for _ in range(50)]
    own = kvfs.create("t", "ann", "m")
    append(kvfs, own, [9, 9, 9, 9, 9])
    kvfs.pin(root)
    standby = Standby(kvfs, arena)
    assert standby.ripen(0.0, lambda _: Slots(0, 0))
    ripe = standby.ripe(None)
    assert ripe.gain == 2, "the ten pages of the forks stay with the pinned file"
    counted = 0
    count = ripe._count

    def counting(file: object) -> None:
        nonlocal counted
        counted += 1
        count(file)  # type: ignore[arg-type]

    ripe._count = counting  # type: ignore[method-assign]
    assert not standby.ripen(0.0, lambda _: Slots(0, 0))
    append(kvfs, forks[7], [1, 2, 3, 4])
    assert standby.ripen(0.0, lambda _: Slots(0, 0))
    assert (counted, ripe.gain) == (1, 3)
    assert list(ripe.in_order())[-1] is forks[7]
    kvfs.unpin(root)
    standby.ripen(0.0, lambda _: Slots(0, 0))
    assert (counted, ripe.gain) == (2, 13)
    for fork in forks:
        kvfs.close(fork)
    standby.ripen(0.0, lambda _: Slots(0, 0))
    assert ripe.gain == 12
    assert next(ripe.in_order()) is root
    standby.stop()
    assert not arena.pool.watchers
    assert arena.changed is None


def test_files_go_in_the_order_in_which_they_came_to_rest() -> None:
    kvfs = Kvfs()
    arena = kvfs.mount("m", "digest", 4, 50)
    files = [kvfs.create("t", "ann", "m") for _ in range(5)]
    for i, file in enumerate(files):
        append(kvfs, file, [i] * 4)
    spares = Spares(arena.pool, lambda file: file.pages)
    for file in reversed(files):
        spares.add(file, kvfs.idle[file])
    assert list(spares.in_order()) == files
    spares.discard(files[1])
    spares.add(files[1], 1000)
    assert list(spares.in_order()) == [files[0], *files[2:], files[1]]
    for file in spares.in_order():
        spares.discard(file)
    assert not spares.numbers
    assert spares.gain == 0
    spares.close()
