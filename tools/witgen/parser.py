"""Tokens -> tree, by recursive descent: one method a grammar rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from .lexer import Token, WitError, tokens
from .tree import (
    PRIMITIVES,
    Alias,
    Composite,
    Compound,
    Document,
    Function,
    Interface,
    Member,
    Named,
    Path,
    Primitive,
    Resource,
    TypeExpression,
    Use,
    World,
)

T = TypeVar("T")

#: How many type arguments each built-in constructor takes; None: any number from one on.
_ARITY = {"list": (1, 1), "option": (1, 1), "borrow": (1, 1), "own": (1, 1), "result": (0, 2), "tuple": (1, None)}


def parse(text: str, file: str) -> Document:
    """The document in `text`; `file` is its name in messages. Raises WitError."""
    return _Parser(text, file).document()


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.tokens = list(tokens(text, file))
        self.at = 0

    # ------------------------------------------------------------------ steps
    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def advance(self) -> Token:
        token = self.token
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def sees(self, text: str) -> bool:
        return self.token.text == text and not self.token.escaped

    def takes(self, text: str) -> bool:
        if not self.sees(text):
            return False
        self.advance()
        return True

    def expect(self, text: str) -> Token:
        if not self.sees(text):
            raise self.error(f"expected `{text}`, found `{self.token.text}`")
        return self.advance()

    def word(self) -> str:
        if self.token.kind != "word":
            raise self.error(f"expected a name, found `{self.token.text}`")
        return self.advance().text

    def error(self, what: str) -> WitError:
        return WitError(self.file, self.token.line, what)

    def comma_list(self, end: str, item: Callable[[], T]) -> tuple[T, ...]:
        """Items up to `end`, a trailing comma allowed."""
        found = list[T]()
        while not self.takes(end):
            found.append(item())
            if not self.sees(end):
                self.expect(",")
        return tuple(found)

    def gates(self) -> str:
        """Skip `@since(...)` and its like; the doc comment before them."""
        doc = self.token.doc
        while self.takes("@"):
            self.word()
            if self.takes("("):
                while not self.takes(")"):
                    self.advance()
            doc = doc or self.token.doc
        return doc

    # ------------------------------------------------------------------ documents
    def document(self) -> Document:
        self.expect("package")
        package, version = self.package_name()
        self.expect(";")
        document = Document(package, version, self.file)
        while self.token.kind != "end":
            doc = self.gates()
            if self.takes("interface"):
                self.interface(document, doc)
            elif self.takes("world"):
                self.world(document, doc)
            else:
                raise self.error(f"expected an interface or a world, found `{self.token.text}`")
        return document

    def package_name(self) -> tuple[str, str]:
        namespace = self.word()
        self.expect(":")
        name = f"{namespace}:{self.word()}"
        return name, self.version()

    def version(self) -> str:
        return self.advance().text[1:].rstrip(".") if self.token.kind == "version" else ""

    def path(self) -> Path:
        """`interface` or `namespace:package/interface@version`."""
        line, first = self.token.line, self.word()
        if not self.takes(":"):
            return Path(None, first, line)
        package = f"{first}:{self.word()}"
        self.expect("/")
        path = Path(package, self.word(), line)
        self.dot_after_version()
        return path

    def dot_after_version(self) -> None:
        """`@0.2.6.{` lexes as one version with a trailing dot: give the dot back."""
        if self.token.kind == "version" and self.token.text.endswith("."):
            self.tokens[self.at] = Token("mark", ".", self.token.line)
        else:
            self.version()

    # ------------------------------------------------------------------ interfaces and worlds
    def interface(self, document: Document, doc: str) -> None:
        interface = Interface(document.package, self.word(), self.file, doc)
        document.interfaces[interface.name] = interface
        self.expect("{")
        while not self.takes("}"):
            self.interface_item(interface)

    def interface_item(self, interface: Interface) -> None:
        doc = self.gates()
        keyword = "" if self.token.escaped else self.token.text
        is_function = self.tokens[self.at + 1].text == ":"
        if is_function:
            function = self.function(doc, "free")
            self.once(interface.functions, function.name, function)
        elif keyword == "use":
            self.use(interface)
        elif keyword == "type":
            declaration = self.alias(doc)
            self.once(interface.types, declaration.name, declaration)
        elif keyword in ("record", "variant", "enum", "flags"):
            composite = self.composite(doc)
            self.once(interface.types, composite.name, composite)
        elif keyword == "resource":
            resource = self.resource(doc)
            self.once(interface.types, resource.name, resource)
        else:
            raise self.error(f"expected a type or a function, found `{self.token.text}`")

    def once(self, table: dict[str, T], name: str, value: T) -> None:
        if name in table:
            raise self.error(f"`{name}` is declared twice")
        table[name] = value

    def use(self, interface: Interface) -> None:
        self.expect("use")
        source = self.path()
        self.expect(".")
        self.expect("{")
        for name, local in self.comma_list("}", self.used_name):
            self.once(interface.uses, local, Use(source, name, local))
        self.expect(";")

    def used_name(self) -> tuple[str, str]:
        name = self.word()
        return name, self.word() if self.takes("as") else name

    def world(self, document: Document, doc: str) -> None:
        world = World(self.word(), doc)
        document.worlds[world.name] = world
        self.expect("{")
        while not self.takes("}"):
            self.world_item(world)

    def world_item(self, world: World) -> None:
        doc = self.gates()
        exported = self.takes("export")
        if not exported:
            self.expect("import")
        if exported and self.tokens[self.at + 1].text == ":" and self.tokens[self.at + 2].text == "func":
            function = self.function(doc, "free")
            self.once(world.functions, function.name, function)
            return
        (world.exports if exported else world.imports).append(self.path())
        self.expect(";")

    # ------------------------------------------------------------------ types
    def alias(self, doc: str) -> Alias:
        self.expect("type")
        name = self.word()
        self.expect("=")
        target = self.type()
        self.expect(";")
        return Alias(name, target, doc)

    def composite(self, doc: str) -> Composite:
        kinds: dict[str, Literal["record", "variant", "enum", "flags"]]
        kinds = {"record": "record", "variant": "variant", "enum": "enum", "flags": "flags"}
        kind = kinds[self.word()]
        name = self.word()
        self.expect("{")
        member = {"record": self.record_field, "variant": self.variant_case}.get(kind, self.plain_case)
        return Composite(name, kind, self.comma_list("}", member), doc)

    def record_field(self) -> Member:
        doc, name = self.token.doc, self.word()
        self.expect(":")
        return Member(name, self.type(), doc)

    def variant_case(self) -> Member:
        doc, name, payload = self.token.doc, self.word(), None
        if self.takes("("):
            payload = self.type()
            self.expect(")")
        return Member(name, payload, doc)

    def plain_case(self) -> Member:
        doc = self.token.doc
        return Member(self.word(), None, doc)

    def resource(self, doc: str) -> Resource:
        self.expect("resource")
        name = self.word()
        functions = dict[str, Function]()
        if not self.takes(";"):
            self.expect("{")
            while not self.takes("}"):
                function = self.resource_function(name)
                self.once(functions, function.name, function)
        return Resource(name, tuple(functions.values()), doc)

    def resource_function(self, resource: str) -> Function:
        doc = self.gates()
        if self.sees("constructor") and self.tokens[self.at + 1].text == "(":
            line = self.advance().line
            parameters = self.parameters()
            self.expect(";")
            return Function("constructor", "constructor", parameters, Named(resource, line), doc)
        return self.function(doc, "method")

    def function(self, doc: str, kind: Literal["free", "method"]) -> Function:
        name = self.word()
        self.expect(":")
        static = kind == "method" and self.takes("static")
        self.expect("func")
        parameters = self.parameters()
        result = self.type() if self.takes("->") else None
        self.expect(";")
        return Function(name, "static" if static else kind, parameters, result, doc)

    def parameters(self) -> tuple[tuple[str, TypeExpression], ...]:
        self.expect("(")
        return self.comma_list(")", self.parameter)

    def parameter(self) -> tuple[str, TypeExpression]:
        name = self.word()
        self.expect(":")
        return name, self.type()

    def type(self) -> TypeExpression:
        escaped, line, name = self.token.escaped, self.token.line, self.word()
        if escaped or (name not in PRIMITIVES and name not in _ARITY):
            return Named(name, line)
        if name in PRIMITIVES:
            return Primitive(name)
        arguments = self.comma_list(">", self.type_or_nothing) if self.takes("<") else ()
        least, most = _ARITY[name]
        if len(arguments) < least or (most is not None and len(arguments) > most):
            raise self.error(f"`{name}` takes {least} to {most or 'any number of'} types, found {len(arguments)}")
        return Compound(name, (*arguments, None, None)[:2] if name == "result" else arguments)

    def type_or_nothing(self) -> TypeExpression | None:
        return None if self.takes("_") else self.type()
