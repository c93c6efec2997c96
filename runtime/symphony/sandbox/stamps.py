"""Writers for small answers that come again and again in the same shape: put new numbers into an earlier one, copy it.

Building a value takes a C call for every list, record and box in it; a copy takes one for all of them. So the answer to
a token, a list of one distribution, costs half. A shape is which options are full and how long the numeric lists are.
Only for values made of numbers, records, options, numeric lists, and lists of one record: nothing in them belongs to
anybody. Everything else is left to `writers`. See `codec`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from symphony.sandbox import abi
from symphony.sandbox.layout import (
    ENTRY_BYTES,
    ENTRY_VALUE,
    NUMBERS,
    SCALARS,
    SHORT_LIST,
    VALUE_BYTES,
    HandleTable,
    Type,
    record_class,
    scalar_packers,
)
from symphony.sandbox.source import Lines, Source, indent

Write = Callable[[int, Any, int, HandleTable], None]
MAX_STAMPS = 64


class Stamps(dict[tuple[int, ...], list[int]]):
    """Shape -> a value of that shape, made by `build` when the shape was first met: the address of each of its numbers
    (of the first one of a list; 0 where an option is none), then its own."""

    def __init__(self, build: Write, locate: Callable[[int, Any], list[int]]) -> None:
        super().__init__()
        self._build = build
        self._locate = locate
        self._cells: list[Any] = []

    def make(self, shape: tuple[int, ...], address: int, value: Any, context: int, handles: HandleTable) -> None:
        """Write the value the ordinary way; keep a copy unless it is large, or there are too many."""
        self._build(address, value, context, handles)
        if len(self) < MAX_STAMPS and max(shape, default=0) <= SHORT_LIST:
            cell = (ctypes.c_uint64 * (VALUE_BYTES // 8))()
            self._cells.append(cell)
            stamp = ctypes.addressof(cell)
            abi.val_clone(address, stamp)
            self[shape] = [*self._locate(stamp, value), stamp]

    def __del__(self) -> None:
        for places in self.values():
            abi.val_delete(places[-1])


def stampable(of: Type) -> bool:
    kind = of[0]
    if kind in SCALARS:
        return kind != "char"
    if kind == "list":
        return of[1][0] in NUMBERS or (of[1][0] == "record" and stampable(of[1]))
    if kind == "option":
        return of[1][0] != "option" and stampable(of[1])
    return kind == "record" and all(stampable(t) for _, t in of[1])


class StampEmitter:
    """Emits one writer. Of what it emits, `shape` lines find the stamp, `fill` lines change its numbers, and `locate`
    lines, used once a stamp, say where those are."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._locate: Lines = []
        self._places = 0

    def result_ok(self, of: Type, build: Write) -> Any:
        """A writer of the ok case of a `result` whose payload is `of`; `build` is the ordinary one."""
        source = self._source
        shape: Lines = []
        fill: Lines = []
        parts = self._value(shape, fill, of, "v", "Q(M, a+16)[0]")
        locate = source.function("a, v", ["p = []", *_with(shape, "return p"), *self._locate, "return p"])
        stamps, otherwise = source.constant(Stamps(build, locate)), source.constant(build)
        find = [
            f"k = ({''.join(part + ', ' for part in parts)})",
            f"s = {stamps}.get(k)",
            f"if s is None: return {stamps}.make(k, a, v, ctx, h)",
        ]
        plain = f"return {otherwise}(a, v, ctx, h)"
        return source.function("a, v, ctx, h", [*_with(shape, plain), *find, *fill, "val_clone(s[-1], a)"])

    def _value(self, shape: Lines, fill: Lines, of: Type, value: str, place: str) -> list[str]:
        """`value`, `place`: expressions of the value and its address. Returns what tells its shape."""
        emit = {"list": self._list, "option": self._option, "record": self._record}.get(of[0], self._scalar)
        return emit(shape, fill, of, value, place)

    def _place(self, address: str) -> str:
        """One more number at this address; the expression of it in `fill`."""
        self._locate.append(f"p.append({address})")
        self._places += 1
        return f"s[{self._places - 1}]"

    def _scalar(self, shape: Lines, fill: Lines, of: Type, value: str, place: str) -> list[str]:
        pack = self._source.constant(scalar_packers[of[0]])
        fill.append(f"{pack}(M, {self._place(place)}, {SCALARS[of[0]][0]}, {value})")
        return []

    def _list(self, shape: Lines, fill: Lines, of: Type, value: str, place: str) -> list[str]:
        items, count, data, item = (self._source.fresh() for _ in range(4))
        shape += [f"{items} = {value}", f"{count} = len({items})"]
        if of[1][0] == "record":
            shape += [f"if {count} != 1: OTHERWISE"]
            return self._value(shape, fill, of[1], f"{items}[0]", f"Q(M, {place}+16)[0]")
        pack, kind = self._source.constant(scalar_packers[of[1][0]]), SCALARS[of[1][0]][0]
        fill += [
            f"{data} = {self._place(f'Q(M, {place}+16)[0]')}",
            f"if {count} == 1: {pack}(M, {data}, {kind}, {items}[0])",
            "else:",
            f"    for {item} in {items}: {pack}(M, {data}, {kind}, {item}); {data} += {VALUE_BYTES}",
        ]
        return [count]

    def _record(self, shape: Lines, fill: Lines, of: Type, value: str, place: str) -> list[str]:
        record, data = self._source.fresh(), self._source.fresh()
        fields = tuple(_field(of, i) for i in range(len(of[1])))
        names = [self._source.fresh() for _ in fields]
        # A guest's record may have trailing options that this host does not know yet: they are none.
        got = [
            f"getattr({record}, {field!r}, None)" if t[0] == "option" else f"{record}.{field}"
            for field, (_, t) in zip(fields, of[1], strict=True)
        ]
        shape += [
            f"{record} = {value}",
            f"if {self._source.constant(_Tuples(fields))}[{record}.__class__]: {', '.join(names)}, = {record}",
            f"else: {', '.join(names)}, = {', '.join(got)},",
        ]
        self._locate.append(f"{data} = Q(M, {place}+16)[0]")
        parts: list[str] = []
        for i, (name, (_, t)) in enumerate(zip(names, of[1], strict=True)):
            parts += self._value(shape, fill, t, name, f"{data}+{ENTRY_BYTES * i + ENTRY_VALUE}")
        return parts

    def _option(self, shape: Lines, fill: Lines, of: Type, value: str, place: str) -> list[str]:
        item, full = self._source.fresh(), self._source.fresh()
        inner_shape: Lines = []
        inner_fill: Lines = []
        outer, self._locate, before = self._locate, [], self._places
        parts = self._value(inner_shape, inner_fill, of[1], item, f"Q(M, {place}+8)[0]")
        inner, self._locate = self._locate, outer
        shape += [f"{item} = {value}", f"{full} = {item} is not None"]
        if parts:
            shape.append(f"{' = '.join(parts)} = -1")
        if inner_shape:
            shape += [f"if {full}:", *indent(inner_shape)]
        fill += [f"if {full}:", *indent(inner_fill)]
        outer += [f"if {full}:", *indent(inner), f"else: p += {[0] * (self._places - before)}"]
        return [full, *parts]


class _Tuples(dict[type, bool]):
    """class -> whether its objects are tuples of exactly these fields, in this order: read at once, not one by one."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        super().__init__()
        self._fields = fields

    def __missing__(self, kind: type) -> bool:
        found = self[kind] = issubclass(kind, tuple) and getattr(kind, "_fields", None) == self._fields
        return found


def _with(shape: Lines, otherwise: str) -> Lines:
    """The lines, with what to do where a list of records has not one."""
    return [line.replace("OTHERWISE", otherwise) for line in shape]


def _field(of: Type, index: int) -> str:
    """What the field is called in Python."""
    return record_class(tuple(name for name, _ in of[1]))._fields[index]  # type: ignore[attr-defined]
