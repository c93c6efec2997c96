"""The generated signatures are what wasmtime finds in components that other tools made from the same `wit/`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from wasmtime.component import Component

from symphony.program import interpreter
from symphony.program.compile import CompileLimits, Compiler
from symphony.sandbox import SandboxConfig
from symphony.sandbox.config import running_engine
from symphony.sandbox.reflect import Reflector
from symphony.syscall.signatures import RESOURCES, SIGNATURES

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build/test-programs"


@pytest.mark.slow
def test_a_component_that_imports_the_whole_world() -> None:
    """componentize-py keeps every import of the world, used or not, and brings CPython's own of WASI: so does the
    interpreter's component."""
    config = SandboxConfig(max_instances=1)
    wasm = interpreter.ensure(CACHE)
    compiler = Compiler(CACHE, config, CompileLimits(cpu_seconds=600, wall_seconds=600.0))
    cwasm = asyncio.run(compiler.compiled(f"interpreter-{wasm.stem}", wasm))

    engine = running_engine(config)
    reflector = Reflector(engine, Component.deserialize_file(engine, str(cwasm)), lambda _: True)
    imports = reflector.imports()

    found = {f"{i.base}#{name}": signature for i in imports for name, signature in i.functions}
    assert {name: found.get(name) for name in SIGNATURES} == SIGNATURES
    assert not [name for name in found if name.startswith("symphony:") and name not in SIGNATURES]
    assert set(RESOURCES) <= {identity for i in imports for _, identity in i.resources}
