"""What can be done to names, and what it leaves behind."""

from __future__ import annotations

import pytest

from symphony.errors import Exists, InternalError, Invalid
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.tree import Tree


def make() -> Tree:
    kvfs = Kvfs(clock=lambda: 0.0)
    kvfs.mount("m", "digest", 4, 9)
    return Tree(kvfs)


def test_another_models_file() -> None:
    tree = make()
    tree.kvfs.mount("n", "other", 4, 9)
    f = tree.kvfs.create("t", "t", "m")
    tree.save(f, "/x", "t", False)
    with pytest.raises(Invalid, match="made by the model m"):
        tree.open("t", "t", "n", "/x", write=False, create=False, exclusive=False)


def test_a_failed_open_or_save_leaves_nothing() -> None:
    tree = make()
    f = tree.kvfs.create("t", "t", "m")
    tree.save(f, "/x", "t", False)
    for path in ("/x/y", "bad"):
        with pytest.raises((Exists, Invalid)):
            tree.save(f, path, "t", True)
        with pytest.raises((Exists, Invalid)):
            tree.open("t", "t", "m", path, write=True, create=True, exclusive=False)
    assert len(tree.kvfs.files) == 2
    check_integrity(tree.kvfs)
    tree.check_integrity()


def test_the_audit_finds_a_lost_name() -> None:
    tree = make()
    tree.kvfs.create("t", "t", "m").names += 1
    with pytest.raises(InternalError, match="0 names and counts 1"):
        tree.check_integrity()
