"""One sandbox and one cache for all tests of programs: the interpreter is built and compiled once a checkout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.program.programs import Programs
from symphony.sandbox import Sandbox, SandboxConfig
from symphony.syscall.table import HANDLERS

CACHE = Path(__file__).resolve().parents[2] / "build/test-programs"


@pytest.fixture(scope="session")
def cache() -> Path:
    return CACHE


@pytest.fixture(scope="session")
def config() -> SandboxConfig:
    return SandboxConfig(max_instances=8)


@pytest.fixture(scope="session")
def engine(config: SandboxConfig) -> Iterator[Sandbox]:
    sandbox = Sandbox(config, HANDLERS)
    yield sandbox
    sandbox.close()


@pytest.fixture
def sandbox(engine: Sandbox) -> Iterator[Sandbox]:
    """Every test leaves it without instances."""
    yield engine
    assert engine.live == 0


@pytest.fixture
def programs(sandbox: Sandbox, cache: Path, tmp_path: Path) -> Programs:
    return Programs(sandbox, tmp_path / "home", cache)
