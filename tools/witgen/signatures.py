"""Library -> `runtime/symphony/syscall/signatures.py`: what each import looks like, in the host's own terms.

A type is a nested tuple, the same that the sandbox makes of a component's reflected types, so that comparing the two
is `==`: ("u32",), ("list", T), ("option", T), ("result", T | None, E | None), ("tuple", (T, ...)),
("record", ((name, T), ...)), ("variant", ((case, T | None), ...)), ("enum", (name, ...)), ("flags", (name, ...)),
("own", id), ("borrow", id) with the resource's id in its *defining* interface. Aliases are resolved.
"""

from __future__ import annotations

from .layout import Code, layout
from .library import Definition, Library
from .tree import Alias, Composite, Compound, Function, Interface, Named, Primitive, Resource, TypeExpression

HEADER = '''"""The signature of every import that the host offers, by WIT name without versions.

Generated from `wit/` by `make gen`; do not edit. A type is a nested tuple: ("u32",), ("list", T), ("option", T),
("result", T | None, E | None), ("tuple", (T, ...)), ("record", ((name, T), ...)), ("variant", ((case, T | None), ...)),
("enum", (name, ...)), ("flags", (name, ...)), ("own", resource), ("borrow", resource).
"""

from __future__ import annotations

from typing import Any

Type = tuple[Any, ...]
Signature = tuple[tuple[tuple[str, Type], ...], Type | None]
'''


def render(library: Library) -> str:
    """The module's text."""
    return _Writer(library).module()


def import_name(interface: Interface, function: Function, resource: Resource | None = None) -> str:
    """The function's name in the canonical ABI, such as 'symphony:lip/kvfs#[method]kv-file.fork'."""
    if resource is None:
        return f"{interface.id}#{function.name}"
    if function.kind == "constructor":
        return f"{interface.id}#[constructor]{resource.name}"
    return f"{interface.id}#[{function.kind}]{resource.name}.{function.name}"


class _Writer:
    def __init__(self, library: Library) -> None:
        self.library = library
        self.constants: dict[str, str] = {}  # name of a named type's constant -> its line(s), dependencies first

    def module(self) -> str:
        signatures = list[tuple[str, Code]]()
        resources = list[str]()
        for interface in self.library.interfaces.values():
            for declaration in interface.types.values():
                if isinstance(declaration, Resource):
                    resources.append(f"{interface.id}#{declaration.name}")
                    signatures += [self.entry(interface, f, declaration) for f in declaration.functions]
                else:
                    self.constant(Definition(interface, declaration))
            signatures += [self.entry(interface, f) for f in interface.functions.values()]
        parts = [
            HEADER,
            *self.constants.values(),
            "",
            "#: Parameters (methods begin with `self`) and result of every function.",
            "SIGNATURES: dict[str, Signature] = {",
            *(f"    {layout(name, 4)}: {layout(code, 4, len(repr(name)) + 2)}," for name, code in signatures),
            "}",
            "",
            "#: Every resource, by the id that own and borrow types carry.",
            f"RESOURCES: tuple[str, ...] = {layout(tuple(resources), 0, 29)}",
        ]
        return "\n".join(parts) + "\n"

    def entry(self, interface: Interface, function: Function, resource: Resource | None = None) -> tuple[str, Code]:
        parameters = [(name, self.type(interface, type)) for name, type in function.parameters]
        if resource is not None and function.kind == "method":
            parameters.insert(0, ("self", ("borrow", f"{interface.id}#{resource.name}")))
        result = None if function.result is None else self.type(interface, function.result)
        return import_name(interface, function, resource), (tuple(parameters), result)

    def type(self, interface: Interface, type: TypeExpression) -> Code:
        if isinstance(type, Primitive):
            return (type.name,)
        if isinstance(type, Named):
            definition = self.library.define(interface, type.name, type.line)
            is_resource = isinstance(definition.declaration, Resource)
            return ("own", definition.id) if is_resource else self.constant(definition)
        return self.compound(interface, type)

    def compound(self, interface: Interface, type: Compound) -> Code:
        if type.kind in ("own", "borrow"):
            (argument,) = type.arguments
            if not isinstance(argument, Named):
                raise ValueError(f"{interface.file}: `{type.kind}` takes a resource")
            return (type.kind, self.library.define(interface, argument.name, argument.line).id)
        arguments = tuple(None if a is None else self.type(interface, a) for a in type.arguments)
        return (type.kind, arguments) if type.kind == "tuple" else (type.kind, *arguments)

    def constant(self, definition: Definition) -> Code:
        """The name of the constant that holds a named type; defines it, and first what it is made of."""
        interface, declaration = definition.interface, definition.declaration
        package = interface.package.partition(":")[2]
        name = f"{package}_{interface.name}_{declaration.name}".replace("-", "_").upper()
        if name not in self.constants:
            code = self.declared(interface, declaration)
            self.constants[name] = f"{name}: Type = {layout(code, 0, len(name) + 9)}"
        return _Reference(name)

    def declared(self, interface: Interface, declaration: Alias | Composite | Resource) -> Code:
        if isinstance(declaration, Alias):
            return self.type(interface, declaration.target)
        if isinstance(declaration, Resource):
            raise TypeError(f"{declaration.name} is a resource: it has no structure")
        if declaration.kind in ("enum", "flags"):
            return (declaration.kind, tuple(m.name for m in declaration.members))
        members = tuple((m.name, None if m.type is None else self.type(interface, m.type)) for m in declaration.members)
        return (declaration.kind, members)


class _Reference(str):
    """A constant's name: printed bare, not quoted."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
