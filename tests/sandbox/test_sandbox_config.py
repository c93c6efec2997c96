"""The engine: what is denied, what the machine must have, what identifies compiled code."""

from __future__ import annotations

import dataclasses

import pytest
import wasmtime
from sandbox_guests import ECHO, guest

from symphony.errors import InvalidProgram, Unavailable
from symphony.sandbox import SandboxConfig, compile_component
from symphony.sandbox.config import Machine, check_machine, engine_key, this_machine

SMALL = SandboxConfig(max_instances=2)


def test_this_machine_holds_the_defaults() -> None:
    check_machine(SandboxConfig())


def test_too_few_mappings_are_refused_with_the_fix() -> None:
    with pytest.raises(Unavailable, match=r"vm\.max_map_count is 65530") as raised:
        check_machine(SandboxConfig(max_instances=20_000), Machine(65_530, 1 << 62))
    assert "sysctl -w vm.max_map_count=" in raised.value.hint
    fits = int(raised.value.hint.split()[-1])
    check_machine(SandboxConfig(max_instances=fits), Machine(65_530, 1 << 62))


def test_too_little_address_space_is_refused_with_the_fix() -> None:
    with pytest.raises(Unavailable, match="of address space") as raised:
        check_machine(SandboxConfig(max_instances=100), Machine(1 << 30, 64 << 30))
    fits = int(raised.value.hint.split()[-1])
    assert fits < 100
    check_machine(SandboxConfig(max_instances=fits), Machine(1 << 30, 64 << 30))


def test_the_machine_is_read_from_the_system() -> None:
    machine = this_machine()
    assert machine.max_maps > 1000
    assert machine.address_bytes > 1 << 30


def test_the_engine_key_follows_what_compiled_code_depends_on() -> None:
    key = engine_key(SandboxConfig())
    assert key == engine_key(SandboxConfig())
    assert key == engine_key(SandboxConfig(max_instances=7, fuel_slice=5))  # pools and slices are not compiled in
    assert key != engine_key(SandboxConfig(memory_reservation=1 << 30))
    assert key != engine_key(SandboxConfig(stack_bytes=1 << 20))


def lip(core: str) -> str:
    """A LIP with one more core module."""
    return ECHO.replace("(component", f"(component (core module {core})", 1)


@pytest.mark.parametrize(
    ("name", "core"),
    [
        ("threads", "(memory 1 1 shared)"),
        ("memory64", "(memory i64 1)"),
        ("several memories", "(memory 1) (memory 1)"),
        ("tail calls", "(func $f (return_call $f))"),
        ("exceptions", "(tag)"),
        ("gc", "(type (struct (field i32)))"),
        ("function references", "(type $t (func)) (func (param (ref $t)))"),
        ("relaxed simd", "(func (param v128) (result v128) local.get 0 local.get 0 i8x16.relaxed_swizzle)"),
        ("wide arithmetic", "(func (result i64 i64) i64.const 1 i64.const 1 i64.mul_wide_u)"),
        ("custom page sizes", "(memory 1 (pagesize 1))"),
    ],
)
def test_features_that_guests_do_not_need_are_denied(name: str, core: str) -> None:
    with pytest.raises(InvalidProgram):
        compile_component(bytes(wasmtime.wat2wasm(lip(core))), SMALL)


@pytest.mark.parametrize(
    "text",
    [
        "(type $s (stream u8)) (core func (canon stream.new $s))",
        "(type $f (future u8)) (core func (canon future.new $f))",
        "(core func (canon task.cancel))",
        "(core func (canon thread.yield))",
        "(core func (canon waitable-set.new))",
        "(core func (canon error-context.drop))",
    ],
)
def test_component_model_async_is_denied(text: str) -> None:
    with pytest.raises(InvalidProgram, match="does not compile"):
        compile_component(bytes(wasmtime.wat2wasm(ECHO.replace("(component", f"(component {text}", 1))), SMALL)


def test_ordinary_features_compile() -> None:
    core = """(memory 1) (table 2 funcref) (func (param v128) (result i32) (i8x16.extract_lane_s 0 (local.get 0)))
      (func (result i32 i32) (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)) (i32.const 1) (i32.const 2))"""
    assert compile_component(bytes(wasmtime.wat2wasm(lip(core))), SMALL)


def test_wasm_may_use_half_of_the_fibers_stack() -> None:
    """More than the fiber has would abort the process; the other half is for host calls."""
    compile_component(bytes(wasmtime.wat2wasm(guest("(unreachable)"))), dataclasses.replace(SMALL, stack_bytes=1 << 20))
