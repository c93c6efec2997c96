"""Emits the source of readers: C value -> Python value. See `codec`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from symphony.sandbox.layout import (
    ENTRY_BYTES,
    ENTRY_VALUE,
    NUMBERS,
    PAYLOADS,
    SCALARS,
    VALUE_BYTES,
    CodecError,
    Type,
    list_readers,
    record_class,
    scalar_unpackers,
)
from symphony.sandbox.source import Lines, Source, indent

Emit = Callable[[Lines], str]


class ReadEmitter:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._memo: dict[Type, Any] = {}

    def reader(self, of: Type) -> Any:
        if of not in self._memo:
            lines: Lines = []
            value = self.block(lines, "a", [(0, of)])[0]
            self._memo[of] = self._source.function("a, ctx, h", [*lines, f"return {value}"])
        return self._memo[of]

    def block(self, lines: Lines, base: str, items: list[tuple[int, Type]]) -> list[str]:
        """One unpack for all values at (offset from base, type); an expression for each."""
        form, position = "<", 0
        names: list[str] = []
        parts: list[tuple[Type, list[str]]] = []
        for offset, of in items:
            payload = SCALARS[of[0]][1] if of[0] in SCALARS else self._payload(of)
            form += f"{offset + 8 - position}x{payload}"
            position = offset + 8 + struct.calcsize("<" + payload)
            mine = [self._source.fresh() for _ in payload.replace("7x", "")]
            names += mine
            parts.append((of, mine))
        if names:
            unpack = self._source.constant(struct.Struct(form).unpack_from)
            lines.append(f"{', '.join(names)}, = {unpack}(M, {base})")
        return [self._value(lines, of, mine) for of, mine in parts]

    @staticmethod
    def _payload(of: Type) -> str:
        if of[0] not in PAYLOADS:
            raise CodecError(f"values of type {of[0]} are not supported")
        return PAYLOADS[of[0]]

    def _one(self, of: Type, place: str) -> Emit:
        return lambda lines: self.block(lines, place, [(0, of)])[0]

    def _branch(self, lines: Lines, head: str, target: str, emit: Emit) -> None:
        inner: Lines = []
        value = emit(inner)
        lines += [head, *indent([*inner, f"{target} = {value}"])]

    def _value(self, lines: Lines, of: Type, v: list[str]) -> str:
        kind = of[0]
        if kind == "char":
            return f"chr({v[0]})"
        if kind in SCALARS:
            return v[0]
        return getattr(self, f"_{kind}")(lines, of, v)

    def _string(self, lines: Lines, of: Type, v: list[str]) -> str:
        return f"str(M[{v[1]}:{v[1]}+{v[0]}], 'utf-8')"

    def _enum(self, lines: Lines, of: Type, v: list[str]) -> str:
        return self._name(of[1], v)

    def _name(self, names: tuple[str, ...], v: list[str]) -> str:
        """One of a few names: found by its bytes, without making a string."""
        return f"{self._source.constant({name.encode(): name for name in names})}[raw[{v[0]}](M, {v[1]})[0]]"

    def _borrow(self, lines: Lines, of: Type, v: list[str]) -> str:
        return f"h[take_rep(ctx, {v[0]})]"

    def _own(self, lines: Lines, of: Type, v: list[str]) -> str:
        return f"h.pop(take_rep(ctx, {v[0]}))"  # the guest gave it away: the handler owns it now

    def _list(self, lines: Lines, of: Type, v: list[str]) -> str:
        element = of[1]
        if element[0] == "u8":
            return f"read_bytes({v[0]}, {v[1]})"
        if element[0] in NUMBERS:
            size = NUMBERS[element[0]].itemsize
            dtype = self._source.constant(NUMBERS[element[0]])
            one = self._source.constant(scalar_unpackers[element[0]])
            short = self._source.constant(list_readers[element[0]])
            many = f"read_numbers({v[0]}, {v[1]}, {short}, {dtype}, {8 // size}, {VALUE_BYTES // size})"
            return f"list({one}(M, {v[1]})) if {v[0]} == 1 else {many}"
        if element[0] in ("own", "borrow"):
            get = "h.pop" if element[0] == "own" else "h.__getitem__"
            places = f"range({v[1]}+8, {v[1]}+8+{VALUE_BYTES}*{v[0]}, {VALUE_BYTES})"
            return f"[{get}(take_rep(ctx, Q(M, p)[0])) for p in {places}]"
        read = self._source.constant(self.reader(element))
        return f"[{read}(p, ctx, h) for p in range({v[1]}, {v[1]}+{VALUE_BYTES}*{v[0]}, {VALUE_BYTES})]"

    def _record(self, lines: Lines, of: Type, v: list[str]) -> str:
        fields: tuple[tuple[str, Type], ...] = of[1]
        missing: tuple[str, ...] = () if len(of) == 2 else of[2]  # options that this guest does not know: see `former`
        make = self._source.constant(record_class((*(name for name, _ in fields), *missing)))
        items = [(ENTRY_BYTES * i + ENTRY_VALUE, t) for i, (_, t) in enumerate(fields)]
        values = [*self.block(lines, v[1], items), *("None" for _ in missing)]
        return f"new({make}, ({', '.join(values)},))"  # without the class' own __new__

    def _tuple(self, lines: Lines, of: Type, v: list[str]) -> str:
        values = self.block(lines, v[1], [(VALUE_BYTES * i, t) for i, t in enumerate(of[1])])
        return f"({', '.join(values)},)"

    def _option(self, lines: Lines, of: Type, v: list[str]) -> str:
        result, inner = self._source.fresh(), self._one(of[1], v[0])
        nested: Emit = lambda out: f"Some({inner(out)})"  # noqa: E731
        lines.append(f"{result} = None")
        self._branch(lines, f"if {v[0]}:", result, nested if of[1][0] == "option" else inner)
        return result

    def _result(self, lines: Lines, of: Type, v: list[str]) -> str:
        result = self._source.fresh()
        for head, box, payload in ((f"if {v[0]}:", "Ok", of[1]), ("else:", "Err", of[2])):

            def emit(out: Lines, box: str = box, payload: Type | None = payload) -> str:
                return f"{box}({self._one(payload, v[1])(out) if payload else ''})"

            self._branch(lines, head, result, emit)
        return result

    def _variant(self, lines: Lines, of: Type, v: list[str]) -> str:
        case, result = self._source.fresh(), self._source.fresh()
        lines += [f"{case} = {self._name(tuple(name for name, _ in of[1]), v)}", f"{result} = ({case}, None)"]
        for name, payload in of[1]:
            if payload:

                def emit(out: Lines, payload: Type = payload) -> str:
                    return f"({case}, {self._one(payload, v[2])(out)})"

                self._branch(lines, f"if {case} == {name!r}:", result, emit)
        return result

    def _flags(self, lines: Lines, of: Type, v: list[str]) -> str:
        return (
            f"frozenset([str(M[d:d+n], 'utf-8') for n, d in [QQ(M, p) for p in range({v[1]}, {v[1]}+16*{v[0]}, 16)]])"
        )
