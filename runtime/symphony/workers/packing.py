"""WIT values of syscalls as what msgpack can carry, made from the types of `wit/`.

    record, tuple, list      an array          list of numbers of LONG and more    bin, little-endian
    option, enum, scalar     as it is          variant, result                     [case, payload]
    error record             [code, message, hint]
    own<R>, borrow<R>        a number: where the object is, only the host knows

Values look as `syscall.values` has them on both ends. Knows no sockets and no processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Protocol

import numpy as np

from symphony.errors import BY_CODE, InternalError, ProgramError, SymphonyError
from symphony.sandbox.layout import NUMBERS, SCALARS, Type, is_error_record, record_class
from symphony.syscall.values import Err, Ok, Some

LONG = 16
"""Numbers from which on a list is sent as a `bin`."""


class Handles(Protocol):
    """What stands for an object on the wire, at one end."""

    def number(self, thing: Any) -> int | str | None:
        """Of what goes to the other end; a name, where that is enough; None: the other end knows nothing of it."""
        ...

    def thing(self, number: int | str | None, owned: bool) -> Any:
        """What came. `owned`: it changed hands."""
        ...


Move = Callable[[Any, Handles], Any]
"""One value, to the wire or from it."""


def pack_all(moves: Sequence[Move | None], values: Sequence[Any], handles: Handles) -> list[Any]:
    """`moves` are of the values' types, one each."""
    return [v if move is None else move(v, handles) for move, v in zip(moves, values, strict=True)]


@cache
def packer(of: Type) -> Move | None:
    """To the wire; None: as it is."""
    kind = of[0]
    if kind in SCALARS or kind in ("string", "enum"):
        return None
    if kind in ("own", "borrow"):
        return lambda v, h: h.number(v)
    if kind == "list":
        return _list_packer(of[1])
    if kind == "flags":
        return lambda v, h: list(v)
    if kind == "tuple":
        parts = tuple(packer(t) for t in of[1])
        return lambda v, h: pack_all(parts, v, h)
    if kind == "record":
        return _record_packer(of)
    if kind == "option":
        return _option(of, packer(of[1]), lambda some: some.value, list[Any])
    if kind == "variant":
        cases = {name: t and packer(t) for name, t in of[1]}
        return lambda v, h: (v[0], v[1] if (p := cases[v[0]]) is None else p(v[1], h))
    if kind == "result":
        ok, err = (None if t is None else packer(t) for t in of[1:])
        return lambda v, h: (good := isinstance(v, Ok), _moved(ok if good else err, v.value, h))
    raise TypeError(f"values of type {kind} do not cross between processes")


@cache
def unpacker(of: Type) -> Move | None:
    """From the wire; None: as it is."""
    kind = of[0]
    if kind in SCALARS or kind in ("string", "enum"):
        return None
    if kind in ("own", "borrow"):
        owned = kind == "own"
        return lambda v, h: h.thing(v, owned)
    if kind == "list":
        return _list_unpacker(of[1])
    if kind == "flags":
        return lambda v, h: frozenset(v)
    if kind == "tuple":
        parts = tuple(unpacker(t) for t in of[1])
        return lambda v, h: tuple(pack_all(parts, v, h))
    if kind == "record":
        return _record_unpacker(of)
    if kind == "option":
        return _option(of, unpacker(of[1]), lambda box: box[0], lambda some: Some(some[0]))
    if kind == "variant":
        cases = {name: t and unpacker(t) for name, t in of[1]}
        return lambda v, h: (v[0], v[1] if (p := cases[v[0]]) is None else p(v[1], h))
    if kind == "result":
        ok, err = (None if t is None else unpacker(t) for t in of[1:])
        return lambda v, h: Ok(_moved(ok, v[1], h)) if v[0] else Err(_moved(err, v[1], h))
    raise TypeError(f"values of type {kind} do not cross between processes")


def packed_error(error: SymphonyError) -> tuple[str, str, str]:
    """As text that UTF-8 can hold: a message may quote anything."""
    message, hint = (text.encode("utf-8", "replace").decode() for text in (error.message, error.hint))
    return error.code, message, hint


def unpacked_error(fields: Sequence[str]) -> SymphonyError:
    code, message, hint = fields
    if code == ProgramError.code:  # a guest's own mistake; no syscall's code
        return ProgramError(message, hint)
    return BY_CODE.get(code, InternalError)(message, hint)


def _moved(move: Move | None, value: Any, handles: Handles) -> Any:
    return value if move is None else move(value, handles)


def _list_packer(element: Type) -> Move:
    if element[0] == "u8":
        return lambda v, h: bytes(v)
    dtype = NUMBERS.get(element[0])
    if dtype is not None:
        return lambda v, h: v if v.__class__ is list and len(v) < LONG else np.ascontiguousarray(v, dtype).tobytes()
    one = packer(element)
    return (lambda v, h: list(v)) if one is None else lambda v, h: [one(item, h) for item in v]


def _list_unpacker(element: Type) -> Move | None:
    dtype = NUMBERS.get(element[0])
    if element[0] == "u8":
        return None
    if dtype is not None:
        return lambda v, h: np.frombuffer(v, dtype).tolist() if v.__class__ is bytes else v
    one = unpacker(element)
    return None if one is None else lambda v, h: [one(item, h) for item in v]


def _record_packer(of: Type) -> Move:
    if is_error_record(of):
        return lambda v, h: packed_error(v)
    names: tuple[str, ...] = record_class(tuple(name for name, _ in of[1]))._fields  # type: ignore[attr-defined]
    parts = tuple(packer(t) for _, t in of[1])
    if len(names) == 1:
        (name,), (part,) = names, parts
        return lambda v, h: [_moved(part, getattr(v, name), h)]
    fields = attrgetter(*names)
    if not any(parts):
        return lambda v, h: fields(v)
    return lambda v, h: pack_all(parts, fields(v), h)


def _record_unpacker(of: Type) -> Move:
    if is_error_record(of):
        return lambda v, h: unpacked_error(v)
    make = record_class(tuple(name for name, _ in of[1]))
    parts = tuple(unpacker(t) for _, t in of[1])
    return lambda v, h: tuple.__new__(make, pack_all(parts, v, h))


def _option(of: Type, inner: Move | None, take: Callable[[Any], Any], box: Callable[[list[Any]], Any]) -> Move | None:
    """An option of an option is in a box on both sides: `take` and `box` open this side's and make the other's."""
    if of[1][0] == "option":
        return lambda v, h: None if v is None else box([_moved(inner, take(v), h)])
    return None if inner is None else lambda v, h: None if v is None else inner(v, h)
