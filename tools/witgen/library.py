"""All documents of `wit/` together: interfaces by id, and every name resolved to the declaration behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

from .lexer import WitError
from .parser import parse
from .tree import Document, Interface, Path, TypeDeclaration, World


@dataclass(frozen=True, slots=True)
class Definition:
    """A type declaration and the interface that defines it, which may not be the one that uses it."""

    interface: Interface
    declaration: TypeDeclaration

    @property
    def id(self) -> str:
        """'namespace:package/interface#name', no version."""
        return f"{self.interface.id}#{self.declaration.name}"


class Library:
    """The interfaces of a package and of what it depends on, in the order in which its world imports them."""

    def __init__(self, documents: list[Document]) -> None:
        self.interfaces: dict[str, Interface] = {}
        self.worlds: dict[str, World] = {}
        self.versions: dict[str, str] = {}
        for document in documents:
            self._add(document)
        for interface in self.interfaces.values():
            for name in interface.uses:
                self.define(interface, name, 0)

    def _add(self, document: Document) -> None:
        known = self.versions.setdefault(document.package, document.version)
        if known != document.version:
            raise WitError(document.file, 1, f"package {document.package} is also there as {known}")
        for interface in document.interfaces.values():
            if interface.id in self.interfaces:
                raise WitError(document.file, 1, f"interface {interface.id} is declared twice")
            self.interfaces[interface.id] = interface
        for world in document.worlds.values():
            self.worlds[f"{document.package}/{world.name}"] = world

    def interface(self, path: Path, package: str, file: str) -> Interface:
        """The interface that `path` means in a file of `package`."""
        found = self.interfaces.get(f"{path.package or package}/{path.interface}")
        if found is None:
            raise WitError(file, path.line, f"no interface {path.package or package}/{path.interface}")
        return found

    def define(self, interface: Interface, name: str, line: int) -> Definition:
        """The definition behind `name` as written in `interface`; follows `use`, not aliases."""
        if name in interface.types:
            return Definition(interface, interface.types[name])
        use = interface.uses.get(name)
        if use is None:
            raise WitError(interface.file, line, f"no type `{name}` in interface {interface.id}")
        source = self.interface(use.source, interface.package, interface.file)
        return self.define(source, use.name, use.source.line)

    def imports(self, world: str) -> Iterator[Interface]:
        """The interfaces that a world ('namespace:package/world') imports, in its order."""
        package = world.partition("/")[0]
        for path in self.worlds[world].imports:
            yield self.interface(path, package, "the world")


def load(directory: FilePath) -> Library:
    """Read `directory/*.wit` and `directory/deps/*/*.wit`. Raises WitError, OSError."""
    files = sorted(directory.glob("*.wit")) + sorted(directory.glob("deps/*/*.wit"))
    return Library([parse(file.read_text("utf-8"), str(file.relative_to(directory))) for file in files])
