"""The gate: open without keys on this machine alone, shut from the first key on."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.access.gate import Gate, KeyNeeded
from symphony.access.identity import LOCAL, ROLES, Identity, Role
from symphony.access.keys import KeyFile
from symphony.errors import Invalid, LimitExceeded
from symphony.pace import Pace


def test_without_keys_everybody_is_local() -> None:
    for header in (None, "Bearer sy-1-2", "nonsense"):
        assert Gate().identify(header) == LOCAL
    assert LOCAL.roles == ROLES
    assert not Gate().shut


def test_who_is_reachable_needs_keys(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    for none in (keys, None):
        with pytest.raises(Invalid, match="without keys") as caught:
            Gate(none, exposed=True)
        assert "symphony keys add" in caught.value.hint
    keys.add("acme", "acme", [Role.RUN])
    assert Gate(keys, exposed=True).shut


def test_it_shuts_with_the_first_key_and_stays_shut_without_any(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    gate = Gate(keys)
    assert gate.identify(None) == LOCAL
    key, text = keys.add("acme", "ann", [Role.RUN])
    assert gate.identify(f"Bearer {text}") == gate.identify(f"bearer  {text}") == key.identity
    keys.remove(key.id)
    for header in (None, f"Bearer {text}"):
        with pytest.raises(KeyNeeded):
            gate.identify(header)
    assert gate.shut


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic eDp5", "Bearer sy-00000000-x", "KEY"])
def test_refusals_say_what_to_do(tmp_path: Path, header: str | None) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    _, text = keys.add("acme", "ann", [Role.RUN])
    with pytest.raises(KeyNeeded) as caught:
        Gate(keys).identify(header if header != "KEY" else text)
    assert caught.value.http_status == 401
    assert caught.value.hint
    assert text not in str(caught.value)


def test_a_tenant_that_asks_too_often() -> None:
    now = 5.0
    gate = Gate(pace=Pace(None, {"acme": 2.0}), clock=lambda: now)
    ann, bob, other = (
        Identity(tenant, user, ROLES) for tenant, user in (("acme", "ann"), ("acme", "bob"), ("b", "ann"))
    )
    for who in (ann, bob, ann):
        gate.admit(who)
    with pytest.raises(LimitExceeded) as caught:
        gate.admit(bob)
    assert caught.value.retry_after == 0.5
    for _ in range(100):
        gate.admit(other)
    now += 0.5
    gate.admit(bob)
