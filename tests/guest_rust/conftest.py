"""Rust programs, built from source once a test run. Needs a toolchain: `python tools/build_rust.py --install`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tools.build_rust import HINT, build, toolchain

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
