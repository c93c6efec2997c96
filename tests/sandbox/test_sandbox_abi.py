"""The private C API: exactly the functions and signatures of the pinned package (docs/adr/0001)."""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from wasmtime import _bindings, _ffi

from symphony.errors import Unavailable
from symphony.sandbox import abi, config

REPOSITORY = Path(__file__).parents[2]


def test_the_exact_version_is_pinned_and_installed() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert f"wasmtime=={abi.WASMTIME_VERSION}" in project["dependencies"]
    assert importlib.metadata.version("wasmtime") == abi.WASMTIME_VERSION


def test_another_version_is_refused_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "51.0.0")
    with pytest.raises(Unavailable, match=r"pip install wasmtime=="):
        config.check_version()


def same(ours: Any, theirs: Any) -> bool:
    """Whether two ctypes agree; an address may stand for any pointer."""
    if ours is theirs or ours == theirs:
        return True
    if ours is ctypes.c_void_p:
        return theirs is ctypes.c_void_p or hasattr(theirs, "contents") or issubclass(theirs, ctypes._CFuncPtr)
    if ours is ctypes.c_char_p:
        return theirs in (ctypes.POINTER(ctypes.c_char), ctypes.POINTER(ctypes.c_ubyte))
    if issubclass(ours, ctypes._CFuncPtr) and issubclass(theirs, ctypes._CFuncPtr):
        mine, others = ours._argtypes_, theirs._argtypes_
        return len(mine) == len(others) and all(map(same, (ours._restype_, *mine), (theirs._restype_, *others)))
    return False


@pytest.mark.parametrize("name", sorted(abi.FUNCTIONS))
def test_signature(name: str) -> None:
    result, parameters = abi.FUNCTIONS[name]
    declared = getattr(_bindings, f"_{name}")
    assert same(result, declared.restype), (result, declared.restype)
    assert len(parameters) == len(declared.argtypes)
    for ours, theirs in zip(parameters, declared.argtypes, strict=True):
        assert same(ours, theirs), (ours, theirs)


def test_the_comparison_can_fail() -> None:
    assert not same(ctypes.c_uint32, ctypes.c_uint64)
    assert not same(ctypes.c_void_p, ctypes.c_uint64)
    assert not same(ctypes.CFUNCTYPE(None, ctypes.c_void_p), ctypes.CFUNCTYPE(None))


def test_sizes_of_the_structs_that_are_laid_out_by_hand() -> None:
    assert ctypes.sizeof(_ffi.wasmtime_component_val_t) == 32
    assert ctypes.sizeof(_ffi.wasmtime_component_valrecord_entry) == 48
    assert ctypes.sizeof(_ffi.wasmtime_component_instance_t) <= 32
    assert ctypes.sizeof(_ffi.wasmtime_component_func_t) <= 48
    assert ctypes.sizeof(_ffi.wasmtime_async_continuation_t) == 24


def test_no_other_module_calls_c_by_itself() -> None:
    for path in (REPOSITORY / "runtime" / "symphony").rglob("*.py"):
        text = path.read_text()
        if path.name != "abi.py":
            assert not re.search(r"\b_ffi\b|\bPyDLL\b|\bCDLL\b", text), path
        if path.parent.name != "sandbox":
            assert not re.search(r"^\s*(import|from) wasmtime", text, re.M), path
