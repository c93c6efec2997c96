"""How wasmtime lays out component values in C, and the helpers that generated codecs call.

A value (`wasmtime_component_val_t`) is 32 bytes: kind byte at 0, payload at 8. Lists and tuples are {length, data} with
values of 32 bytes; a record's data are entries of 48 bytes, {name: {size, data}, value}. Knows types and bytes, not
components. The scratch cell is per process: one event-loop thread uses it.
"""

from __future__ import annotations

import ctypes
import functools
import keyword
import struct
from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from symphony.errors import LimitExceeded
from symphony.sandbox import abi
from symphony.sandbox.abi import MEMORY

Type = tuple[Any, ...]
"""A reflected WIT type: `('u32',)`, `('list', T)`, `('record', ((name, T), ...))`, `('tuple', (T, ...))`,
`('variant', ((case, T | None), ...))`, `('enum', (name, ...))`, `('flags', (name, ...))`, `('option', T)`,
`('result', T | None, T | None)`, `('own', 'iface#resource')`, `('borrow', 'iface#resource')`, ..."""

VALUE_BYTES = 32
ENTRY_BYTES = 48
ENTRY_VALUE = 16

SCALARS = {
    "bool": (0, "?"),
    "s8": (1, "b"),
    "u8": (2, "B"),
    "s16": (3, "h"),
    "u16": (4, "H"),
    "s32": (5, "i"),
    "u32": (6, "I"),
    "s64": (7, "q"),
    "u64": (8, "Q"),
    "f32": (9, "f"),
    "f64": (10, "d"),
    "char": (11, "I"),
}
"""type -> (kind byte, struct format)"""
KINDS = {
    "string": 12,
    "list": 13,
    "record": 14,
    "tuple": 15,
    "variant": 16,
    "enum": 17,
    "option": 18,
    "result": 19,
    "flags": 20,
    "own": 21,
    "borrow": 21,
}
PAYLOADS = {
    "string": "QQ",
    "list": "QQ",
    "record": "QQ",
    "tuple": "QQ",
    "enum": "QQ",
    "flags": "QQ",
    "variant": "QQQ",
    "option": "Q",
    "result": "?7xQ",
    "own": "Q",
    "borrow": "Q",
}
"""type -> struct format of the payload"""
NUMBERS: dict[str, np.dtype[Any]] = {
    name: np.dtype(f"<{name.replace('s', 'i')[0]}{int(name[1:]) // 8}") for name in SCALARS if name[1:].isdigit()
}
"""Element types whose lists are copied by numpy (list<u8> is bytes)."""

Unpack = Callable[[memoryview, int], tuple[Any, ...]]
SHORT_READ = 64
"""Elements up to which a numeric list is read without numpy."""
SHORT_LIST = 16
"""Elements up to which a Python list is written one by one: cheaper than going through numpy."""

_U32 = np.dtype("<u4")
_zero = (ctypes.c_uint8 * VALUE_BYTES)()
ZERO = ctypes.addressof(_zero)
"""A value (`bool` false) to make boxed values from; `val_new` leaves it as it is."""
_out = ctypes.c_void_p()
_OUT = ctypes.addressof(_out)

# C functions as plain names: handles and short lists cross several times a token.
_new, _delete, _rep = abi.host_resource_new, abi.host_resource_delete, abi.host_resource_rep
_to_any, _to_host = abi.host_resource_to_any, abi.any_resource_to_host
_list_new, _read_word = abi.list_new, abi.read_word


class CodecError(Exception):
    """A value does not fit its WIT type: a fault of the host's handler."""


class HandleLimit(LimitExceeded):
    """The handle cap was breached: ends the guest, is never an answer."""


class HandleTable(dict[int, Any]):
    """The objects behind one instance's handles, by rep; at most `cap` of them."""

    __slots__ = ("cap", "next", "refused")

    def __init__(self, cap: int) -> None:
        super().__init__()
        self.cap = cap
        self.next = 0
        self.refused: list[Any] = []
        """What had no room: to be dropped at the guest's end."""

    def add(self, thing: Any) -> int:
        """A new rep for it. Raises HandleLimit."""
        if len(self) >= self.cap:
            self.refused.append(thing)
            raise HandleLimit(
                f"the process has {self.cap} handles open, its limit", "drop handles that are no longer needed"
            )
        rep = self.next = (self.next + 1) & 0x7FFFFFFF
        while rep in self:
            rep = self.next = (rep + 1) & 0x7FFFFFFF
        self[rep] = thing
        return rep


# --- handles ----------------------------------------------------------------------------------------------------------
def take_rep(context: int, resource: int) -> int:
    """The rep of a handle value. An `own` is moved out: call once."""
    error = _to_host(context, resource, _OUT)
    if error:
        raise CodecError(abi.take_error(error))
    host = _out.value
    rep: int = _rep(host)
    _delete(host)
    return rep


def make_own(context: int, rep: int, type_number: int) -> int:
    """A new `own` handle value for the guest; the address of the resource."""
    host = _new(True, rep, type_number)
    error = _to_any(context, host, _OUT)
    _delete(host)
    if error:
        raise CodecError(abi.take_error(error))
    return _out.value or 0


# --- text and numbers -------------------------------------------------------------------------------------------------
def encode(text: str) -> bytes:
    """UTF-8. A lone surrogate (reachable through `json.loads`) would abort the host: it becomes '?'."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def code_point(char: str) -> int:
    point = ord(char)
    if 0xD800 <= point < 0xE000:
        raise CodecError("a surrogate is not a char")
    return point


def read_numbers(
    count: int, data: int, short: Mapping[int, Unpack], dtype: npt.DTypeLike, offset: int, step: int
) -> list[Any]:
    """A numeric list; `offset` and `step` count elements of `dtype` in a value's 32 bytes, `short` unpacks a short one:
    in less time than numpy, and on less of the fiber's stack (a page less of every suspended guest)."""
    if count <= SHORT_READ:
        return list(short[count](MEMORY, data))
    return np.frombuffer(MEMORY[data : data + VALUE_BYTES * count], dtype)[offset::step].tolist()


