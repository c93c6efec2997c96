"""The SDK outside Wasm, twice: over generated bindings with a fake host behind them, and without any bindings."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_host import FakeHost, forget

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "guest_sdk/python"
_BINDINGS = "import sys; from componentize_py import script; sys.exit(script())"
_MODULES = ("lip", "lip_world", "componentize_py_types", "componentize_py_async_support", "poll_loop")


@pytest.fixture(scope="session")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What componentize-py generates from `wit/`: the fake cannot drift from the ABI."""
    folder = tmp_path_factory.mktemp("bindings")
    command = [sys.executable, "-c", _BINDINGS, "-d", str(ROOT / "wit"), "-w", "lip", "--world-module", "lip_world"]
    subprocess.run([*command, "bindings", str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`lip` as an editor or pytest imports it: no bindings."""
    monkeypatch.syspath_prepend(str(SDK))
    forget(*_MODULES)
    yield importlib.import_module("lip")
    forget(*_MODULES)


@pytest.fixture
def lip(bindings: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`lip` over generated bindings."""
    monkeypatch.syspath_prepend(str(SDK))
    monkeypatch.syspath_prepend(str(bindings))
    forget(*_MODULES)
    yield importlib.import_module("lip")
    forget(*_MODULES)


@pytest.fixture
def host(lip: Any) -> FakeHost:
    inner = importlib.import_module("lip._host")
    names = ("fetch", "infer", "ipc", "kvfs", "log", "model", "poll", "process", "tool", "types", "clock")
    ok = importlib.import_module("componentize_py_types").Ok
    return FakeHost({name: getattr(inner, name) for name in names}, inner.Err, ok)


@pytest.fixture
def run(host: FakeHost) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on the SDK's loop."""
    loop = importlib.import_module("lip._loop").Loop
    return lambda coroutine: loop().run_until_complete(coroutine)
