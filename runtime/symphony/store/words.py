"""Arrays of uint32 as they are kept and sent: little-endian bytes, whatever the machine. Of what they number it knows
nothing."""

from __future__ import annotations

import sys
from array import array


def packed(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = array("I", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def unpacked(data: bytes) -> array[int]:
    numbers = array("I")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
