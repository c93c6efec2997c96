"""What is said about an upload before it is compiled."""

from __future__ import annotations

import contextlib
import random

import pytest
import wasmtime
from sandbox_guests import ECHO, sys_guest

from symphony.errors import InvalidProgram
from symphony.sandbox import Sandbox
from symphony.sandbox.binary import top_level_names


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def test_a_lip_passes(sandbox: Sandbox) -> None:
    sandbox.check(wat(ECHO))
    sandbox.check(wat(sys_guest("(call $number (i32.const 1))")).replace(b"symphony:test/sys", b"symphony:lip/abcd"))


def test_names(python_wasm: bytes) -> None:
    imports, exports = top_level_names(python_wasm)
    assert "wasi:io/poll@0.2.9" in imports
    assert all(name.startswith("wasi:") for name in imports)
    assert "run" in exports


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither a Wasm component nor Python"),
        (b"(component)", "neither a Wasm component nor Python"),
        (b"PK\x03\x04whatever", "neither a Wasm component nor Python"),
        (b"\x7fELF\x02\x01", "neither a Wasm component nor Python"),
        (b"\0asm", "unknown Wasm version"),
        (b"\0asm\x07\x00\x01\x00", "unknown Wasm version 07000100"),
        (wat("(module)"), "core Wasm module"),
        (wat("(component)"), "does not export `run`"),
        (wat(ECHO)[:-5], "truncated"),
    ],
)
def test_what_is_not_a_lip_is_refused_with_a_sentence(sandbox: Sandbox, data: bytes, words: str) -> None:
    with pytest.raises(InvalidProgram, match=words) as raised:
        sandbox.check(data)
    assert raised.value.hint


def test_a_wasi_command_gets_a_sentence_of_its_own(sandbox: Sandbox) -> None:
    command = """(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
      (func $f (canon lift (core func $i "f"))) (instance $r (export "run" (func $f)))
      (export "wasi:cli/run@0.2.6" (instance $r)))"""
    with pytest.raises(InvalidProgram, match="WASI command"):
        sandbox.check(wat(command))


def test_unknown_imports_are_named(sandbox: Sandbox) -> None:
    text = ECHO.replace("(component", '(component (import "acme:db/store@1.0.0" (instance))', 1)
    with pytest.raises(InvalidProgram, match=r"acme:db/store@1\.0\.0"):
        sandbox.check(wat(text))


def test_no_bytes_do_anything_but_pass_or_be_refused() -> None:
    chance = random.Random(7)
    whole = wat(sys_guest("(call $number (i32.const 1))"))
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(8, len(data))] = chance.randrange(256)
        with contextlib.suppress(InvalidProgram):
            top_level_names(bytes(data[: chance.randrange(8, len(data) + 1)]))
