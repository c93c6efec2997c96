"""Rust programs, built from source once a test run. Needs a toolchain: `python tools/build_rust.py --install`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tools.build_rust import HINT, WASI, build, toolchain

ROOT = Path(__file__).resolve().parents[2]

Builder = Callable[[str], Path]
"""A crate's directory, from the repository's root -> its component."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    if toolchain() is None:
        pytest.skip(HINT)

    @cache
    def component(crate: str) -> Path:
        return build(ROOT / crate, tmp_path_factory.mktemp("rust") / "program.wasm")

    return component


@pytest.fixture(scope="session")
def probe(built: Builder) -> Path:
    return built("tests/guest_rust/probe")


@pytest.fixture(scope="session")
def wasi_probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the target that has WASI below std."""
    if toolchain(WASI) is None:
        pytest.skip(f"no toolchain for {WASI}: rustup target add {WASI}")
    return build(ROOT / "tests/guest_rust/probe", tmp_path_factory.mktemp("rust") / "wasi.wasm", WASI)
