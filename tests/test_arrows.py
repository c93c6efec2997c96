"""The dependency rule of docs/architecture.md: arrows between packages point down only.

Read from the source with `ast`, so imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = ROOT / "runtime" / "symphony"

#: What each package may import besides itself, `errors`, `param` and `resources`. Anything else is an arrow that
#: points up.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "param": set(),
    "resources": set(),
    "frames": set(),
    "pace": set(),
    "observe": set(),
    "client": {"frames"},
    "engine": {"kernels"},
    "constraint": set(),
    "kvfs": set(),
    "store": set(),
    "sched": set(),
    "core": {"kvfs", "sched", "engine", "constraint", "store", "pace"},
    "sim": {"core", "sched", "engine"},
    "outside": set(),
    "access": {"pace"},
    "settings": {"outside", "access"},
    "syscall": {"core", "engine", "constraint", "outside"},
    "sandbox": {"syscall"},
    "process": {"sandbox", "syscall", "sched", "core", "outside", "observe"},
    "program": {"sandbox", "syscall"},
    "workers": {"process", "sandbox", "syscall", "sched", "engine"},
    "host": {"workers", "program", "process", "sandbox", "syscall", "core", "sched", "engine", "outside", "store"},
    "http": {"host", "process", "program", "core", "engine", "frames", "access", "observe"},
    "bench": {
        "host",
        "http",
        "process",
        "program",
        "sandbox",
        "syscall",
        "core",
        "engine",
        "sim",
        "sched",
        "constraint",
        "store",
    },
    "cli": {
        "host",
        "http",
        "bench",
        "process",
        "program",
        "sandbox",
        "engine",
        "core",
        "sched",
        "outside",
        "settings",
        "access",
        "pace",
        "observe",
    },
    "__init__": {"host", "process"},
}

#: External libraries that only some packages may import.
OWNERS: dict[str, set[str]] = {
    "wasmtime": {"sandbox"},
    "torch": {"engine"},
    "tokenizers": {"engine"},
    "safetensors": {"engine"},
    "minijinja": {"engine"},
    "llguidance": {"constraint"},
    "transformers": set(),
    "aiohttp": {"http", "cli", "outside", "client", "bench"},
    "click": {"cli"},
    "rich": {"cli"},
}


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide arrows"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources() -> list[Path]:
    return sorted(RUNTIME.rglob("*.py"))


def package(path: Path) -> str:
    part = path.relative_to(RUNTIME).parts[0]
    return part.removesuffix(".py")


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(RUNTIME)))
def test_arrows_point_down(path: Path) -> None:
    here = package(path)
    allowed = MAY_IMPORT[here] | {here, "errors", "param", "resources"}
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "symphony" and len(parts) > 1:
            known = parts[1] in MAY_IMPORT
            assert not known or parts[1] in allowed, f"{here} must not import {name}"
        elif parts[0] == "symphony_kernels":
            assert "kernels" in allowed, f"{here} must not import {name}"
        elif parts[0] in OWNERS:
            assert here in OWNERS[parts[0]], f"only {OWNERS[parts[0]]} may import {parts[0]}, not {here}"


def test_core_packages_know_no_processes() -> None:
    for path in sources():
        if package(path) in {"kvfs", "sched", "engine", "constraint"}:
            text = path.read_text(encoding="utf-8")
            assert "symphony.process" not in text
            assert "symphony.syscall" not in text


def test_kernels_import_torch_and_triton_only() -> None:
    allowed = {"torch", "triton", "symphony_kernels", "numpy", "flash_attn"}
    standard = {"__future__", "collections", "dataclasses", "functools", "importlib", "math", "os", "typing", "enum"}
    native = {
        "contextlib",
        "ctypes",
        "hashlib",
        "logging",
        "pathlib",
        "platform",
        "shutil",
        "subprocess",
        "tempfile",
        "weakref",
    }
    for path in sorted((ROOT / "kernels").rglob("*.py")):
        building = native if path.parent.name == "native" else set()
        for name in imports(path):
            assert name.split(".")[0] in allowed | standard | building, f"{path} must not import {name}"


def test_source_roots_are_not_packages() -> None:
    for root in ("runtime", "kernels", "wit", "samples", "tests"):
        assert not (ROOT / root / "__init__.py").exists(), f"{root}/ would shadow somebody's package"
