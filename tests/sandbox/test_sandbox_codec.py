"""The value codec: fuzzed round trips through C, sanitising, leaks."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symphony.errors import LimitExceeded, ProgramError
from symphony.sandbox import abi
from symphony.sandbox.abi import MEMORY
from symphony.sandbox.codec import Codec, CodecError
from symphony.sandbox.layout import NUMBERS, SCALARS, HandleTable, Type, record_class
from symphony.syscall.values import Err, Ok, Some

RANGES = {
    "s8": (-128, 127),
    "u8": (0, 255),
    "s16": (-(1 << 15), (1 << 15) - 1),
    "u16": (0, (1 << 16) - 1),
    "s32": (-(1 << 31), (1 << 31) - 1),
    "u32": (0, (1 << 32) - 1),
    "s64": (-(1 << 63), (1 << 63) - 1),
    "u64": (0, (1 << 64) - 1),
}
COMPOUND = ["list", "record", "tuple", "variant", "enum", "option", "result", "flags"]

buffer = (ctypes.c_uint8 * 128)()
SLOT = ctypes.addressof(buffer)
NO_HANDLES = HandleTable(0)


class Fuzz:
    """Random types and values of them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def type(self, depth: int) -> Type:
        pick = self.chance.choice
        kind = pick([*SCALARS, "string", *(COMPOUND * 2 if depth else [])])
        names = [f"n{i}-x" for i in range(self.chance.randint(1, 5))]
        if kind in ("list", "option"):
            return (kind, self.type(depth - 1))
        if kind == "record":
            return (kind, tuple((n, self.type(depth - 1)) for n in names))
        if kind == "tuple":
            return (kind, tuple(self.type(depth - 1) for _ in names))
        if kind == "variant":
            return (kind, tuple((n, pick([None, self.type(depth - 1)])) for n in names))
        if kind in ("enum", "flags"):
            return (kind, tuple(names))
        if kind == "result":
            return (kind, pick([None, self.type(depth - 1)]), pick([None, self.type(depth - 1)]))
        return (kind,)

    def value(self, of: Type) -> Any:
        kind, chance = of[0], self.chance
        if kind == "bool":
            return chance.random() < 0.5
        if kind in RANGES:
            return chance.choice([*RANGES[kind], chance.randint(*RANGES[kind])])
        if kind in ("f32", "f64"):
            return chance.choice([float(np.float32(chance.random())), float("-inf"), 0.0])
        if kind == "char":
            return chance.choice("aé€😀\0")
        if kind == "string":
            return chance.choice(["", "abc", "é" * 7, "\0x", "q" * 300])
        if kind == "list":
            values = [self.value(of[1]) for _ in range(chance.choice([0, 1, 3, 20]))]
            if of[1][0] == "u8":
                return bytes(values)
            return np.array(values, NUMBERS[of[1][0]]) if of[1][0] in NUMBERS else values
        if kind == "record":
            return record_class(tuple(n for n, _ in of[1]))(*[self.value(t) for _, t in of[1]])
        if kind == "tuple":
            return tuple(self.value(t) for t in of[1])
        if kind == "variant":
            name, payload = chance.choice(of[1])
            return (name, self.value(payload) if payload else None)
        if kind == "enum":
            return chance.choice(of[1])
        if kind == "flags":
            return frozenset(n for n in of[1] if chance.random() < 0.5)
        if kind == "option":
            if chance.random() < 0.4:
                return None
            return Some(self.value(of[1])) if of[1][0] == "option" else self.value(of[1])
        box, payload = chance.choice([(Ok, of[1]), (Err, of[2])])
        return box(self.value(payload) if payload else None)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, list) and a.tolist() == b
    if isinstance(a, Ok | Err | Some):
        return type(a) is type(b) and same(a.value, b.value)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def clear() -> None:
    MEMORY[SLOT : SLOT + 64] = bytes(64)


def test_fuzzed_round_trips_through_c() -> None:
    fuzz, codec = Fuzz(1), Codec({})
    for _ in range(4000):
        of = fuzz.type(3)
        value = fuzz.value(of)
        codec.writer(of)(SLOT, value, 0, NO_HANDLES)
        read = codec.reader(of)(SLOT, 0, NO_HANDLES)
        assert same(value, read), (of, value, read)
        abi.val_clone(SLOT, SLOT + 32)  # wasmtime itself walks the value
        assert same(value, codec.reader(of)(SLOT + 32, 0, NO_HANDLES))
        abi.val_delete(SLOT)
        abi.val_delete(SLOT + 32)
        clear()


class NumbersOnly(Fuzz):
    """What is written by copying an earlier answer: nothing in it belongs to anybody."""

    def type(self, depth: int) -> Type:
        kind = self.chance.choice(["u32", "f32", "bool", "numbers", *(["record", "option", "list"] * depth)])
        if kind == "numbers":
            return ("list", (self.chance.choice(["u32", "f32", "u8", "s64"]),))
        if kind == "record":
            return (kind, tuple((f"n{i}-x", self.type(depth - 1)) for i in range(self.chance.randint(1, 4))))
        if kind == "list":
            return (kind, ("record", (("only", self.type(depth - 1)),)))
        if kind == "option":
            inner = self.type(depth - 1)
            return inner if inner[0] == "option" else (kind, inner)
        return (kind,)


