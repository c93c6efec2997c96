"""What can be done to names, by whom, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from symphony.errors import Exists, InternalError, Invalid, LimitExceeded, NotFound, PermissionDenied, SymphonyError
from symphony.kvfs.file import File
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.modes import DEFAULT_MODE, SHARED_MODE, Principal, mode_of
from symphony.kvfs.names_integrity import check_names
from symphony.kvfs.tree import Tree

ANN = Principal("t", "ann")
ANNS = Principal("t", "ann", share=True)
BEN = Principal("t", "ben")
EVE = Principal("u", "eve")
EVES = Principal("u", "eve", share=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tree(clock: Clock) -> Iterator[Tree]:
    kvfs = Kvfs(clock)
    kvfs.mount("m", "digest", 4, 9)
    tree = Tree(kvfs)
    yield tree
    check_integrity(kvfs)
    check_names(tree)


def new(tree: Tree, who: Principal = ANN, length: int = 0) -> File:
    file = tree.kvfs.create(who.tenant, who.owner, "m")
    if length:
        tree.kvfs.begin(file, range(length))
        tree.kvfs.settle(file, length)
    return file


def save(tree: Tree, *paths: str, who: Principal = ANN) -> None:
    file = new(tree, who)
    for path in paths:
        tree.save(who, file, path, False)
    tree.kvfs.close(file)


def names(tree: Tree, who: Principal = ANN) -> list[str]:
    return tree.glob(who, "/**")


# ---- directories -----------------------------------------------------------------------------------------------------
def test_made_directories_stay_and_are_unlinked_when_empty(tree: Tree) -> None:
    tree.mkdir(ANN, "/d/e")
    save(tree, "/d/e/f")
    with pytest.raises(Invalid, match="/d/e is not empty"):
        tree.unlink(ANN, "/d/e")
    tree.unlink(ANN, "/d/e/f")
    assert tree.list(ANN, "/d/e") == []
    tree.unlink(ANN, "/d/e")
    assert tree.list(ANN, "/") == []
    with pytest.raises(NotFound):
        tree.unlink(ANN, "/d/e")


def test_a_directory_that_is_there_for_its_names_can_be_made_to_stay(tree: Tree) -> None:
    save(tree, "/d/f")
    tree.mkdir(ANN, "/d")
    with pytest.raises(Exists, match="/d is a directory"):
        tree.mkdir(ANN, "/d")
    tree.unlink(ANN, "/d/f")
    assert tree.list(ANN, "/d") == []


@pytest.mark.parametrize("path", ["/", "/shared"])
def test_the_roots_are_always_there(tree: Tree, path: str) -> None:
    assert tree.list(ANNS, path) == []
    for action in (
        lambda: tree.mkdir(ANNS, path),
        lambda: tree.unlink(ANNS, path),
        lambda: tree.rename(ANNS, path, "/x"),
        lambda: tree.save(ANNS, new(tree), path, True),
        lambda: tree.link(ANNS, new(tree), path),
        lambda: tree.open(ANNS, "m", path, write=True, create=True),
        lambda: tree.stat_path(ANNS, path),
    ):
        with pytest.raises(Invalid) as caught:
            action()
        assert caught.value.hint
    save(tree, "/x")
    with pytest.raises(Invalid):
        tree.rename(ANNS, "/x", path)


# ---- links -----------------------------------------------------------------------------------------------------------
def test_a_link_is_a_second_name_of_the_same_file(tree: Tree) -> None:
    file = new(tree)
    tree.link(ANN, file, "/a")
    tree.link(ANN, file, "/d/b")
    assert tree.stat_path(ANN, "/a").names == 2
    tree.kvfs.close(file)
    tree.unlink(ANN, "/a")
    again = tree.open(ANN, "m", "/d/b", write=True)
    assert again is file
    tree.unlink(ANN, "/d/b")
    assert file in tree.kvfs.files, "a handle is left"
    tree.kvfs.close(again)
    assert not tree.kvfs.files


def test_a_link_needs_a_free_name_and_the_tenants_own_file(tree: Tree) -> None:
    save(tree, "/x")
    with pytest.raises(Exists):
        tree.link(ANN, new(tree), "/x")
    tree.save(ANNS, new(tree), "/shared/x", False)
    shared = tree.open(ANNS, "m", "/shared/x", write=True)
    tree.set_mode(ANN, shared, mode_of(frozenset({"other-read", "other-write"})))
    with pytest.raises(PermissionDenied, match="another tenant, which keeps its names"):
        tree.link(EVES, shared, "/mine")
    tree.kvfs.close(shared)


# ---- rename ----------------------------------------------------------------------------------------------------------
def test_a_directory_moves_with_all_that_lies_below(tree: Tree) -> None:
    save(tree, "/a/b/c", "/a/b/d/e", "/a/x")
    tree.mkdir(ANN, "/a/b/empty")
    tree.rename(ANN, "/a/b", "/new/place")
    assert names(tree) == ["/a/x", "/new/place/c", "/new/place/d/e"]
    assert [e.name for e in tree.list(ANN, "/new/place")] == ["c", "d", "empty"]
    tree.rename(ANN, "/a/x", "/a/y/x")
    assert names(tree)[0] == "/a/y/x"


def test_rename_never_replaces(tree: Tree) -> None:
    save(tree, "/a", "/b", "/d/x")
    tree.mkdir(ANN, "/empty")
    for old, new_path in (("/a", "/b"), ("/a", "/a"), ("/a", "/d"), ("/d", "/a"), ("/d", "/empty"), ("/a", "/b/x")):
        with pytest.raises(Exists):
            tree.rename(ANN, old, new_path)
    with pytest.raises(NotFound):
        tree.rename(ANN, "/nothing", "/c")
    assert names(tree) == ["/a", "/b", "/d/x"]


@pytest.mark.parametrize("target", ["/d/e", "/d/e/f/g"])
def test_a_directory_does_not_go_into_itself(tree: Tree, target: str) -> None:
    save(tree, "/d/e/f")
    with pytest.raises(Invalid, match="lies inside /d"):
        tree.rename(ANN, "/d", target.replace("/d/e", "/d/new"))
    save(tree, "/dd/f")
    tree.rename(ANN, "/dd", "/d/dd")
    assert names(tree) == ["/d/dd/f", "/d/e/f"]


def test_nothing_moves_to_where_no_path_leads(tree: Tree) -> None:
    save(tree, "/a/" + "/".join("b" * 20), "/c/" + "x" * 600)
    with pytest.raises(Invalid, match="32 components"):
        tree.rename(ANN, "/a", "/" + "/".join("d" * 13))
    with pytest.raises(Invalid, match="1024 bytes"):
        tree.rename(ANN, "/c", "/" + "y" * 500)
    tree.rename(ANN, "/a", "/" + "/".join("d" * 12))
    tree.rename(ANN, "/c", "/" + "y" * 422)
    assert len(names(tree)) == 2


# ---- save and open ---------------------------------------------------------------------------------------------------
def test_another_models_file(tree: Tree) -> None:
    tree.kvfs.mount("n", "other", 4, 9)
    save(tree, "/x")
    with pytest.raises(Invalid, match="made by the model m"):
        tree.open(ANN, "n", "/x")


def test_a_failed_call_leaves_nothing(tree: Tree) -> None:
    f = new(tree)
    tree.save(ANN, f, "/x", False)
    for path in ("/x/y", "bad", "/shared/x"):
        for action in (
            lambda path=path: tree.save(ANN, f, path, True),
            lambda path=path: tree.open(ANN, "m", path, write=True, create=True),
            lambda path=path: tree.mkdir(ANN, path),
            lambda path=path: tree.link(ANN, f, path),
            lambda path=path: tree.rename(ANN, "/x", path),
        ):
            with pytest.raises(SymphonyError):
                action()
    assert len(tree.kvfs.files) == 2
    assert names(tree) == ["/x"]


def test_a_replaced_file_lives_on_in_its_handles(tree: Tree) -> None:
    save(tree, "/x")
    held = tree.open(ANN, "m", "/x", write=True)
    tree.save(ANN, new(tree, length=3), "/x", True)
    assert tree.stat_path(ANN, "/x").length == 3
    assert held.length == 0
    assert tree.counts["t"] == 1
    tree.kvfs.close(held)
    assert held not in tree.kvfs.files


def test_a_snapshot_begins_with_a_mode_and_a_life_of_its_own(tree: Tree) -> None:
    f = new(tree)
    tree.set_mode(ANN, f, mode_of(frozenset({"owner-read", "owner-write"})))
    tree.set_ttl(ANN, f, 5)
    tree.save(ANN, f, "/x", False)
    tree.save(ANNS, f, "/shared/x", False)
    here, shared = tree.stat_path(ANN, "/x"), tree.stat_path(ANN, "/shared/x")
    assert (here.mode, here.ttl, here.owner, here.tenant) == (DEFAULT_MODE, None, "ann", "t")
    assert shared.mode == SHARED_MODE


# ---- /shared ---------------------------------------------------------------------------------------------------------
def test_shared_is_one_place_for_all_tenants(tree: Tree) -> None:
    assert tree.list(EVE, "/") == []
    save(tree, "/shared/d/x", who=ANNS)
    for who in (ANN, EVE, EVES):
        assert [e.name for e in tree.list(who, "/")] == ["shared"]
        assert tree.glob(who, "/shared/**") == ["/shared/d/x"]
        assert tree.stat_path(who, "/shared/d/x").tenant == "t"
    assert tree.glob(EVE, "/**") == [], "what is shared has to be named"
    clone = tree.open(EVE, "m", "/shared/d/x")
    assert (clone.tenant, clone.owner) == ("u", "eve")
    tree.kvfs.close(clone)


def test_shared_is_changed_by_who_may_share_only(tree: Tree) -> None:
    save(tree, "/shared/x", who=ANNS)
    save(tree, "/mine")
    for action in (
        lambda: tree.save(ANN, new(tree), "/shared/y", False),
        lambda: tree.link(ANN, new(tree), "/shared/y"),
        lambda: tree.mkdir(ANN, "/shared/y"),
        lambda: tree.unlink(ANN, "/shared/x"),
        lambda: tree.rename(ANN, "/shared/x", "/x"),
        lambda: tree.rename(ANN, "/mine", "/shared/y"),
        lambda: tree.open(ANN, "m", "/shared/x", write=True),
        lambda: tree.open(ANN, "m", "/shared/y", write=True, create=True),
    ):
        with pytest.raises(PermissionDenied, match="granted") as caught:
            action()
        assert "operator" in caught.value.hint
    assert tree.glob(ANN, "/shared/*") == ["/shared/x"]


def test_names_move_between_ones_own_tree_and_what_is_shared(tree: Tree) -> None:
    save(tree, "/d/x")
    tree.rename(ANNS, "/d", "/shared/d")
    assert (names(tree), tree.glob(EVE, "/shared/**")) == ([], ["/shared/d/x"])
    tree.rename(ANNS, "/shared/d/x", "/x")
    assert (names(tree), tree.list(EVE, "/shared")) == (["/x"], [])


def test_another_tenants_file_does_not_come_into_ones_own_tree(tree: Tree) -> None:
    save(tree, "/shared/d/x", who=ANNS)
    file = tree.open(ANNS, "m", "/shared/d/x", write=True)
    tree.set_mode(ANN, file, mode_of(frozenset({"other-read", "other-write"})))
    tree.kvfs.close(file)
    for old, new_path in (("/shared/d/x", "/x"), ("/shared/d", "/d")):
        with pytest.raises(PermissionDenied, match="belongs to another tenant"):
            tree.rename(EVES, old, new_path)
    tree.rename(EVES, "/shared/d", "/shared/e")
    assert tree.glob(EVE, "/shared/**") == ["/shared/e/x"], "its mode lets others write"
    tree.mkdir(ANNS, "/shared/made")
    for action in (lambda: tree.unlink(EVES, "/shared/made"), lambda: tree.rename(EVES, "/shared/made", "/made")):
        with pytest.raises(PermissionDenied, match="made by another tenant"):
            action()


def test_a_directory_moves_if_everything_in_it_may(tree: Tree) -> None:
    save(tree, "/d/mine")
    save(tree, "/d/deep/bens", who=BEN)
    with pytest.raises(PermissionDenied, match="/d/deep/bens belongs to ben"):
        tree.rename(ANN, "/d", "/e")
    assert names(tree) == ["/d/deep/bens", "/d/mine"]


# ---- quotas ----------------------------------------------------------------------------------------------------------
def test_the_names_of_a_tenant_are_limited(tree: Tree) -> None:
    tree.max_names = 3
    save(tree, "/a", "/d/b")
    tree.mkdir(ANN, "/made")
    for action in (
        lambda: save(tree, "/c"),
        lambda: tree.mkdir(ANN, "/more"),
        lambda: tree.mkdir(ANN, "/d"),
        lambda: tree.open(ANN, "m", "/c", write=True, create=True),
        lambda: save(tree, "/shared/c", who=ANNS),
    ):
        with pytest.raises(LimitExceeded, match="3 names"):
            action()
    save(tree, "/c", who=EVE)
    tree.rename(ANN, "/a", "/x/a")
    tree.save(ANN, new(tree), "/d/b", True)
    tree.unlink(ANN, "/made")
    save(tree, "/c")
    assert tree.counts == {"t": 3, "u": 1}


def test_the_files_of_a_tenant_are_limited(tree: Tree) -> None:
    tree.kvfs.max_files = 3
    file = new(tree)
    tree.save(ANN, file, "/a", False)
    tree.save(ANNS, file, "/shared/a", False)
    for action in (
        lambda: new(tree),
        lambda: tree.save(ANN, file, "/b", False),
        lambda: tree.save(ANN, file, "/a", True),
        lambda: tree.open(ANN, "m", "/a"),
        lambda: tree.kvfs.fork(file, "t", "ann"),
    ):
        with pytest.raises(LimitExceeded, match="3 KV files"):
            action()
    tree.kvfs.close(tree.open(EVE, "m", "/shared/a"))
    tree.kvfs.close(file)
    new(tree)
    assert tree.kvfs.counts == {"t": 3, "u": 0}


def test_the_names_of_a_directory_are_limited(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.kvfs.spot.MAX_DIRECTORY_NAMES", 2)
    save(tree, "/d/a", "/d/b", "/x")
    for action in (
        lambda: save(tree, "/d/c"),
        lambda: save(tree, "/d/e/f"),
        lambda: tree.mkdir(ANN, "/c"),
        lambda: tree.rename(ANN, "/x", "/d/x"),
        lambda: tree.open(ANN, "m", "/d/c", write=True, create=True),
    ):
        with pytest.raises(LimitExceeded, match="the directory has 2 names"):
            action()
    tree.rename(ANN, "/d/a", "/d/c")
    tree.save(ANN, new(tree), "/d/c", True)
    tree.mkdir(ANN, "/d")
    tree.unlink(ANN, "/d/c")
    save(tree, "/d/e/f")


def test_what_moves_at_once_is_limited(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.kvfs.tree.MAX_NAMES_AT_ONCE", 4)
    save(tree, "/a/b/c", "/a/b/d", "/a/e")
    with pytest.raises(LimitExceeded, match="4 names or more"):
        tree.rename(ANN, "/a", "/z")
    tree.rename(ANN, "/a/b", "/z")
    assert [e.name for e in tree.list(ANN, "/z")] == ["c", "d"]


# ---- times to live ---------------------------------------------------------------------------------------------------
def with_ttl(tree: Tree, seconds: float, *paths: str) -> File:
    file = new(tree)
    for path in paths:
        tree.link(ANN, file, path)
    tree.set_ttl(ANN, file, seconds)
    return file


def close(tree: Tree, file: File) -> None:
    tree.kvfs.close(file)
    tree.rest(file)


def test_names_go_after_their_time(tree: Tree, clock: Clock) -> None:
    file = with_ttl(tree, 10, "/a", "/d/b")
    save(tree, "/d/stays")
    clock.now += 100
    assert names(tree) == ["/a", "/d/b", "/d/stays"], "an open file is in use"
    close(tree, file)
    clock.now += 9.9
    assert tree.stat_path(ANN, "/a").ttl == 10
    clock.now += 0.1
    with pytest.raises(NotFound):
        tree.stat_path(ANN, "/a")
    assert names(tree) == ["/d/stays"]
    assert file not in tree.kvfs.files
    assert tree.sweep() is None


def test_when_many_names_go_at_once_no_call_sees_one(tree: Tree, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.kvfs.tree.SWEEP_FILES", 1)
    for path in ("/a", "/b", "/d/a", "/d/b", "/e"):
        close(tree, with_ttl(tree, 10, path))
    save(tree, "/d/c")
    clock.now += 10
    tree.sweep()
    assert len(tree.kvfs.files) == 5, "one is gone, and the one that stays is there"
    assert [e.name for e in tree.list(ANN, "/d")] == ["c"]
    assert names(tree) == ["/d/c"]
    close(tree, with_ttl(tree, 10, "/a", "/b"))
    clock.now += 10
    save(tree, "/a/x")
    with pytest.raises(NotFound):
        tree.rename(ANN, "/b", "/c")
    assert names(tree) == ["/a/x", "/d/c"]


def test_every_use_puts_it_off(tree: Tree, clock: Clock) -> None:
    close(tree, with_ttl(tree, 10, "/a"))
    for _ in range(5):
        clock.now += 8
        clone = tree.open(ANN, "m", "/a")
        due = tree.sweep()
        assert due is not None
        assert due > clock.now
        tree.kvfs.close(clone)
    clock.now += 8
    place = tree.open(ANN, "m", "/a", write=True)
    clock.now += 100
    close(tree, place)
    clock.now += 9
    assert tree.stat_path(ANN, "/a").used == int(clock.now - 9)
    clock.now += 1
    assert names(tree) == []


def test_the_sweep_finds_them_without_a_look(tree: Tree, clock: Clock) -> None:
    close(tree, with_ttl(tree, 10, "/a"))
    assert tree.sweep() == clock.now + 10
    clock.now += 10
    assert tree.sweep() is None
    assert not tree.kvfs.files


def test_pinned_names_stay(tree: Tree, clock: Clock) -> None:
    file = with_ttl(tree, 0, "/a")
    file.pins = 1
    close(tree, file)
    clock.now += 1000
    assert names(tree) == ["/a"]
    file.pins = 0
    clock.now += 1
    assert names(tree) == []


def test_a_time_to_live_can_be_changed_and_taken_back(tree: Tree, clock: Clock) -> None:
    file = with_ttl(tree, 10, "/a")
    tree.set_ttl(ANN, file, None)
    close(tree, file)
    clock.now += 100
    assert names(tree) == ["/a"]
    file = tree.open(ANN, "m", "/a", write=True)
    tree.set_ttl(ANN, file, 100)
    tree.set_ttl(ANN, file, 1)
    close(tree, file)
    clock.now += 1
    assert names(tree) == []
    file = new(tree)
    for seconds in (-1, 1e12, float("nan")):
        with pytest.raises(Invalid):
            tree.set_ttl(ANN, file, seconds)


def test_a_name_given_later_has_the_files_time(tree: Tree, clock: Clock) -> None:
    file = with_ttl(tree, 5)
    tree.link(ANN, file, "/a")
    close(tree, file)
    clock.now += 5
    assert names(tree) == []


# ---- the audit -------------------------------------------------------------------------------------------------------
def test_the_audit_finds_what_is_wrong() -> None:
    def spoiled() -> Tree:
        kvfs = Kvfs(lambda: 0.0)
        kvfs.mount("m", "digest", 4, 9)
        tree = Tree(kvfs)
        tree.link(ANN, new(tree), "/d/x")
        return tree

    tree = spoiled()
    next(iter(tree.kvfs.files)).names.clear()
    with pytest.raises(InternalError, match="1 names and knows of 0"):
        check_names(tree)
    tree = spoiled()
    tree.counts["t"] += 1
    with pytest.raises(InternalError, match="counted"):
        check_names(tree)
    tree = spoiled()
    next(iter(tree.kvfs.files)).tenant = "u"
    with pytest.raises(InternalError, match="leads to a file of u"):
        check_names(tree)
    tree = spoiled()
    tree.roots["t"].members["d"].parent = None  # type: ignore[union-attr]
    with pytest.raises(InternalError, match="lost or empty"):
        check_names(tree)


# ---- removing all that lies below ------------------------------------------------------------------------------------
def test_a_directory_goes_with_all_that_lies_below(tree: Tree) -> None:
    save(tree, "/d/a", "/d/e/b", "/d/e/f/c", "/k")
    tree.mkdir(ANN, "/d/made/deep")
    tree.mkdir(ANN, "/d/e/f/empty")
    linked = tree.file(ANN, "/d/a")
    tree.link(ANN, linked, "/also")
    before = tree.counts[ANN.tenant]
    tree.unlink_all(ANN, "/d")
    assert names(tree) == ["/also", "/k"]
    assert tree.counts[ANN.tenant] == before - 5
    assert tree.file(ANN, "/also") is linked
    tree.unlink_all(ANN, "/k")
    assert names(tree) == ["/also"]
    with pytest.raises(NotFound):
        tree.unlink_all(ANN, "/d")
    with pytest.raises(Invalid, match="always there"):
        tree.unlink_all(ANN, "/")


def test_all_that_lies_below_goes_or_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tree, "/d/a", "/d/b", "/d/c")
    with pytest.raises(PermissionDenied, match="/d/"):
        tree.unlink_all(BEN, "/d")
    assert names(tree) == ["/d/a", "/d/b", "/d/c"]
    monkeypatch.setattr("symphony.kvfs.tree.MAX_NAMES_AT_ONCE", 3)
    with pytest.raises(LimitExceeded):
        tree.unlink_all(ANN, "/d")
    monkeypatch.undo()
    assert names(tree) == ["/d/a", "/d/b", "/d/c"]


def test_an_operators_pin_goes_with_the_last_name(tree: Tree) -> None:
    save(tree, "/d/a")
    file = tree.file(ANN, "/d/a")
    tree.kvfs.pin(file)
    file.held = True
    tree.kvfs.reopen(file)  # a process has it open
    save(tree, "/new")
    tree.save(ANN, tree.file(ANN, "/new"), "/d/a", True)  # a program saves over it
    assert not file.pins
    assert not file.held
    assert file not in tree.kvfs.pinned
    tree.kvfs.close(file)
    assert file not in tree.kvfs.files
