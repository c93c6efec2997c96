"""Imports are bound by reflection, and only where their types are exactly what the host offers."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from sandbox_guests import CACHE, ECHO, REFERENCE, SYS, Loop, TestHost, compiled, guest, sys_guest

from symphony.errors import InvalidProgram
from symphony.sandbox import Failed, Returned, Sandbox, SandboxConfig, compile_component
from symphony.syscall import wasi
from symphony.syscall.signatures import SIGNATURES
from symphony.syscall.values import Ok

STEP = sys_guest("(call $number (call $step (i32.const 1)))")


def importing(interface: str) -> str:
    """A LIP with one more import."""
    return ECHO.replace("(component", f"(component\n{interface}", 1)


def test_versions_do_not_matter(loop: Loop, load: Any) -> None:
    for version in ("@0.1.0", "@0.1.9", "@0.2.0", ""):
        program = load(STEP.replace("symphony:test/sys@0.1.0", f"symphony:test/sys{version}"))
        assert loop.outcome(program) == Returned(Ok("2"))


def test_two_versions_in_one_component(loop: Loop, load: Any) -> None:
    other = SYS.replace("@0.1.0", "@0.1.5").replace("$sys", "$sys2").replace("$thing", "$thing2")
    program = load(STEP.replace("(component", f"(component\n{other}", 1))
    assert loop.outcome(program) == Returned(Ok("2"))


def test_equal_imports_share_a_linkage_which_goes_with_its_last_program(sandbox: Sandbox, load: Any) -> None:
    gc.collect()
    before = len(sandbox._linker._bindings)
    one, two = load(STEP), load(sys_guest("(call $number (call $step (i32.const 2)))"))
    assert one.linkage is two.linkage
    assert len(sandbox._linker._bindings) >= before
    del one, two
    gc.collect()
    assert len(sandbox._linker._bindings) <= before


@pytest.mark.parametrize(
    ("interface", "words"),
    [
        ('(import "acme:db/store" (instance (export "get" (func))))', "acme:db/store"),
        ('(import "symphony:test/sys" (instance (export "fly" (func))))', "symphony:test/sys#fly"),
        ('(import "symphony:test/gone" (instance (export "step" (func))))', "symphony:test/gone#step"),
        ('(import "free" (func))', "free"),
        ('(import "wasi-less" (core module))', "wasi-less"),
    ],
)
def test_unknown_imports_are_refused_by_name(load: Any, interface: str, words: str) -> None:
    with pytest.raises(InvalidProgram, match=words) as raised:
        load(importing(interface))
    assert raised.value.hint


@pytest.mark.parametrize(
    ("function", "where"),
    [
        # The host's reader expects a string: it would be handed a guest-chosen pointer, an arbitrary host read.
        ('"say" (func (param "text" u64) (result string))', "parameter `text`"),
        ('"say" (func (param "text" (tuple u64 u64)) (result string))', "parameter `text`"),
        ('"say" (func (param "text" string))', "the result"),
        ('"say" (func (param "words" string) (result string))', "parameter `words` instead of `text`"),
        ('"step" (func (param "x" s32) (result u32))', "parameter `x`"),
        ('"step" (func (result u32))', "0 parameters instead of 1"),
        ('"make" (func (result u32))', "the result"),
    ],
)
def test_imports_of_another_type_are_refused(load: Any, function: str, where: str) -> None:
    with pytest.raises(InvalidProgram, match="with other types") as raised:
        load(importing(f'(import "symphony:test/sys" (instance (export {function})))'))
    assert where in raised.value.message
    assert "symphony:test/sys#" in raised.value.message


def test_a_handle_of_another_resource_is_another_type(load: Any) -> None:
    confused = """(import "symphony:test/sys" (instance
      (export "other" (type $o (sub resource))) (export "thing" (type $t (sub resource)))
      (export "[method]thing.get" (func (param "self" (borrow $t)) (result u32)))
      (export "take" (func (param "it" (own $o)) (result u32)))))"""
    with pytest.raises(InvalidProgram, match="#take"):
        load(importing(confused))
    renamed = """(import "symphony:test/a" (instance $a (export "thing" (type (sub resource)))))
      (alias export $a "thing" (type $t))
      (import "symphony:test/sys" (instance (export "thing" (type $u (eq $t)))
        (export "take" (func (param "it" (own $u)) (result u32)))))"""
    with pytest.raises(InvalidProgram, match="#take"):
        load(importing(renamed))


def test_wasi_functions_are_compared_too(load: Any) -> None:
    evil = """(import "wasi:random/random@0.2.9" (instance
      (export "get-random-bytes" (func (param "len" string) (result (list u8))))))"""
    with pytest.raises(InvalidProgram, match="wasi:random/random#get-random-bytes"):
        load(importing(evil))
    confused = """(import "wasi:io/poll@0.2.9" (instance
      (export "pollable" (type (sub resource))) (export "other" (type $q (sub resource)))
      (export "poll" (func (param "in" (list (borrow $q))) (result (list u32))))))"""
    with pytest.raises(InvalidProgram, match="wasi:io/poll#poll"):
        load(importing(confused))


FALLBACK = """
  (import "wasi:acme/things@0.2.0" (instance $w
    (type $e' (enum "busy" "access-denied")) (export "e" (type $e (eq $e')))
    (export "code" (func (param "path" string) (result (result u32 (error $e)))))
    (export "maybe" (func (param "path" string) (result (option u32))))
    (export "flag" (func (result bool)))
    (export "text" (func (result string)))))