def test_fuzzed_answers_that_are_copied_from_earlier_ones() -> None:
    fuzz, codec = NumbersOnly(3), Codec({})
    copied = 0
    for _ in range(300):
        payload = fuzz.type(3)
        of = ("result", payload, ("string",))
        write, read = codec.case_writer(of, "ok"), codec.reader(of)
        copied += "val_clone" in write.__code__.co_names
        for _ in range(12):
            value = fuzz.value(payload)
            write(SLOT, value, 0, NO_HANDLES)
            assert same(Ok(value), read(SLOT, 0, NO_HANDLES)), (payload, value)
            abi.val_clone(SLOT, SLOT + 32)
            abi.val_delete(SLOT)
            assert same(Ok(value), read(SLOT + 32, 0, NO_HANDLES))
            abi.val_delete(SLOT + 32)
            clear()
    assert copied > 100


def test_a_copied_answer_that_does_not_fit_is_an_error_and_spoils_no_later_one() -> None:
    of = ("result", ("list", ("record", (("ids", ("list", ("u32",))), ("best", ("option", ("u32",)))))), ("string",))
    codec = Codec({})
    make = record_class(("ids", "best"))
    write, read = codec.case_writer(of, "ok"), codec.reader(of)
    for ids in ([1], [2]):
        write(SLOT, [make(ids, 3)], 0, NO_HANDLES)
        abi.val_delete(SLOT)
        clear()
    for wrong in (make([-1], 3), make([1], 1 << 32)):
        with pytest.raises(Exception, match=r"argument|format|range"):
            write(SLOT, [wrong], 0, NO_HANDLES)
        assert not any(MEMORY[SLOT : SLOT + 32])
    write(SLOT, [make([4], None)], 0, NO_HANDLES)
    assert read(SLOT, 0, NO_HANDLES) == Ok([make([4], None)])
    abi.val_delete(SLOT)


def test_fuzzed_arguments() -> None:
    fuzz, codec = Fuzz(2), Codec({})
    area = (ctypes.c_uint8 * 256)()
    base = ctypes.addressof(area)
    for _ in range(500):
        types = tuple(fuzz.type(2) for _ in range(fuzz.chance.randint(0, 6)))
        values = tuple(fuzz.value(t) for t in types)
        for i, (t, v) in enumerate(zip(types, values, strict=True)):
            codec.writer(t)(base + 32 * i, v, 0, NO_HANDLES)
        assert same(values, codec.arguments(types)(base, 0, NO_HANDLES))
        for i in range(len(types)):
            abi.val_delete(base + 32 * i)


def round_trip(of: Type, value: Any) -> Any:
    codec = Codec({})
    codec.writer(of)(SLOT, value, 0, NO_HANDLES)
    read = codec.reader(of)(SLOT, 0, NO_HANDLES)
    abi.val_delete(SLOT)
    clear()
    return read


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (("u8",), 300),
        (("u8",), -1),
        (("u32",), -1),
        (("u32",), 1 << 32),
        (("s64",), 1 << 63),
        (("u64",), 1.5),
        (("u32",), "x"),
        (("u32",), None),
        (("char",), "ab"),
        (("char",), "\ud800"),
        (("string",), None),
        (("string",), b"bytes"),
        (("list", ("u8",)), [1, 300]),
        (("list", ("u32",)), np.array([-1])),
        (("list", ("u32",)), np.array([1 << 32])),
        (("list", ("u32",)), np.array([1.5])),
        (("list", ("u32",)), [1 << 40] * 100),
        (("list", ("s8",)), [-129]),
        (("list", ("u32",)), 5),
        (("list", ("u32",)), np.zeros((2, 2), np.uint32)),
        (("list", ("string",)), ["a", None]),
        (("enum", ("a", "b")), "c"),
        (("flags", ("a", "b")), {"c"}),
        (("variant", (("a", None),)), ("z", None)),
        (("result", ("u32",), None), 5),
        (("tuple", (("u8",), ("u8",))), (1,)),
        (("record", (("a", ("u8",)),)), object()),
        (("f32",), 1e300),
    ],
)
def test_what_does_not_fit_is_an_error_and_leaves_a_harmless_slot(of: Type, value: Any) -> None:
    clear()
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any, as long as it is one
        Codec({}).writer(of)(SLOT, value, 0, NO_HANDLES)
    assert not isinstance(raised.value, AssertionError)
    assert MEMORY[SLOT] < 12  # a scalar: no pointer that wasmtime would follow
    clear()


def test_lone_surrogates_are_replaced() -> None:
    assert round_trip(("string",), "a\ud800b") == "a?b"
    assert round_trip(("list", ("string",)), ["\udfff", "ok"]) == ["?", "ok"]