def read_bytes(count: int, data: int) -> bytes:
    return MEMORY[data + 8 : data + VALUE_BYTES * count : VALUE_BYTES].tobytes() if count else b""


def write_numbers(
    slot: int, values: Any, dtype: np.dtype[Any], kind: int, pack: Callable[[memoryview, int, int, Any], None]
) -> None:
    """Store a numeric list's payload at `slot`; the caller writes the kind byte. `pack` writes one whole element."""
    if values.__class__ is list and (count := len(values)) <= SHORT_LIST:
        _list_new(slot + 8, count)
        if count == 1:  # what a token needs
            pack(MEMORY, _read_word(MEMORY, slot + 16)[0], kind, values[0])
            return
        data = _read_word(MEMORY, slot + 16)[0]
        for value in values:
            pack(MEMORY, data, kind, value)
            data += VALUE_BYTES
        return
    array = _checked(values, dtype)
    abi.list_new(slot + 8, array.size)
    if array.size:
        data = abi.read_word(MEMORY, slot + 16)[0]
        window = MEMORY[data : data + VALUE_BYTES * array.size]
        np.frombuffer(window, _U32)[:: VALUE_BYTES // 4] = kind
        np.frombuffer(window, dtype)[8 // dtype.itemsize :: VALUE_BYTES // dtype.itemsize] = array


def _checked(values: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """As a flat array of `dtype`; an integer that does not fit is an error, never wrapped."""
    if isinstance(values, bytes | bytearray | memoryview):
        return np.frombuffer(values, dtype)
    array = np.asarray(values, None if isinstance(values, np.ndarray) else dtype)
    if array.ndim != 1:
        raise CodecError(f"expected one dimension, got {array.ndim}")
    if array.dtype == dtype:
        return array
    if dtype.kind != "f" and array.dtype.kind not in "iub":
        raise CodecError(f"{array.dtype} where {dtype} is expected")
    cast = array.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(cast, array):
        raise CodecError("integer out of range")
    return cast


# --- records ----------------------------------------------------------------------------------------------------------
@functools.lru_cache(4096)
def record_class(names: tuple[str, ...]) -> type[tuple[Any, ...]]:
    """The named tuple of a record's field names."""
    fields = [name.replace("-", "_") for name in names]
    return namedtuple("Record", [f + "_" if keyword.iskeyword(f) else f for f in fields])  # type: ignore[return-value]


class RecordTemplate:
    """A record with its field names filled in, to be copied. Fields start as none if they are options, else `false`."""

    __slots__ = ("_vector", "address")

    def __init__(self, fields: tuple[tuple[str, bool], ...]) -> None:
        """`fields`: (name, whether it is an option)."""
        self._vector = (ctypes.c_uint64 * 2)()
        self.address = ctypes.addressof(self._vector)
        abi.record_new(self.address, len(fields))
        entry = self._vector[1]
        for name, is_option in fields:
            raw = name.encode()
            abi.byte_vec_new(entry, len(raw), raw)
            MEMORY[entry + ENTRY_VALUE : entry + ENTRY_BYTES] = bytes(VALUE_BYTES)
            if is_option:
                MEMORY[entry + ENTRY_VALUE] = KINDS["option"]
            entry += ENTRY_BYTES


# --- the project's own error record -----------------------------------------------------------------------------------
class _ErrorRecord(NamedTuple):
    code: str
    message: str
    hint: str


def is_error_record(of: Type | None) -> bool:
    """Whether this is `record error { code: enum, message: string, hint: string }`."""
    if of is None or of[0] != "record":
        return False
    return [(name, t[0]) for name, t in of[1]] == [("code", "enum"), ("message", "string"), ("hint", "string")]


def error_record(error: Any, codes: dict[str, bytes]) -> Any:
    """What to write for an error: itself, or the same text as `internal` where the guest's enum lacks its code."""
    return error if error.code in codes else _ErrorRecord("internal", error.message, error.hint)


scalar_packers: dict[str, Callable[[memoryview, int, int, Any], None]] = {
    name: struct.Struct("<B7x" + f).pack_into for name, (_, f) in SCALARS.items()
}
"""type -> pack(memory, address, kind, value)"""
scalar_unpackers: dict[str, Callable[[memoryview, int], tuple[Any]]] = {
    name: struct.Struct("<8x" + f).unpack_from for name, (_, f) in SCALARS.items()
}
"""type -> unpack(memory, address)"""


class _ListReaders(dict[int, Unpack]):
    """length -> unpack(memory, address): the numbers of a list of so many values."""

    def __init__(self, form: str) -> None:
        self._value = f"8x{form}{VALUE_BYTES - 8 - struct.calcsize('<' + form)}x"

    def __missing__(self, length: int) -> Unpack:
        self[length] = unpack = struct.Struct("<" + self._value * length).unpack_from
        return unpack


list_readers: dict[str, Mapping[int, Unpack]] = {name: _ListReaders(SCALARS[name][1]) for name in NUMBERS}
"""type of the elements -> short lists"""


class _RawReaders(dict[int, Callable[[memoryview, int], tuple[bytes]]]):
    """length -> unpack(memory, address): so many bytes as they are, several times as fast as a slice."""

    def __missing__(self, length: int) -> Callable[[memoryview, int], tuple[bytes]]:
        reader = self[length] = struct.Struct(f"{length}s").unpack_from
        return reader


raw_readers = _RawReaders()
