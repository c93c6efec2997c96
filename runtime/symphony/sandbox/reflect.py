"""A component's own import and export types as plain tuples (`layout.Type`).

Resources are named after the first interface in which they appear, without its version: `'symphony:lip/kvfs#kv-file'`.
The work is bounded: types that would be larger than `param.MAX_TYPE_NODES` when written out are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from wasmtime import Engine
from wasmtime.component import Component, ComponentInstanceType, FuncType, ResourceType

from symphony import param
from symphony.errors import InvalidProgram
from symphony.sandbox import abi
from symphony.sandbox.layout import SCALARS, Type

Signature = tuple[tuple[tuple[str, Type], ...], Type | None]
"""(parameters as (name, type), result)"""


@dataclass(frozen=True, slots=True)
class ImportedInterface:
    """One imported interface. `name` has the version, resource identities and function keys do not."""

    name: str
    resources: tuple[tuple[str, str], ...]
    """(name, identity)"""
    functions: tuple[tuple[str, Signature], ...]

    @property
    def base(self) -> str:
        return self.name.split("@")[0]


def built_for(imports: Iterable[ImportedInterface]) -> str:
    """Of which versions of our interfaces a component knows, to be added to a hint where it does not fit."""
    versions = {name.partition("@")[2] for name in (i.name for i in imports) if name.startswith("symphony:lip/")}
    return f"; it was built for symphony:lip {', '.join(sorted(versions))}" if versions else ""


class Reflector:
    """Reads one component. Keeps every reflected resource type alive: identities are compared by address."""

    def __init__(self, engine: Engine, component: Component, known: Callable[[str], bool]) -> None:
        """`known(key)` tells whether a `symphony:` function exists: others are refused before their types are read."""
        self._engine = engine
        self._type = component.type
        self._known = known
        self._resources: list[tuple[ResourceType, str]] = []
        self._budget = param.MAX_TYPE_NODES

    def imports(self) -> tuple[ImportedInterface, ...]:
        found: list[ImportedInterface] = []
        unknown: list[str] = []
        for name, extern in self._type.imports(self._engine).items():
            base = name.split("@")[0]
            if not isinstance(extern.ty, ComponentInstanceType) or not base.startswith(("symphony:", "wasi:")):
                unknown.append(name)
                continue
            exports = [(n, e.ty) for n, e in extern.ty.exports(self._engine).items()]
            resources = tuple((n, self._name(base, n, t)) for n, t in exports if isinstance(t, ResourceType))
            functions: list[tuple[str, Signature]] = []
            for n, t in exports:
                if isinstance(t, FuncType):
                    if base.startswith("symphony:") and not self._known(f"{base}#{n}"):
                        unknown.append(f"{base}#{n}")
                        continue
                    functions.append((n, self.signature(t, f"{base}#{n}")))
            found.append(ImportedInterface(name, resources, tuple(functions)))
        if unknown:
            raise InvalidProgram(
                f"the component imports what this host does not offer: {', '.join(unknown[:10])}",
                f"imports come from `symphony:lip` (see docs/syscalls.md) and WASI 0.2{built_for(found)}",
            )
        return tuple(found)

    def export(self, name: str) -> Any:
        """The type of a top-level export, or None."""
        extern = self._type.exports(self._engine).get(name)
        return None if extern is None else extern.ty

    def signature(self, function: FuncType, name: str) -> Signature:
        if abi.func_type_async(abi.address(function.ptr())):
            raise InvalidProgram(
                f"{name} is declared `async`, which this host does not support",
                "declare it as a plain function; waiting goes through wasi:io/poll",
            )
        parameters = tuple((n, self._reflect(t)) for n, t in function.params)
        result = function.result
        return parameters, None if result is None else self._reflect(result)

    def _name(self, base: str, name: str, resource: ResourceType) -> str:
        """The identity of a resource; where it is first seen it gets one."""
        identity = self._identity(resource)
        if identity is None:
            identity = f"{base}#{name}"
            self._resources.append((resource, identity))
        return identity

    def _identity(self, resource: ResourceType) -> str | None:
        mine = abi.address(resource.ptr())
        for other, identity in self._resources:
            if abi.resource_type_equal(abi.address(other.ptr()), mine):
                return identity
        return None

    def _reflect(self, of: Any) -> Type:
        self._spend(1)
        kind = type(of).__name__
        if kind.lower() in SCALARS or kind == "String":
            return (kind.lower(),)
        if kind == "ListType":
            return ("list", self._reflect(of.element))
        if kind == "RecordType":
            return ("record", tuple((n, self._reflect(t)) for n, t in of.fields))
        if kind == "TupleType":
            return ("tuple", tuple(self._reflect(t) for t in of.elements))
        if kind == "VariantType":
            cases = of.cases
            self._spend(len(cases))
            return ("variant", tuple((n, self._maybe(t)) for n, t in cases))
        if kind in ("EnumType", "FlagsType"):
            names = tuple(of.names)
            self._spend(len(names))
            return (kind[:-4].lower(), names)
        if kind == "OptionType":
            return ("option", self._reflect(of.payload))
        if kind == "ResultType":
            return ("result", self._maybe(of.ok), self._maybe(of.err))
        if kind in ("OwnType", "BorrowType"):
            return (kind[:-4].lower(), self._identity(of.ty) or "unknown resource")
        raise InvalidProgram(f"the component's imports use the type {kind}, which is not supported")

    def _spend(self, nodes: int) -> None:
        self._budget -= nodes
        if self._budget < 0:
            raise InvalidProgram(f"the component's import types are larger than {param.MAX_TYPE_NODES} nodes")

    def _maybe(self, of: Any) -> Type | None:
        return None if of is None else self._reflect(of)
