"""The frames of `/v1/ws`, as both ends see them: msgpack maps, one a frame.

    to the server       {do: "call", id, method, path, query, body, events, window}
                        {do: "more", id, frames}       the client took so many frames of events
                        {do: "cancel", id}             as if the client of that call had left
    from the server     {id, events: [[at, kind, data], ...]}
                        {id, status, body | content + type, headers}    the end of the call

Inside a value (a body, an event's data, a result) a `bin` stands for an array of unsigned 32-bit integers,
little-endian: tokens, as a rule. Any array of them may be sent so; one of LONG or more always is. Bodies that are no
value (a program) are a `bin` as it is. Knows no routes and no sockets.
Source: https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

from __future__ import annotations

import math
import sys
from array import array
from typing import Any, cast

import msgspec

from symphony.errors import Invalid, LimitExceeded

LONG = 16
"""Integers from which on an array is sent as a `bin`."""
WORD = next(code for code in "IL" if array(code).itemsize == 4)
BIGGEST = (1 << 64) - 1
_PLAIN = {bytes([first]) for first in (0xC0, 0xC4, 0xC5, 0xC6, *range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB)}
"""First bytes of nil, `bin` and texts."""
_HEADS = [
    *[(0, 0, 0)] * 4,  # nil, unused, false, true
    *[(1, 0, 0), (2, 0, 0), (4, 0, 0)],  # bin
    *[(1, 1, 0), (2, 1, 0), (4, 1, 0)],  # ext
    *[(0, size, 0) for size in (4, 8, 1, 2, 4, 8, 1, 2, 4, 8)],  # floats, unsigned and signed integers
    *[(0, 1 + size, 0) for size in (1, 2, 4, 8, 16)],  # ext of a fixed size
    *[(1, 0, 0), (2, 0, 0), (4, 0, 0)],  # texts
    *[(2, 0, 1), (4, 0, 1), (2, 0, 2), (4, 0, 2)],  # arrays, maps
]
"""Of the first bytes from 0xC0 on: bytes that say a size, bytes behind these, values inside for each one of the size
(0: it counts bytes)."""


class Call(msgspec.Struct, tag_field="do", tag="call", forbid_unknown_fields=True):
    """A request, as over HTTP."""

    id: int
    """The client's choice; free again once the call has ended."""
    method: str
    path: str
    """As in a URL, escapes included, without the query."""
    query: dict[str, str] = {}
    body: msgspec.Raw = msgspec.Raw(b"\xc0")
    """Not unpacked yet (`body_of`)."""
    events: bool = False
    """Whether the client asks for events (`Accept: text/event-stream`)."""
    window: int = 0
    """Frames of events that may be on their way before the client says `more`; 0: as many as the connection takes."""


class More(msgspec.Struct, tag_field="do", tag="more", forbid_unknown_fields=True):
    """The client took `frames` frames of events."""

    id: int
    frames: int = 1


class Cancel(msgspec.Struct, tag_field="do", tag="cancel", forbid_unknown_fields=True):
    """The client wants no more of this call; it ends with a status of 499 unless its end is on its way."""

    id: int


Frame = Call | More | Cancel
_decoder = msgspec.msgpack.Decoder(Call | More | Cancel)
_encoder = msgspec.msgpack.Encoder()


def decode(data: bytes) -> Frame:
    """A frame to the server. Raises Invalid: what is wrong with it."""
    try:
        frame = _decoder.decode(data)
        if isinstance(frame, Call) and not is_value(frame.body):
            msgspec.msgpack.decode(frame.body)
        return frame
    except UnicodeDecodeError:
        raise Invalid("a text in the frame is not UTF-8") from None
    except RecursionError:
        raise Invalid("the frame is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError, TypeError) as cause:
        raise Invalid(f"not a frame: {cause}") from None


def is_value(body: msgspec.Raw) -> bool:
    """Whether a call's body is to be sent as its JSON: a `bin`, a text and nothing are what they are."""
    return bytes(memoryview(body)[:1]) not in _PLAIN


def body_of(body: msgspec.Raw, most: int) -> Any:
    """A call's body: a `bin` or a text as it is, else a JSON value; None if there is none.

    Raises Invalid, LimitExceeded for more than `most` values in it: an object takes a hundred times what it takes in a
    frame, so that they are counted first.
    """
    data = bytes(body)
    if not is_value(body):
        return msgspec.msgpack.decode(data)
    _check_count(data, most)
    try:
        return unpacked(msgspec.msgpack.decode(data))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as cause:
        raise Invalid(f"the body is no value: {cause}", "send JSON's values, in msgpack") from None


def _check_count(data: bytes, most: int) -> None:
    """Raises LimitExceeded for more than `most` values in `data`, which is well-formed."""
    at, left = 0, 1
    seen = 0
    while left:
        left -= 1
        seen += 1
        if seen > most:
            raise LimitExceeded(f"the body has more than {most} values", "send it over HTTP, or tokens as a bin")
        first = data[at]
        at += 1
        if first < 0x80 or first >= 0xE0:
            continue
        if first < 0xC0:  # the size is in the first byte
            at += first & 0x1F if first >= 0xA0 else 0
            left += (first & 15) * (2 if first < 0x90 else 1) if first < 0xA0 else 0
            continue
        digits, more, inside = _HEADS[first - 0xC0]
        size = int.from_bytes(data[at : at + digits], "big")
        at += digits + more + (0 if inside else size)
        left += size * inside


def encode(frame: Any) -> bytes:
    """A frame, of values that `packed` made."""
    return _encoder.encode(frame)


def packed(value: Any) -> Any:
    """A JSON value as it goes into a frame. What msgpack has no integer for becomes a float, as most JSON readers have
    it. Raises RecursionError for one that is nested too deeply."""
    if isinstance(value, dict):
        return {key: packed(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return (_words(items) if len(items) >= LONG else None) or [packed(item) for item in items]
    if isinstance(value, int) and not -(BIGGEST >> 1) - 1 <= value <= BIGGEST:
        return _float(value)
    return value


def unpacked(value: Any) -> Any:
    """What `packed` made, as the JSON value that it was. Raises Invalid for what is no JSON, or too deeply nested."""
    try:
        return _unpacked(value)
    except RecursionError:
        raise Invalid("the value is nested too deeply", "send a flatter one") from None


def _unpacked(value: Any) -> Any:
    if isinstance(value, bytes):
        return integers(value)
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        for key in members:
            if not isinstance(key, str):
                raise Invalid(f"an object has the key {key!r}, which is not a text", "name members by texts")
        return {key: _unpacked(item) for key, item in members.items()}
    if isinstance(value, list):
        return [_unpacked(item) for item in cast("list[Any]", value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid(f"JSON has no number {value}", "send null, or a text")
    if value is None or isinstance(value, str | int | float):
        return value
    raise Invalid(f"JSON has no value of msgpack's type {type(value).__name__}", "send a text")


def integers(data: bytes) -> list[int]:
    """The integers that a `bin` stands for."""
    if len(data) % 4:
        raise Invalid(f"an array of 32-bit integers in {len(data)} bytes", "send four bytes for each, little-endian")
    words = array(WORD)
    words.frombytes(data)
    return _little(words).tolist()


def _words(items: list[Any]) -> bytes | None:
    """The `bin` of `items`, None if they are not all unsigned 32-bit integers."""
    if set(map(type, items)) != {int}:
        return None
    try:
        return _little(array(WORD, items)).tobytes()
    except OverflowError:
        return None


def _little(words: array[int]) -> array[int]:
    if sys.byteorder == "big":
        words.byteswap()
    return words


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
