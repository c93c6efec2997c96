"""Emits the source of writers: Python value -> C value. See `codec`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symphony.sandbox.layout import (
    ENTRY_BYTES,
    ENTRY_VALUE,
    KINDS,
    NUMBERS,
    SCALARS,
    VALUE_BYTES,
    CodecError,
    RecordTemplate,
    Type,
    is_error_record,
    record_class,
    scalar_packers,
)
from symphony.sandbox.source import Lines, Source, indent


def _names(of: tuple[str, ...]) -> dict[str, bytes]:
    return {name: name.encode() for name in of}


class WriteEmitter:
    def __init__(self, source: Source, type_numbers: Mapping[str, int]) -> None:
        self._source = source
        self._type_numbers = type_numbers
        self._memo: dict[Type, Any] = {}
        self._templates: dict[tuple[tuple[str, bool], ...], RecordTemplate] = {}

    def writer(self, of: Type) -> Any:
        if of not in self._memo:
            lines: Lines = []
            self.put(lines, of, "a", "v")
            self._memo[of] = self._source.function("a, v, ctx, h", lines)
        return self._memo[of]

    def put(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        """Lines that store expression `value` at address expression `slot`."""
        kind = of[0]
        if kind in SCALARS:
            pack = self._source.constant(scalar_packers[kind])
            number = f"code_point({value})" if kind == "char" else value
            lines.append(f"{pack}(M, {slot}, {SCALARS[kind][0]}, {number})")
            return
        emit = getattr(self, f"_{kind}", None)
        if emit is None:
            raise CodecError(f"values of type {kind} cannot be returned to a guest")
        emit(lines, of, slot, value)

    def result_case(self, lines: Lines, of: Type, slot: str, value: str, ok: bool) -> None:
        """The whole of a result that is known to be ok (or not); `value` is its payload."""
        pointer = self._box(lines, of[1] if ok else of[2], value)
        lines.append(f"result(M, {slot}, {KINDS['result']}, {ok}, {pointer})")

    def _box(self, lines: Lines, of: Type | None, value: str) -> str:
        """Lines that make a new value; the expression of its address (0 for no payload)."""
        if of is None:
            return "0"
        place = self._source.fresh()
        lines.append(f"{place} = val_new(Z)")
        self.put(lines, of, place, value)
        return place

    def _some(self, of: Type, slot: str, value: str) -> Lines:
        """The body of a branch that stores a full option."""
        lines: Lines = []
        pointer = self._box(lines, of[1], f"{value}.value" if of[1][0] == "option" else value)
        return indent([*lines, f"pointer(M, {slot}, {KINDS['option']}, {pointer})"])

    def _string(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        raw = self._source.fresh()
        lines += [f"{raw} = encode({value})", f"BV({slot}+8, len({raw}), {raw})", f"M[{slot}] = {KINDS['string']}"]

    def _enum(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        raw = self._source.fresh()
        lines += [
            f"{raw} = {self._source.constant(_names(of[1]))}[{value}]",
            f"BV({slot}+8, len({raw}), {raw})",
            f"M[{slot}] = {KINDS['enum']}",
        ]

    def _own(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        own = f"make_own(ctx, h.add({value}), {self._type_numbers[of[1]]})"
        lines.append(f"pointer(M, {slot}, {KINDS['own']}, {own})")

    def _list(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        element = of[1]
        if element[0] in NUMBERS:
            dtype = self._source.constant(NUMBERS[element[0]])
            pack = self._source.constant(scalar_packers[element[0]])
            lines.append(f"write_numbers({slot}, {value}, {dtype}, {SCALARS[element[0]][0]}, {pack})")
            lines.append(f"M[{slot}] = {KINDS['list']}")
            return
        write = self._source.constant(self.writer(element))
        items, data, item = self._source.fresh(), self._source.fresh(), self._source.fresh()
        lines += [
            f"{items} = {value}",
            f"LN({slot}+8, len({items}))",
            f"{data} = Q(M, {slot}+16)[0]",
            f"for {item} in {items}: {write}({data}, {item}, ctx, h); {data} += {VALUE_BYTES}",
            f"M[{slot}] = {KINDS['list']}",
        ]

    def _record(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        template = self._template(tuple((name, t[0] == "option") for name, t in of[1]))
        data, item = self._source.fresh(), self._source.fresh()
        if is_error_record(of):
            value = f"error_record({value}, {self._source.constant(_names(of[1][0][1][1]))})"
        lines += [f"{item} = {value}", f"RC({slot}+8, {template})", f"{data} = Q(M, {slot}+16)[0]"]
        fields = record_class(tuple(name for name, _ in of[1]))._fields  # type: ignore[attr-defined]
        for i, (field, (_, t)) in enumerate(zip(fields, of[1], strict=True)):
            place = f"({data}+{ENTRY_BYTES * i + ENTRY_VALUE})"
            if t[0] != "option":
                self.put(lines, t, place, f"{item}.{field}")
                continue
            # The template says none already. A guest's record may have trailing options that this host does not know
            # yet: they are none too (semantics 23).
            option = self._source.fresh()
            lines += [f"{option} = getattr({item}, {field!r}, None)", f"if {option} is not None:"]
            lines += self._some(t, place, option)
        lines.append(f"M[{slot}] = {KINDS['record']}")

    def _template(self, fields: tuple[tuple[str, bool], ...]) -> int:
        if fields not in self._templates:
            self._templates[fields] = RecordTemplate(fields)
        return self._templates[fields].address

    def _tuple(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        items, data = [self._source.fresh() for _ in of[1]], self._source.fresh()
        lines += [
            f"{', '.join(items)}, = {value}",
            f"TN({slot}+8, {len(items)})",
            f"{data} = Q(M, {slot}+16)[0]",
        ]
        for i, (item, t) in enumerate(zip(items, of[1], strict=True)):
            self.put(lines, t, f"({data}+{VALUE_BYTES * i})", item)
        lines.append(f"M[{slot}] = {KINDS['tuple']}")

    def _option(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        item = self._source.fresh()
        lines += [f"{item} = {value}", f"if {item} is None: pointer(M, {slot}, {KINDS['option']}, 0)", "else:"]
        lines += self._some(of, slot, item)

    def _result(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        item = self._source.fresh()
        lines.append(f"{item} = {value}")
        for head, ok in ((f"if {item}.__class__ is Ok:", True), (f"elif {item}.__class__ is Err:", False)):
            case: Lines = []
            self.result_case(case, of, slot, f"{item}.value", ok)
            lines += [head, *indent(case)]
        lines.append(f"else: raise TypeError(f'expected Ok or Err, got {{{item}!r:.80}}')")

    def _variant(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        case, payload, raw = self._source.fresh(), self._source.fresh(), self._source.fresh()
        names = self._source.constant(_names(tuple(name for name, _ in of[1])))
        lines += [
            f"{case}, {payload} = {value}",
            f"{raw} = {names}[{case}]",
            f"BV({slot}+8, len({raw}), {raw})",
            f"PQ(M, {slot}+24, 0)",
        ]
        for name, t in of[1]:
            if t:
                branch: Lines = []
                pointer = self._box(branch, t, payload)
                lines += [f"if {case} == {name!r}:", *indent([*branch, f"PQ(M, {slot}+24, {pointer})"])]
        lines.append(f"M[{slot}] = {KINDS['variant']}")

    def _flags(self, lines: Lines, of: Type, slot: str, value: str) -> None:
        raws, data, raw = self._source.fresh(), self._source.fresh(), self._source.fresh()
        lines += [
            f"{raws} = [{self._source.constant(_names(of[1]))}[f] for f in {value}]",
            f"FN({slot}+8, len({raws}))",
            f"{data} = Q(M, {slot}+16)[0]",
            f"for {raw} in {raws}: BV({data}, len({raw}), {raw}); {data} += 16",
            f"M[{slot}] = {KINDS['flags']}",
        ]
