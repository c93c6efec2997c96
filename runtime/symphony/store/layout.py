"""How K/V lies in the image of a page, and how it comes into images of another size.

    image of n entries    groups × n × width bytes: what one layer's keys (or values) have of an entry lies together,
                          and the entries of a page behind each other

It knows neither files nor disks; numbers only as far as one can see whether they are any.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MOST = 65504.0
"""No number of a sound K/V is farther from 0: what is computed of such numbers stays finite."""


class Layout(NamedTuple):
    """Of the images of one model."""

    groups: int
    width: int
    """Bytes."""

    def size(self, entries: int) -> int:
        """Bytes of an image of so many."""
        return self.groups * entries * self.width


class Repager:
    """Images of any sizes in, images of one size out. Not thread-safe."""

    def __init__(self, layout: Layout, size: int) -> None:
        """`size`: entries of an image that comes out."""
        self._layout = layout
        self._size = size
        self._left: list[npt.NDArray[np.uint8]] = []
        self._count = 0
        """Entries that are left."""

    def add(self, image: bytes, entries: int) -> list[bytes]:
        """The next `entries` entries; what is complete now."""
        groups, width = self._layout
        self._left.append(np.frombuffer(image, np.uint8).reshape(groups, entries, width))
        self._count += entries
        if self._count < self._size:
            return []
        all_ = np.concatenate(self._left, axis=1)
        whole = self._count // self._size * self._size
        self._left, self._count = [all_[:, whole:].copy()], self._count - whole
        return [all_[:, at : at + self._size].tobytes() for at in range(0, whole, self._size)]

    def rest(self) -> list[bytes]:
        """The last image, filled up with zeros; none, if there is nothing left."""
        lacking = self._size - self._count
        return self.add(bytes(self._layout.size(lacking)), lacking) if self._count else []


def leading(layout: Layout, image: bytes, entries: int, count: int) -> bytes:
    """The image of the first `count` entries of an image of `entries`."""
    if count == entries:
        return image
    groups, width = layout
    return np.frombuffer(image, np.uint8).reshape(groups, entries, width)[:, :count].tobytes()


def is_sound(image: bytes, dtype: str) -> bool:
    """Whether all are numbers, none of them huge. One that is none would spread to whatever it is multiplied with, a
    neighbour's zeros too. `dtype`: as safetensors names it."""
    if dtype == "BF16":
        bits = np.frombuffer(image, "<u2").astype(np.uint32) << 16
        numbers: npt.NDArray[np.floating] = bits.view(np.float32)
    elif dtype in ("F16", "F32"):
        numbers = np.frombuffer(image, "<f2" if dtype == "F16" else "<f4")
    else:
        return True
    return not numbers.size or bool(np.abs(numbers).max() <= MOST)  # not so for what is no number
