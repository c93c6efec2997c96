"""The generated signatures are what wasmtime finds in components that other tools made from the same `wit/`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from wasmtime import Engine
from wasmtime.component import Component

from symphony.sandbox.reflect import Reflector
from symphony.syscall.signatures import RESOURCES, SIGNATURES

ROOT = Path(__file__).resolve().parents[2]
APP = """
from wit_world import WitWorld
class WitWorld(WitWorld):
    def run(self, args: str) -> str:
        return args
"""


@pytest.mark.slow
def test_a_component_that_imports_the_whole_world(tmp_path: Path) -> None:
    """componentize-py keeps every import of the world, used or not, and brings CPython's own of WASI."""
    (tmp_path / "app.py").write_text(APP)
    wasm = tmp_path / "app.wasm"
    tool = [sys.executable, "-c", "from componentize_py import script; script()", "--quiet"]
    command = [*tool, "--wit-path", str(ROOT / "wit"), "--world", "lip", "componentize"]
    command += ["--python-path", str(tmp_path), "--output", str(wasm), "app"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, timeout=200)

    engine = Engine()
    reflector = Reflector(engine, Component(engine, wasm.read_bytes()), lambda _: True)
    imports = reflector.imports()

    found = {f"{i.base}#{name}": signature for i in imports for name, signature in i.functions}
    assert {name: found.get(name) for name in SIGNATURES} == SIGNATURES
    assert not [name for name in found if name.startswith("symphony:") and name not in SIGNATURES]
    assert set(RESOURCES) <= {identity for i in imports for _, identity in i.resources}
