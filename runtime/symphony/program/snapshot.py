"""The last step of a build: what the built image holds becomes immortal.

A component made of Python is a snapshot of an interpreter, and every instance maps the same image, copied on write page
by page. An instance that only *looks* at an old object would still write its reference count, and so copy most of the
image. CPython never writes the count of an object whose count says that it is immortal (PEP 683); the SDK
(`lip._snapshot`) leaves a table of all objects in the image, and here their counts are set to that.

Source: the Wasm and component binary formats; `Include/refcount.h` of CPython 3.14, 32 bits. Knows nothing of guests
but that table.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from symphony.errors import InternalError
from symphony.sandbox.binary import number

MARK = struct.pack("<4I", 0x4C495021, 0x0B7EC75A, 0x1DEA57E5, 0x5EA1ED00)
"""Begins the table, as in `lip._snapshot`; then the number of objects, then their addresses, all of 32 bits."""
IMMORTAL = 5 << 28
"""`_Py_IMMORTAL_INITIAL_REFCNT`."""
_MORTAL = range(1, 1 << 24)
"""Counts that a mortal object may have; another one shows that the layout is not what this module believes."""
_MODULE, _DATA = 1, 11
_GAP = re.compile(rb"\0{64,}")
"""Zeros that are worth a new data segment."""


def immortalise(wasm: bytes) -> bytes:
    """The component with every object of the table in its image immortal. Takes about a second.

    Raises `InternalError` if there is not exactly one table, or it does not point to objects.
    """
    found = wasm.count(MARK)
    if found != 1:
        raise InternalError(f"the build left {found} tables of its objects, not 1", "reinstall symphony-lip")
    return _with_section(wasm, _MODULE, lambda module: _with_section(module, _DATA, _data))


def _with_section(binary: bytes, kind: int, change: Callable[[bytes], bytes]) -> bytes:
    """A module or component in which the section of that kind that holds the table is replaced."""
    made = bytearray(binary[:8])
    position = 8
    while position < len(binary):
        section = binary[position]
        size, start = number(binary, position + 1)
        position = start + size
        body = binary[start:position]
        if section == kind and MARK in body:
            body = change(body)
        made += bytes((section,)) + _encoded(len(body)) + body
    return bytes(made)


def _data(section: bytes) -> bytes:
    """A data section of active segments, laid out anew after the change."""
    image = bytearray()
    count, position = number(section, 0)
    for _ in range(count):
        if section[position : position + 2] != b"\0\x41":
            raise InternalError("a data segment of the built component is not at a fixed address")
        offset, position = _signed(section, position + 2)
        size, start = number(section, position + 1)
        position = start + size
        image.extend(bytes(max(0, offset + size - len(image))))
        image[offset : offset + size] = section[start:position]
    _set_counts(image)
    pieces = list(_pieces(image))
    made = bytearray(_encoded(len(pieces)))
    for start, end in pieces:
        made += b"\0\x41" + _encoded_signed(start) + b"\x0b" + _encoded(end - start)
        made += image[start:end]
    return bytes(made)


def _set_counts(image: bytearray) -> None:
    """The change itself: the first word of each object in the table."""
    table = image.index(MARK) + len(MARK)
    (count,) = struct.unpack_from("<I", image, table)
    for address in struct.unpack_from(f"<{count}I", image, table + 4):
        (references,) = struct.unpack_from("<I", image, address)
        if references in _MORTAL:
            struct.pack_into("<I", image, address, IMMORTAL)
        elif references < 1 << 30:
            raise InternalError(f"the built image has no object at {address:#x}, though its table says so")


def _pieces(image: bytearray) -> Iterator[tuple[int, int]]:
    """Where the image is not zero for long."""
    start = 0
    for gap in _GAP.finditer(image):
        if gap.start() > start:
            yield start, gap.start()
        start = gap.end()
    if start < len(image):
        yield start, len(image)


# --- LEB128 -----------------------------------------------------------------------------------------------------------


def _signed(data: bytes, position: int) -> tuple[int, int]:
    value, end = number(data, position)
    bits = 7 * (end - position)
    return value - (1 << bits) if value >> (bits - 1) else value, end


def _encoded(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _encoded_signed(value: int) -> bytes:
    """Of a number that is not negative: its sign bit stays clear."""
    made = bytearray(_encoded(value))
    if made[-1] & 0x40:
        made[-1] |= 0x80
        made.append(0)
    return bytes(made)
