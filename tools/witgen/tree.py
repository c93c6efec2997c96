"""What a WIT file says, as plain data. Names are as written, in kebab-case; `library` resolves them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PRIMITIVES = frozenset(
    ("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"),
)


@dataclass(frozen=True, slots=True)
class Primitive:
    """A built-in type such as `u32`."""

    name: str


@dataclass(frozen=True, slots=True)
class Named:
    """A type by its name in the interface that it is written in."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Compound:
    """`list<T>`, `option<T>`, `result<T, E>`, `tuple<...>`, `borrow<R>` or `own<R>`; None for `_` or nothing."""

    kind: str
    arguments: tuple[TypeExpression | None, ...]


TypeExpression = Primitive | Named | Compound


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a record (always with a type), or a case of a variant, enum or flags type."""

    name: str
    type: TypeExpression | None
    doc: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function. Parameters of a method are without `self`."""

    name: str
    kind: Literal["free", "method", "static", "constructor"]
    parameters: tuple[tuple[str, TypeExpression], ...]
    result: TypeExpression | None
    doc: str


@dataclass(frozen=True, slots=True)
class Alias:
    """`type name = target`."""

    name: str
    target: TypeExpression
    doc: str


@dataclass(frozen=True, slots=True)
class Composite:
    """A record, variant, enum or flags type."""

    name: str
    kind: Literal["record", "variant", "enum", "flags"]
    members: tuple[Member, ...]
    doc: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource and its functions."""

    name: str
    functions: tuple[Function, ...]
    doc: str


TypeDeclaration = Alias | Composite | Resource


@dataclass(frozen=True, slots=True)
class Path:
    """An interface by name: `package` is None for one of the same package, else 'namespace:name'."""

    package: str | None
    interface: str
    line: int


@dataclass(frozen=True, slots=True)
class Use:
    """`use interface.{name as local}`, one object a name."""

    source: Path
    name: str
    local: str


@dataclass(slots=True)
class Interface:
    """An interface; `file` and `package` are where it is written and which package it belongs to."""

    package: str
    name: str
    file: str
    doc: str
    uses: dict[str, Use] = field(default_factory=dict[str, Use])
    types: dict[str, TypeDeclaration] = field(default_factory=dict[str, TypeDeclaration])
    functions: dict[str, Function] = field(default_factory=dict[str, Function])

    @property
    def id(self) -> str:
        """'namespace:package/interface', no version."""
        return f"{self.package}/{self.name}"


@dataclass(slots=True)
class World:
    """A world: interfaces imported and exported, and functions exported."""

    name: str
    doc: str
    imports: list[Path] = field(default_factory=list[Path])
    exports: list[Path] = field(default_factory=list[Path])
    functions: dict[str, Function] = field(default_factory=dict[str, Function])


@dataclass(slots=True)
class Document:
    """One file. `package` is 'namespace:name'; `version` may be empty."""

    package: str
    version: str
    file: str
    interfaces: dict[str, Interface] = field(default_factory=dict[str, Interface])
    worlds: dict[str, World] = field(default_factory=dict[str, World])
