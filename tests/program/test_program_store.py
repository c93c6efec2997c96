"""The store: content-addressed, named, private, atomic, still there after a restart."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from symphony import param
from symphony.errors import Invalid, LimitExceeded, NoSpace, NotFound
from symphony.program import store as module
from symphony.program.store import Store, all_stores, home_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_the_same_content_twice_is_the_same_program(store: Store) -> None:
    first = store.add(b"x = 1", "python", "a")
    again = store.add(b"x = 1", "python", "b")
    assert first.id == again.id == hashlib.sha256(b"x = 1").hexdigest()
    assert (first.fresh, again.fresh) == (True, False)
    assert again.names == ("a", "b")
    assert again.created == first.created
    assert len(store.list()) == 1


def test_programs_are_found_by_name_id_and_prefix(store: Store) -> None:
    info = store.add(b"x = 1", "python", "agent.v1", {"n": "int"})
    for ref in ("agent.v1", info.id, info.id[:8]):
        found = store.get(ref)
        assert (found.id, found.name, found.kind, found.size, found.parameters) == (
            info.id,
            "agent.v1",
            "python",
            5,
            {"n": "int"},
        )
        assert store.content(found) == b"x = 1"
    unnamed = store.add(b"\0asm", "component")
    assert unnamed.name == unnamed.id[:12]
    for ref in ("", "nobody", "../agent.v1", "f" * 64, info.id[:7], ".json", "a/b", "\0"):
        with pytest.raises(NotFound):
            store.get(ref)


def test_a_name_moves_to_the_newest_content(store: Store) -> None:
    old = store.add(b"1", "python", "agent")
    new = store.add(b"2", "python", "agent")
    assert store.get("agent").id == new.id
    assert store.get(old.id).names == ()
    assert [info.id for info in store.list()] == [old.id, new.id]


def test_remove_forgets_content_and_names(store: Store, tmp_path: Path) -> None:
    store.add(b"1", "python", "a")
    info = store.add(b"1", "python", "b")
    assert store.remove("a").id == info.id
    for ref in ("a", "b", info.id):
        with pytest.raises(NotFound):
            store.get(ref)
    with pytest.raises(NotFound, match="was removed"):
        store.content(info)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert store.add(b"1", "python").fresh


def test_it_survives_a_restart(store: Store, tmp_path: Path) -> None:
    info = store.add(b"x = 1", "python", "a", {"n": ""})
    again = Store(tmp_path)
    assert again.get("a") == info.__class__(info.id, "a", "python", 5, info.created, ("a",), {"n": ""})


def test_a_crash_half_way_leaves_no_program(store: Store, tmp_path: Path) -> None:
    objects = tmp_path / "programs/objects"
    (objects / f"{'a' * 64}.py").write_bytes(b"torn")
    (objects / f".{'b' * 64}.json.77").write_bytes(b"{")
    assert store.list() == []
    with pytest.raises(NotFound):
        store.get("a" * 64)


def test_it_is_private(store: Store, tmp_path: Path) -> None:
    store.add(b"x", "python", "a")
    for path in (tmp_path / "programs").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_too_large_and_badly_named_uploads_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", ".hidden", "a/b", "a b", "ä", "x" * 129, "0" * 64):
        with pytest.raises(Invalid, match="is not a program name"):
            store.add(b"x", "python", name)
    with pytest.raises(LimitExceeded, match=str(param.MAX_UPLOAD_BYTES)):
        store.add(bytes(param.MAX_UPLOAD_BYTES + 1), "component")
    assert store.list() == []


def test_a_tenant_s_programs_take_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, quota=10)
    first = store.add(b"12345", "python", "a")
    with pytest.raises(NoSpace, match="have 5 bytes, and this one 6"):
        store.add(b"123456", "python", "b")
    assert store.add(b"12345", "python", "b").id == first.id, "nothing new"
    store.add(b"54321", "python", "a")
    with pytest.raises(NoSpace):
        store.add(b"x", "python")
    store.remove(first.id)
    store.add(b"x", "python", "c")
    monkeypatch.setattr(module, "MAX_PROGRAMS_PER_TENANT", 2)
    with pytest.raises(NoSpace, match="2 stored programs"):
        store.add(b"y", "python")
    with pytest.raises(NoSpace, match="2 names"):
        store.add(b"x", "python", "d")
    store.add(b"x", "python", "a")


def test_tenants_have_stores_of_their_own(tmp_path: Path) -> None:
    assert home_of(tmp_path, "local") == tmp_path
    acme, beta = (Store(home_of(tmp_path, tenant)) for tenant in ("acme", "beta"))
    info = acme.add(b"x = 1", "python", "a")
    assert (info.id in acme, info.id in beta, beta.list()) == (True, False, [])
    assert sum(info.id in store for store in all_stores(tmp_path)) == 1
    for name in ("", "..", "a/b", "../b", "Acme", ".a", "a\n", "a" * 65):
        with pytest.raises(Invalid):
            home_of(tmp_path, name)
