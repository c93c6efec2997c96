"""Building the native operation: once, into a cache, and never so that anything depends on it."""

from __future__ import annotations

import logging
import stat
from dataclasses import replace

import pytest
from kernel_cases import CASES, build

from symphony_kernels.native import build as native
from symphony_kernels.torch_cpu import CpuAttention

REAL = native.find_compiler()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a process that has not loaded anything yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(native.SWITCH, "1")
    native._load.cache_clear()
    yield tmp_path / "cache" / "symphony" / "native"
    native._load.cache_clear()


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A compiler that does what it is told: write a script's body, and count its runs."""

    def make(body: str):
        path = tmp_path / "compiler"
        path.write_text(
            f'#!/bin/sh\nif [ "$1" = --version ]; then echo 1; exit; fi\necho "$@" >> {tmp_path}/runs\n{body}\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CXX", str(path))

    make.runs = lambda: (tmp_path / "runs").read_text().splitlines()
    return make


def attention() -> CpuAttention:
    shape, _, rope = build(CASES[0])
    return CpuAttention(shape, rope, 1.0)


def test_it_is_built_once_and_found_again(cache, compiler):
    if REAL is None:
        assert attention().name == "torch"
        return
    compiler(f'exec {REAL} "$@"')
    assert attention().name == "torch, native"
    (made,) = cache.iterdir()
    native._load.cache_clear()
    assert attention().name == "torch, native"
    assert list(cache.iterdir()) == [made]
    assert len(compiler.runs()) == 1


def test_a_compiler_that_fails_is_told_of_and_done_without(cache, compiler, caplog):
    compiler("echo no such flag >&2; exit 1")
    assert attention().name == "torch"
    assert attention().name == "torch"
    assert len(compiler.runs()) == 2  # with threads and without; the second attention does not ask again
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "no such flag" in record.getMessage()
    assert "SYMPHONY_NATIVE=0" in record.getMessage()
    assert list(cache.iterdir()) == []


def test_a_compiler_without_threads_will_do(cache, compiler):
    if REAL is None:
        assert attention().name == "torch"
        return
    compiler(f'case "$@" in *-fopenmp*) exit 1;; esac\nexec {REAL} "$@"')
    assert attention().name == "torch, native"


def test_a_library_that_is_none_is_done_without(cache, compiler, caplog):
    compiler('while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"')
    assert attention().name == "torch"
    assert "cannot be had" in caplog.text


def test_a_compiler_that_hangs_is_given_up(cache, compiler, monkeypatch, caplog):
    monkeypatch.setattr(native, "SECONDS", 0.5)
    compiler("exec sleep 60")
    assert attention().name == "torch"
    assert "timed out" in caplog.text


def test_a_cache_that_cannot_be_written(cache, caplog):
    if REAL is None:
        assert attention().name == "torch"
        return
    cache.parent.mkdir(parents=True)
    cache.write_text("a file, no directory")
    assert attention().name == "torch"
    assert "cannot be had" in caplog.text


def test_without_a_compiler(cache, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(native, "find_compiler", lambda: None)
    assert attention().name == "torch"
    assert "no C++ compiler" in caplog.text


def test_turned_off(cache, compiler, monkeypatch):
    compiler("exit 1")
    monkeypatch.setenv(native.SWITCH, "0")
    assert attention().name == "torch"
    assert not cache.exists()


def test_a_head_that_it_is_not_written_for(cache, compiler):
    compiler("exit 1")
    shape, _, rope = build(next(case for case in CASES if case.head_dim == 32))
    assert CpuAttention(replace(shape, head_dim=24), rope[:, :12], 1.0).name == "torch"
    assert not cache.exists()
