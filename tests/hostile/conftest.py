"""One host for each module, checked after each test; its tools misbehave in every way that a function can."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hostile_host import Host
from hostile_host import host as boot

RELEASE = threading.Event()
"""Lets the tools that hang end with the tests."""


def double(x: int) -> int:
    return 2 * x


def fails(kind: str = "ValueError") -> None:
    kinds = {"StopIteration": StopIteration, "SystemExit": SystemExit, "TimeoutError": TimeoutError}
    raise kinds.get(kind, ValueError)("the tool's own words")


async def fails_async(kind: str = "ValueError") -> None:
    fails(kind)


def odd(kind: str) -> Any:
    return {"object": object(), "nan": float("nan"), "large": "x" * (5 << 20), "surrogate": "\ud800", "cycle": [...]}[
        kind
    ]


async def waits() -> None:
    await asyncio.Event().wait()


def hangs() -> None:
    RELEASE.wait()


TOOLS = {"double": double, "fails": fails, "fails_async": fails_async, "odd": odd, "waits": waits, "hangs": hangs}


@pytest.fixture(scope="module")
def module_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    RELEASE.clear()
    with boot(tmp_path_factory.mktemp("home"), TOOLS) as booted:
        yield booted
        RELEASE.set()


@pytest.fixture
def host(module_host: Host) -> Iterator[Host]:
    """Whatever the test did to it: nothing is left, and the next prediction is right."""
    yield module_host
    module_host.check()
