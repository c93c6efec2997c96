"""Binds a component's imports to handlers, by reflection and by name without versions.

wasmtime does not check the types of host functions that are defined dynamically: a component that declares another type
for a name we offer would have its bytes read as the wrong thing. So every import is compared, type by type, with the
reference signatures before it is linked: those of today, and those of released versions that differ from them. WASI
functions without a reference get a typed fallback, read by their own declaration.
Linkages are shared by components with equal imports. Knows nothing of running instances.
"""

from __future__ import annotations

import hashlib
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from wasmtime import Engine
from wasmtime.component import Linker as WasmtimeLinker
from wasmtime.component import ResourceType

from symphony.errors import InvalidProgram, SymphonyError
from symphony.sandbox import abi
from symphony.sandbox.codec import Codec, CodecError, Writer
from symphony.sandbox.former import widened
from symphony.sandbox.layout import HandleTable, Type, is_error_record
from symphony.sandbox.reflect import ImportedInterface, Signature, built_for
from symphony.syscall import wasi
from symphony.syscall.values import Err, Handler


class Binding:
    """One import of one linkage: how to read its arguments, who answers, how to write the answer."""

    __slots__ = ("handler", "key", "read", "write", "write_error")

    def __init__(self, key: str, handler: Handler, read: Callable[[int, int, HandleTable], tuple[Any, ...]]) -> None:
        self.key = key
        self.handler = handler
        self.read = read
        self.write: Writer | None = None
        """None: the function has no result."""
        self.write_error: Callable[[int, SymphonyError, int, HandleTable], None] | None = None
        """None: the result cannot carry an error; one that is raised ends the guest."""

    def answers(self, result: Type | None, codec: Codec) -> None:
        """Set up the writers for a result of this type (`syscall.values.Handler` has the conventions)."""
        if result is None:
            return
        if result[0] == "result" and is_error_record(result[2]):
            self.write = codec.case_writer(result, "ok")
            self.write_error = codec.case_writer(result, "err")
            return
        self.write = write = codec.writer(result)
        if result[0] == "option" and result[1][0] == "result" and is_error_record(result[1][2]):
            self.write_error = lambda slot, error, context, handles: write(slot, Err(error), context, handles)


class Linkage:
    """A filled wasmtime linker; lives as long as a program that uses it."""

    __slots__ = ("__weakref__", "address", "linker", "resource_types")

    def __init__(self, linker: WasmtimeLinker, resource_types: list[ResourceType]) -> None:
        self.linker = linker
        self.address = abi.address(linker.ptr())
        self.resource_types = resource_types


