"""The benchmark of constraints runs, and its figures add up; no figure is held against a clock."""

from __future__ import annotations

import asyncio

from symphony.bench.constraint import GRAMMARS, bench_answers, bench_masks
from symphony.bench.report import Report
from symphony.engine.fake import FakeEngine
from symphony.engine.fake_tokenizer import ByteTokenizer


def test_masks_of_every_grammar_are_measured() -> None:
    report = Report("test")
    bench_masks(report, ByteTokenizer(), 259, (256,), steps=30)
    names = {figure.name for figure in report.figures}
    assert {f"{name}: mask, median" for name in GRAMMARS} <= names
    assert all(figure.value >= 0 for figure in report.figures)


def test_forced_tokens_save_forward_passes() -> None:
    report = Report("test")
    asyncio.run(bench_answers(report, FakeEngine(script=lambda index: ord('"')), rounds=1))
    figures = {figure.name: figure.value for figure in report.figures}
    assert figures["answer with a schema: forward passes"] < figures["answer with a schema: tokens"]
    assert figures["answer without: forward passes"] == figures["answer without: tokens"] == 100
