"""Library -> `guest_sdk/python/lip/testing/_records.py`: the ABI's records, variants, enums and flags, as classes.

They are named and built as componentize-py's bindings are inside Wasm (`test_guest_python_testing.py` compares), and so
stand in for these where there is no Wasm. Functions and resources are not here: those the test kit plays itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from keyword import iskeyword

from .library import Library
from .tree import Composite, Interface, Member

HEADER = '''"""The ABI's records, variants, enums and flags, one class an interface.

Generated from `wit/` by `make gen`; do not edit. They are what componentize-py makes of `wit/` inside Wasm.
"""

# ruff: noqa: N801
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag
from typing import Any
'''


def render(library: Library, package: str) -> str:
    """The module's text, for the interfaces of a package."""
    chosen = [interface for interface in library.interfaces.values() if interface.package == package]
    return HEADER + "".join(f"\n\n{_interface(interface)}" for interface in chosen)


def _interface(interface: Interface) -> str:
    declared = [type for type in interface.types.values() if isinstance(type, Composite)]
    body = "\n\n".join("\n".join(f"    {line}" if line else "" for line in _type(type)) for type in declared)
    return f"class {_snake(interface.name)}:\n{body or '    pass'}\n"


def _type(type: Composite) -> Iterator[str]:
    name = _camel(type.name)
    if type.kind == "record":
        yield from _record(name, [_snake(member.name) for member in type.members])
    elif type.kind == "variant":
        yield from _variant(name, type.members)
    else:
        yield f"class {name}({'Enum' if type.kind == 'enum' else 'Flag'}):"
        for index, member in enumerate(type.members):
            yield f"    {_snake(member.name).upper()} = {index if type.kind == 'enum' else 1 << index}"


def _record(name: str, fields: list[str]) -> Iterator[str]:
    yield "@dataclass"
    yield f"class {name}:"
    yield from (f"    {field}: Any" for field in fields)
    if not fields:
        yield "    pass"


def _variant(name: str, cases: tuple[Member, ...]) -> Iterator[str]:
    for index, case in enumerate(cases):
        if index:
            yield ""
        yield from _record(f"{name}_{_camel(case.name)}", ["value"] if case.type is not None else [])


def _camel(name: str) -> str:
    return _escaped("".join(part.capitalize() for part in name.split("-")))


def _snake(name: str) -> str:
    return _escaped(name.replace("-", "_"))


def _escaped(name: str) -> str:
    return f"{name}_" if iskeyword(name) else name
