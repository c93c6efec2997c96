"""Unpacking what a stranger packed: gzip and deflate, in small pieces, so that a bomb is seen before it went off."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

PIECE_BYTES = 64 << 10
"""At most so much comes out at a time."""
MAX_MEMBERS = 256
"""Times that a gzip body may begin anew, which costs more than its bytes say."""
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""What zlib calls the formats."""


class Unpacker:
    """Of one body. Both `unpack` and `finish` raise zlib.error or EOFError where the body is broken."""

    def __init__(self, coding: str) -> None:
        """`coding`: all that the content-encoding lines say. ValueError for one that was not asked for."""
        name = coding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ValueError(f"it is packed as {name[:100]!r}, which was not asked for")
        self._coding = name.removeprefix("x-")
        self._packed: Any = None
        """zlib's state, while there is something to unpack."""
        self._members = 0

    def unpack(self, data: bytes) -> Iterator[bytes]:
        if self._coding in ("", "identity"):
            yield data
            return
        while data:
            if self._packed is None:
                self._members += 1
                if self._members > MAX_MEMBERS:
                    raise EOFError(f"the packed body has more than {MAX_MEMBERS} parts")
                self._packed = zlib.decompressobj(self._format(data))
            piece = self._packed.decompress(data, PIECE_BYTES)
            data = self._packed.unconsumed_tail
            yield piece
            if self._packed.eof:
                data, self._packed = self._packed.unused_data if self._coding == "gzip" else b"", None

    def finish(self) -> None:
        """There is no more."""
        if self._packed is not None:
            raise EOFError("the packed body breaks off")

    def _format(self, data: bytes) -> int:
        if self._coding == "gzip":
            return _GZIP
        return _ZLIB if data[0] & 0x0F == 8 else _RAW  # "deflate" should be zlib's format; some send the bare one
