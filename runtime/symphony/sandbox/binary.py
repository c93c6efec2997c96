"""Looks at a component's bytes before anything is compiled: magic, and the names at its top level.

Source: the component model's `Binary.md`. Knows nothing of types: those are checked on the compiled component.
"""

from __future__ import annotations

from symphony.errors import InvalidProgram

_MAGIC = b"\0asm"
_COMPONENT = b"\x0d\x00\x01\x00"
_CORE_MODULE = b"\x01\x00\x00\x00"
_IMPORTS, _EXPORTS = 10, 11

_BUILD_HINT = "build one with `symphony build`, or with a wasm32-wasip2 toolchain"


def check_magic(wasm: bytes) -> None:
    """Raises InvalidProgram unless the bytes start like a component. (wasmtime would read other bytes as WAT text.)"""
    if wasm[:4] != _MAGIC:
        raise InvalidProgram("the upload is neither a Wasm component nor Python source", _BUILD_HINT)
    if wasm[4:8] == _CORE_MODULE:
        raise InvalidProgram(
            "this is a core Wasm module, but a LIP is a component",
            "target wasm32-wasip2, or wrap the module with `wasm-tools component new`",
        )
    if wasm[4:8] != _COMPONENT:
        raise InvalidProgram(f"unknown Wasm version {wasm[4:8].hex()}", _BUILD_HINT)


def top_level_names(wasm: bytes) -> tuple[list[str], list[str]]:
    """Names of a component's imports and exports. Raises InvalidProgram where the bytes end early."""
    check_magic(wasm)
    try:
        return _walk(wasm)
    except IndexError:
        raise InvalidProgram("the component is truncated", "upload it again") from None


def _walk(wasm: bytes) -> tuple[list[str], list[str]]:
    imports: list[str] = []
    exports: list[str] = []
    position = 8
    while position < len(wasm):
        section = wasm[position]
        size, start = number(wasm, position + 1)
        position = start + size
        if position > len(wasm):
            raise InvalidProgram(
                f"the component is truncated: section {section} is {size} bytes long", "upload it again"
            )
        if section == _IMPORTS:
            imports += _imported(wasm, start)
        elif section == _EXPORTS:
            exports += _exported(wasm, start)
    return imports, exports


def number(wasm: bytes, position: int) -> tuple[int, int]:
    """An unsigned LEB128 number and the position after it. Raises InvalidProgram where the bytes end early."""
    value = shift = 0
    while True:
        if position >= len(wasm) or shift > 35:
            raise InvalidProgram("the component is truncated", "upload it again")
        byte = wasm[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _name(wasm: bytes, position: int) -> tuple[str, int]:
    """An import or export name: a kind byte, a string, and for kind 2 a version suffix."""
    kind = wasm[position]
    size, start = number(wasm, position + 1)
    end = start + size
    name = wasm[start:end].decode("utf-8", "replace")
    if kind == 2:
        suffix, end = number(wasm, end)
        end += suffix
    return name, end


def _imported(wasm: bytes, position: int) -> list[str]:
    count, position = number(wasm, position)
    names: list[str] = []
    for _ in range(count):
        name, position = _name(wasm, position)
        names.append(name)
        position = _skip_type(wasm, position)
    return names


def _exported(wasm: bytes, position: int) -> list[str]:
    count, position = number(wasm, position)
    names: list[str] = []
    for _ in range(count):
        name, position = _name(wasm, position)
        names.append(name)
        position += 2 if wasm[position] == 0 else 1  # sort (core ones have two bytes), then its index
        _, position = number(wasm, position)
        if wasm[position]:
            position = _skip_type(wasm, position + 1)
        else:
            position += 1
    return names


def _skip_type(wasm: bytes, position: int) -> int:
    """Past an external type (`externdesc`)."""
    kind = wasm[position]
    if kind == 0:  # core module: 0x00 0x11 index
        return number(wasm, position + 2)[1]
    if kind in (2, 3):  # value or type, each with a bound
        bound = wasm[position + 1]
        if kind == 3 and bound == 1:  # sub resource
            return position + 2
        return number(wasm, position + 2)[1]
    return number(wasm, position + 1)[1]
