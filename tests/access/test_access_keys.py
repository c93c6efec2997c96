"""The file of keys: what is kept, who is found, several writers, files that are none."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from symphony.access import keys as module
from symphony.access.identity import Identity, Role
from symphony.access.keys import KeyFile
from symphony.errors import Invalid, LimitExceeded, NotFound, Unavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys.json"


def test_a_key_is_found_and_its_text_is_not_kept(path: Path) -> None:
    keys = KeyFile(path)
    assert (len(keys), keys.all(), keys.find("sy-00000000-x")) == (0, [], None)
    key, text = keys.add("acme", "ann", [Role.RUN, Role.UPLOAD, Role.RUN], "her laptop")
    assert text.startswith(f"sy-{key.id}-")
    assert len(text) == 3 + 8 + 1 + 43, "256 bits"
    assert keys.find(text) == key
    assert key.identity == Identity("acme", "ann", frozenset({Role.RUN, Role.UPLOAD}), key.id)
    assert text.rsplit("-", 1)[-1] not in path.read_text()
    assert key.digest in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_is_not_the_key_is_not_found(path: Path) -> None:
    keys = KeyFile(path)
    key, text = keys.add("acme", "ann", [Role.RUN])
    other, _ = keys.add("acme", "ann", [Role.RUN])
    secret = text.split("-", 2)[2]
    wrong = ["", "-", "--", "sy", f"sy-{key.id}", f"sy-{key.id}-", text[:-1], text + "x", text.upper(), f" {text}"]
    wrong += [
        f"sy-{other.id}-{secret}",
        f"sy--{secret}",
        key.digest,
        f"sy-{key.id}-{key.digest}",
        "\ud800-\0-\x80",
        "-" * 9999,
    ]
    assert [keys.find(text) for text in wrong] == [None] * len(wrong)


def test_others_see_changes_at_once(path: Path) -> None:
    server, operator = KeyFile(path), KeyFile(path)
    assert len(server) == 0
    first, text = operator.add("acme", "acme", [Role.RUN])
    second, other = operator.add("beta", "beta", [Role.RUN])
    assert server.find(text) == first
    assert {key.tenant for key in server.all()} == {"acme", "beta"}
    assert operator.remove(first.id) == first
    assert (server.find(text), server.find(other)) == (None, second)
    path.unlink()
    assert (len(server), server.find(other)) == (0, None)


def test_two_who_write_at_once_lose_nothing(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: KeyFile(path).add("acme", f"user{n}", [Role.RUN])[0], range(24)))
    assert {key.id for key in KeyFile(path).all()} == {key.id for key in made}


def test_what_cannot_be_a_key(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFile(path)
    for tenant, user in (
        ("", "a"),
        ("..", "a"),
        ("a/b", "a"),
        ("Acme", "a"),
        ("a" * 65, "a"),
        ("a", "b\n"),
        ("é", "a"),
    ):
        with pytest.raises(Invalid, match="is no name for a"):
            keys.add(tenant, user, [Role.RUN])
    with pytest.raises(Invalid, match="without roles"):
        keys.add("acme", "ann", [])
    with pytest.raises(NotFound, match="no key"):
        keys.remove("00000000")
    assert not path.exists()
    monkeypatch.setattr(module, "MAX_KEYS", 1)
    keys.add("acme", "ann", [Role.RUN])
    with pytest.raises(LimitExceeded):
        keys.add("acme", "ann", [Role.RUN])


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"keys": 3}', '{"keys": [3]}', '{"keys": [{"id": "x"}]}', '{"other": []}', '{"keys": {"a": 1}}'],
)
def test_a_file_that_is_none_lets_nobody_in(path: Path, content: str) -> None:
    keys = KeyFile(path)
    _, text = keys.add("acme", "ann", [Role.RUN])
    path.write_text(content)
    for _ in range(2):
        with pytest.raises(Unavailable, match="is not a file of keys"):
            keys.find(text)
    with pytest.raises(Unavailable):
        keys.add("acme", "bob", [Role.RUN])
    assert path.read_text() == content, "it is the operator's to mend"


def test_a_role_that_there_is_not(path: Path) -> None:
    keys = KeyFile(path)
    _, text = keys.add("acme", "ann", [Role.RUN])
    record = json.loads(path.read_text())
    record["keys"][0]["roles"] = ["root"]
    path.write_text(json.dumps(record))
    with pytest.raises(Unavailable, match="root"):
        keys.find(text)


def test_an_unfinished_write_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFile(path)
    key, text = keys.add("acme", "ann", [Role.RUN])

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        keys.add("acme", "bob", [Role.RUN])
    monkeypatch.undo()
    assert KeyFile(path).find(text) == key
    assert KeyFile(path).add("acme", "bob", [Role.RUN])
