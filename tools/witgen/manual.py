"""Library -> `docs/syscalls.md`: the ABI as a manual, one section an interface, its text from the doc comments."""

from __future__ import annotations

from collections.abc import Iterator

from .library import Library
from .tree import (
    Alias,
    Composite,
    Compound,
    Function,
    Interface,
    Named,
    Path,
    Primitive,
    Resource,
    TypeDeclaration,
    TypeExpression,
)

_INTRODUCTION = """# System calls

*Generated from `wit/` by `make gen`; do not edit.*
"""


def render(library: Library, world: str) -> str:
    """The manual of one world ('namespace:package/world')."""
    blocks = [_INTRODUCTION, *_world(library, world)]
    for interface in library.imports(world):
        blocks += _interface(library, interface)
    return "\n".join(blocks).rstrip() + "\n"


def expression(type: TypeExpression | None) -> str:
    """A type as WIT writes it."""
    if type is None:
        return "_"
    if isinstance(type, Primitive | Named):
        return type.name
    return type.kind + _arguments(type)


def _arguments(type: Compound) -> str:
    arguments = list(type.arguments)
    while arguments and arguments[-1] is None:
        arguments.pop()
    return f"<{', '.join(expression(a) for a in arguments)}>" if arguments else ""


def signature(function: Function, resource: str = "") -> str:
    """A function as WIT writes it, with the resource before its name."""
    parameters = ", ".join(f"{name}: {expression(type)}" for name, type in function.parameters)
    if function.kind == "constructor":
        return f"{resource}({parameters})"
    result = "" if function.result is None else f" -> {expression(function.result)}"
    static = "static " if function.kind == "static" else ""
    name = f"{resource}.{function.name}" if resource else function.name
    return f"{name}: {static}func({parameters}){result}"


def _anchor(interface: Interface) -> str:
    return interface.name


def _world(library: Library, world: str) -> Iterator[str]:
    package = world.partition("/")[0]
    yield f"Package `{package}@{library.versions[package]}`.\n"
    yield library.worlds[world].doc + "\n"
    yield "| interface | what it is |\n|---|---|"
    for interface in library.imports(world):
        summary = interface.doc.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        yield f"| [`{_versioned(library, interface)}`](#{_anchor(interface)}) | {summary} |"
    yield "\n## What a program exports\n"
    for function in library.worlds[world].functions.values():
        yield from _function(function)


def _versioned(library: Library, interface: Interface) -> str:
    version = library.versions[interface.package]
    return f"{interface.id}@{version}" if version else interface.id


def _interface(library: Library, interface: Interface) -> Iterator[str]:
    yield f"## {interface.name}\n"
    yield f"`{_versioned(library, interface)}`\n"
    yield interface.doc + "\n"
    yield from _uses(library, interface)
    for declaration in interface.types.values():
        yield from _type(declaration)
    if interface.functions:
        yield "### Functions\n"
    for function in interface.functions.values():
        yield from _function(function)


def _uses(library: Library, interface: Interface) -> Iterator[str]:
    by_source = dict[Path, list[str]]()
    for use in interface.uses.values():
        by_source.setdefault(use.source, []).append(use.local)
    for source, names in by_source.items():
        target = library.interface(source, interface.package, interface.file)
        listed = ", ".join(f"`{name}`" for name in names)
        yield f"Uses {listed} of [`{target.name}`](#{_anchor(target)}).\n"


def _type(declaration: TypeDeclaration) -> Iterator[str]:
    if isinstance(declaration, Alias):
        yield f"### type `{declaration.name}` = `{expression(declaration.target)}`\n"
        yield declaration.doc + "\n"
    elif isinstance(declaration, Resource):
        yield f"### resource `{declaration.name}`\n"
        yield declaration.doc + "\n"
        for function in declaration.functions:
            yield from _function(function, declaration.name)
    else:
        yield from _composite(declaration)


def _composite(declaration: Composite) -> Iterator[str]:
    yield f"### {declaration.kind} `{declaration.name}`\n"
    yield declaration.doc + "\n"
    for member in declaration.members:
        type = "" if member.type is None else expression(member.type)
        shown = f"{member.name}: {type}" if declaration.kind == "record" else member.name + (type and f"({type})")
        doc = member.doc.replace("\n", " ")
        yield f"- `{shown}`" + (f": {doc}" if doc else "")
    yield ""


def _function(function: Function, resource: str = "") -> Iterator[str]:
    yield f"#### `{signature(function, resource)}`\n"
    yield function.doc + "\n"