def test_numbers_may_be_any_sequence() -> None:
    of = ("list", ("u32",))
    for values in ([1, 2], (1, 2), np.array([1, 2], np.int64), range(1, 3), np.array([9, 1, 9, 2])[1::2]):
        assert round_trip(of, values) == [1, 2]
    assert round_trip(("list", ("f32",)), [0.5] * 40) == [0.5] * 40
    assert round_trip(("list", ("u8",)), bytearray(b"xy")) == b"xy"


def test_a_numeric_list_is_a_copy() -> None:
    codec, of = Codec({}), ("list", ("u32",))
    codec.writer(of)(SLOT, list(range(50)), 0, NO_HANDLES)
    read = codec.reader(of)(SLOT, 0, NO_HANDLES)
    abi.val_delete(SLOT)
    clear()
    codec.writer(of)(SLOT, [7] * 50, 0, NO_HANDLES)
    assert read == list(range(50))
    abi.val_delete(SLOT)
    clear()


def test_missing_trailing_options_of_a_record_are_none() -> None:
    """Semantics 23: a guest's record may have options that this host does not know yet."""
    newer = ("record", (("a", ("u32",)), ("b", ("option", ("string",))), ("c", ("option", ("list", ("u8",))))))
    value = record_class(("a", "b"))(1, "x")
    assert round_trip(newer, value) == (1, "x", None)


def test_fields_with_hyphens_and_keywords() -> None:
    of = ("record", (("max-tokens", ("u32",)), ("class", ("u32",))))
    read = round_trip(of, record_class(("max-tokens", "class"))(1, 2))
    assert (read.max_tokens, read.class_) == (1, 2)
    assert type(read) is record_class(("max-tokens", "class"))


ERROR = ("record", (("code", ("enum", ("invalid", "internal"))), ("message", ("string",)), ("hint", ("string",))))


def test_errors_are_written_as_records() -> None:
    codec = Codec({})
    codec.case_writer(("result", ("u32",), ERROR), "err")(SLOT, LimitExceeded("full", "wait"), 0, NO_HANDLES)
    read = codec.reader(("result", ("u32",), ERROR))(SLOT, 0, NO_HANDLES)
    assert read == Err(("internal", "full", "wait"))  # the enum lacks limit-exceeded
    abi.val_delete(SLOT)
    clear()
    nested = ("option", ("result", ("u32",), ERROR))
    assert round_trip(nested, Err(ProgramError("x"))).value == ("internal", "x", "")
    assert round_trip(nested, Ok(3)) == Ok(3)
    assert round_trip(nested, None) is None


def test_unsupported_types_are_refused_when_compiled() -> None:
    with pytest.raises(CodecError):
        Codec({}).reader(("future", None))
    with pytest.raises(CodecError):
        Codec({}).writer(("borrow", "x#y"))


def test_the_codec_does_not_leak() -> None:
    codec = Codec({})
    row = ("record", (("ids", ("list", ("u32",))), ("name", ("string",)), ("k", ("variant", (("b", ("string",)),)))))
    of = ("result", ("list", row), ("string",))
    make = record_class(("ids", "name", "k"))
    value = Ok([make(np.arange(64, dtype="u4"), "x" * 50, ("b", "y" * 40))] * 20)
    write, read = codec.writer(of), codec.reader(of)

    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    def spin(times: int) -> None:
        for _ in range(times):
            write(SLOT, value, 0, NO_HANDLES)
            read(SLOT, 0, NO_HANDLES)
            abi.val_delete(SLOT)
            clear()

    spin(300)
    before = pages()
    spin(1500)  # one round holds about 50 KB: a leak would be 75 MB
    assert (pages() - before) * 4096 < 8 << 20


def test_copied_answers_do_not_leak() -> None:
    of = ("result", ("list", ("record", (("ids", ("list", ("u32",))),))), ("string",))
    make = record_class(("ids",))

    def spin(times: int) -> None:
        for _ in range(times):
            codec = Codec({})
            write = codec.case_writer(of, "ok")
            for count in range(80):  # more shapes than are kept, and longer lists
                for _ in range(2):
                    write(SLOT, [make(list(range(count)))], 0, NO_HANDLES)
                    abi.val_delete(SLOT)
                    clear()

    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    spin(20)
    before = pages()
    spin(400)  # a codec keeps about 30 KB: a leak would be 12 MB
    assert (pages() - before) * 4096 < 4 << 20


def test_the_handle_table_never_hands_out_a_rep_twice_at_a_time() -> None:
    table = HandleTable(3)
    a, b = table.add("a"), table.add("b")
    table.next = 0x7FFFFFFE  # about to wrap around
    c = table.add("c")
    assert len({a, b, c}) == 3
    with pytest.raises(LimitExceeded):
        table.add("d")
    assert table.refused == ["d"]
    del table[c]
    d = table.add("d")
    assert table == {a: "a", b: "b", d: "d"}
