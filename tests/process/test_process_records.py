"""Ended processes: bounded in number and bytes, and no tenant pushes out another's."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from symphony.process import records as module
from symphony.process.records import Records


def ended(pid: int, tenant: str, size: int) -> Any:
    return SimpleNamespace(pid=pid, tenant=tenant, kept_bytes=size)


def test_who_keeps_most_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FINISHED_PROCESSES", 4)
    records = Records()
    records.add(ended(1, "quiet", 1))
    for pid in range(2, 20):
        records.add(ended(pid, "busy", 1))
    assert [process.pid for process in records] == [1, 17, 18, 19]
    assert records.get(1) is not None
    assert records.get(16) is None


def test_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FINISHED_BYTES", 100)
    records = Records()
    records.add(ended(1, "quiet", 30))
    records.add(ended(2, "busy", 60))
    records.add(ended(3, "busy", 60))
    assert [process.pid for process in records] == [1, 3]
    records.add(ended(4, "third", 1000))
    assert [process.pid for process in records] == [1, 3], "what is larger than all of it does not stay"
    alone = Records()
    alone.add(ended(1, "a", 1000))
    assert [process.pid for process in alone] == [1], "unless it is alone"


def test_the_books_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FINISHED_PROCESSES", 20)
    monkeypatch.setattr(module, "MAX_FINISHED_BYTES", 500)
    rng, records = random.Random(3), Records()
    for pid in range(2000):
        records.add(ended(pid, rng.choice("aaaab"), rng.choice([0, 1, 10, 90])))
        kept = list(records)
        assert len(kept) <= 20
        assert sum(process.kept_bytes for process in kept) == records._bytes <= 500
        assert {process.pid for process in kept} == {pid for each in records._tenants.values() for pid in each.sizes}
        assert all(each.bytes == sum(each.sizes.values()) and each.sizes for each in records._tenants.values())
