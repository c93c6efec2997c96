"""The benchmark report: bounds are judged, numbers are readable, JSON is complete."""

from __future__ import annotations

import json

from symphony.bench.report import Report


def report() -> Report:
    r = Report("host", {"cores": "1"})
    r.add("syscall", 4.5, "us", at_most=12)
    r.add("share", 0.5, "", at_least=0.95)
    r.add("instances", 10_000, "")
    return r


def test_bounds_are_judged() -> None:
    assert [figure.holds for figure in report().figures] == [True, False, None]


def test_text_says_what_was_missed() -> None:
    text = report().as_text()
    assert "syscall" in text
    assert "<= 12" in text
    assert "MISSED" in text
    assert "10,000" in text


def test_json_has_everything() -> None:
    value = json.loads(report().as_json())
    assert value["conditions"] == {"cores": "1"}
    assert value["figures"][0]["holds"] is True
    assert value["figures"][2]["at_most"] is None