class Linker:
    """All linkages of one sandbox. Fills `bindings`: the number that wasmtime hands to the callback -> its binding."""

    def __init__(
        self,
        engine: Engine,
        handlers: Mapping[str, Handler],
        reference: Mapping[str, Signature],
        former: Mapping[str, tuple[Signature, ...]],
        bindings: dict[int, Binding],
        on_call: Any,
        on_drop: Any,
    ) -> None:
        self._engine = engine
        self._handlers = handlers
        self._reference = reference
        self._former = former
        self._on_call = on_call
        self._on_drop = on_drop
        known = sorted(_resources(tuple(reference.values())))
        self._type_numbers = {identity: i for i, identity in enumerate(known, start=1)}
        self._codec = Codec(self._type_numbers)
        self._linkages: weakref.WeakValueDictionary[bytes, Linkage] = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)
        self._bindings = bindings

    def offers(self, key: str) -> bool:
        return key in self._reference

    def link(self, imports: tuple[ImportedInterface, ...]) -> Linkage:
        """Raises InvalidProgram where an import differs from what this host offers."""
        self._check(imports)
        digest = hashlib.sha256(repr(imports).encode()).digest()
        linkage = self._linkages.get(digest)
        if linkage is None:
            linkage = self._linkages[digest] = self._make(imports)
        return linkage

    def _check(self, imports: tuple[ImportedInterface, ...]) -> None:
        differing: list[str] = []
        for interface in imports:
            for name, signature in interface.functions:
                key = f"{interface.base}#{name}"
                offered = self._reference.get(key)
                if offered is not None and signature not in (offered, *self._former.get(key, ())):
                    differing.append(f"{key} ({_difference(signature, offered)})")
        if differing:
            raise InvalidProgram(
                f"the component declares imports with other types than this host's: {'; '.join(differing[:10])}",
                "build it against the WIT files of this host (`symphony build`, or wit/ in the repository)"
                f"{built_for(imports)}",
            )

    def _make(self, imports: tuple[ImportedInterface, ...]) -> Linkage:
        linker = WasmtimeLinker(self._engine)
        numbers = dict(self._type_numbers)
        resource_types: list[ResourceType] = []
        foreign = Codec(numbers)  # for what the reference lacks: goes away with the linkage
        mine: list[int] = []
        with linker.root() as root:
            for interface in imports:
                with root.add_instance(interface.name) as instance:
                    place = abi.address(instance.ptr())
                    for name, identity in interface.resources:
                        kind = ResourceType.host(numbers.setdefault(identity, len(numbers) + 1))
                        resource_types.append(kind)
                        raw = name.encode()
                        pointer = abi.address(kind.ptr())
                        _ensure(abi.add_resource(place, raw, len(raw), pointer, self._on_drop, None, None))
                    for name, signature in interface.functions:
                        number = next(self._numbers)
                        self._bindings[number] = self._bind(f"{interface.base}#{name}", signature, foreign)
                        mine.append(number)
                        raw = name.encode()
                        _ensure(abi.add_func_async(place, raw, len(raw), self._on_call, number, None))
        linkage = Linkage(linker, resource_types)
        weakref.finalize(linkage, _forget, self._bindings, mine)
        return linkage

    def _bind(self, key: str, signature: Signature, foreign: Codec) -> Binding:
        parameters, result = signature
        if key in self._reference and key in self._handlers:
            known = zip(parameters, self._reference[key][0], strict=True)
            types = tuple(widened(declared, offered) for (_, declared), (_, offered) in known)
            binding = Binding(key, self._handlers[key], self._codec.arguments(types))
            binding.answers(result, self._codec)
            return binding
        handler, result = wasi.fallback(key, result)
        types = tuple(t for _, t in parameters)
        try:
            # A borrow that is not taken would trap the guest at its end; the rest needs no reading.
            binding = Binding(key, handler, foreign.arguments(types) if _resources(types) else _nothing)
            binding.answers(result, foreign)
        except (CodecError, KeyError) as error:
            raise InvalidProgram(f"{key} has types that this host cannot serve: {error}") from None
        return binding


def _nothing(address: int, context: int, handles: HandleTable) -> tuple[Any, ...]:
    """Reads no argument: safe whatever their types are."""
    return ()


def _forget(bindings: dict[int, Binding], numbers: list[int]) -> None:
    for number in numbers:
        bindings.pop(number, None)


def _ensure(error: int | None) -> None:
    if error:
        raise InvalidProgram(f"the component's imports cannot be linked: {abi.take_error(error)}")


def _resources(types: Any) -> set[str]:
    """Identities of all resources in nested types."""

    def walk(part: Any) -> Iterator[str]:
        if isinstance(part, tuple):
            if len(part) == 2 and part[0] in ("own", "borrow") and isinstance(part[1], str):
                yield part[1]
            else:
                for inner in part:
                    yield from walk(inner)

    return set(walk(types))


def _difference(declared: Signature, offered: Signature) -> str:
    """Where two signatures part, for a person."""
    if len(declared[0]) != len(offered[0]):
        return f"{len(declared[0])} parameters instead of {len(offered[0])}"
    for (name, mine), (expected, theirs) in zip(declared[0], offered[0], strict=True):
        if (name, mine) != (expected, theirs):
            return f"parameter `{expected}`" if name == expected else f"parameter `{name}` instead of `{expected}`"
    return "the result"