"""
FALLBACK_LOWERED = """
  (core func $code (canon lower (func $w "code") (memory $mem)))
  (core func $maybe (canon lower (func $w "maybe") (memory $mem)))
  (core func $flag (canon lower (func $w "flag")))
  (core func $text (canon lower (func $w "text") (memory $mem) (realloc $realloc)))
"""
FALLBACK_CORE = """
    (import "host" "code" (func $code (param i32 i32 i32)))
    (import "host" "maybe" (func $maybe (param i32 i32 i32)))
    (import "host" "flag" (func $flag (result i32)))
    (import "host" "text" (func $text (param i32)))
"""


def test_other_wasi_functions_get_a_typed_fallback(loop: Loop, load: Any) -> None:
    body = """
      (i32.store (i32.const 128) (i32.const -1)) (i32.store (i32.const 140) (i32.const -1))
      (call $code (i32.const 0) (i32.const 0) (i32.const 128))
      (call $maybe (i32.const 0) (i32.const 0) (i32.const 140))
      ;; digits: 1 (an error), 1 (access-denied), 0 (none), 0 (false)
      (call $number (i32.add (i32.add
        (i32.mul (i32.load8_u (i32.const 128)) (i32.const 1000))
        (i32.mul (i32.load8_u (i32.const 132)) (i32.const 100)))
        (i32.add (i32.mul (i32.load8_u (i32.const 140)) (i32.const 10)) (call $flag))))"""
    program = load(guest(body, FALLBACK, FALLBACK_LOWERED, FALLBACK_CORE))
    assert loop.outcome(program) == Returned(Ok("1100"))


def test_a_fallback_without_a_refusal_ends_the_guest(loop: Loop, load: Any) -> None:
    program = load(guest("(call $text (i32.const 128)) (unreachable)", FALLBACK, FALLBACK_LOWERED, FALLBACK_CORE))
    outcome = loop.outcome(program)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "permission-denied"
    assert "wasi:acme/things#text" in outcome.error.message


def test_types_that_explode_when_written_out_are_refused(load: Any) -> None:
    types = "(type $t0 (tuple u8 u8))"
    for i in range(1, 17):
        types += f" (type $t{i} (tuple $t{i - 1} $t{i - 1}))"
    bomb = f'(import "wasi:acme/bomb" (instance {types} (export "f" (func (param "x" $t16)))))'
    with pytest.raises(InvalidProgram, match=r"larger than|does not compile"):
        load(importing(bomb))


def test_async_functions_are_refused(load: Any) -> None:
    with pytest.raises(InvalidProgram):
        load(importing('(import "wasi:acme/a" (instance (export "f" (func async (param "x" u32)))))'))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("(component)", "does not export `run`"),
        (ECHO.replace('(export "run") (param "args" string)', '(export "main") (param "args" string)'), "run"),
        (
            """(component (core module $m (func (export "f") (result i32) (i32.const 0)))
               (core instance $i (instantiate $m))
               (func (export "run") (result u32) (canon lift (core func $i "f"))))""",
            "another type",
        ),
        ('(component (instance $i) (export "run" (instance $i)))', "does not export `run`"),
    ],
)
def test_a_component_of_another_world_is_refused(load: Any, source: str, words: str) -> None:
    with pytest.raises(InvalidProgram, match=words) as raised:
        load(source)
    assert "run: func(args: string)" in raised.value.hint


@pytest.mark.parametrize("content", [b"", b"(component)", b"\x7fELF" + bytes(200)])
def test_a_file_that_is_not_our_own_compile_is_refused(sandbox: Sandbox, tmp_path: Any, content: bytes) -> None:
    path = tmp_path / "x.cwasm"
    path.write_bytes(content)
    with pytest.raises(InvalidProgram, match="cannot be loaded"):
        sandbox.load(path)
    with pytest.raises(InvalidProgram, match="cannot be loaded"):
        sandbox.load(tmp_path / "absent.cwasm")


def test_a_compile_of_another_configuration_is_refused(sandbox: Sandbox, tmp_path: Any) -> None:
    other = SandboxConfig(memory_reservation=1 << 30)
    path = compiled(ECHO, other, CACHE)
    with pytest.raises(InvalidProgram, match="cannot be loaded"):
        sandbox.load(path)


@pytest.mark.parametrize("data", [b"\0asm\x0d\0\1\0\x01\xff\xff\xff\xff\x0f", b"(component)", b"\0asm\1\0\0\0"])
def test_bytes_that_do_not_compile_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidProgram):
        compile_component(data, SandboxConfig(max_instances=1))


def test_every_wasi_handler_has_a_signature_and_it_is_what_guests_declare(
    sandbox: Sandbox, python_program: Any
) -> None:
    from symphony.sandbox.reflect import Reflector

    assert set(wasi.HANDLERS) == set(wasi.SIGNATURES)
    reflector = Reflector(sandbox._engine, python_program.component, lambda key: True)
    seen = 0
    for interface in reflector.imports():
        for name, signature in interface.functions:
            key = f"{interface.base}#{name}"
            if key in wasi.SIGNATURES:
                assert wasi.SIGNATURES[key] == signature, key
                seen += 1
    assert seen > 30


def test_the_two_sources_of_wasi_signatures_agree() -> None:
    common = set(wasi.SIGNATURES) & set(SIGNATURES)
    assert "wasi:io/poll#poll" in common
    for key in common:
        assert wasi.SIGNATURES[key] == SIGNATURES[key], key


def test_handlers_are_wasis_own_where_none_are_given(loop: Loop, load: Any, host: TestHost) -> None:
    assert not set(REFERENCE) & set(wasi.HANDLERS)
    clock = guest(
        "(call $number (i64.ne (call $now) (i64.const 0)))",
        '(import "wasi:clocks/monotonic-clock@0.2.3" (instance $c (export "now" (func (result u64)))))',
        '(core func $now (canon lower (func $c "now")))',
        '(import "host" "now" (func $now (result i64)))',
    )
    assert loop.outcome(load(clock)) == Returned(Ok("1"))
