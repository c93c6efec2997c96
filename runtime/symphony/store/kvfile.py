"""A KV file by itself: one safetensors file, whose header has a JSON text that says whose K/V it is.

    8 bytes      the header's length
    header       JSON: where each tensor lies; `__metadata__`: {"symphony": the JSON of a `Description`}
    tokens       U32 [length]
    positions    U32 [at most length]              if they do not count up from 0
    kv.0 ...     [*before, n, *after]              the K/V of n entries each, of `entries` in all
    checks       U8 [1 + pieces, 16]               of the description, tokens and positions; of each piece (blake3)

Any tool that reads safetensors reads it. In the order above, so that both sides go through it once, piece by piece.
Source: https://huggingface.co/docs/safetensors. What comes in may be anything: `parse` believes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec

from symphony.errors import Invalid

VERSION = 1
MAX_HEADER_BYTES = 1 << 20
PIECE_BYTES = 8 << 20
"""What a piece that is written has at most, unless a single page has more..."""
MAX_PIECE_BYTES = 64 << 20
"""...and what one that is read may have."""
CHECK = 16
_KEY = "symphony"
_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "U8": 1}
_FIX = "export the file again (symphony fs export), and send it as it was written"
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]


class Description(msgspec.Struct, forbid_unknown_fields=True):
    """What tensors do not say."""

    version: int
    model: Annotated[str, msgspec.Meta(max_length=1000)]
    """The name that the model had, for people."""
    digest: Annotated[str, msgspec.Meta(max_length=1000)]
    """Of weights, KV dtype, RoPE."""
    derived: Count | None
    """The first derived entry."""


class Head(NamedTuple):
    """What the header says."""

    description: Description
    length: int
    """Tokens..."""
    positions: int | None
    """...and how many positions follow them."""
    dtype: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    """The shape of K/V: `[*before, entries, *after]`."""
    pieces: tuple[int, ...]
    """Entries of each."""

    @property
    def entries(self) -> int:
        return sum(self.pieces)

    def piece_bytes(self, entries: int) -> int:
        return math.prod(self.before) * entries * math.prod(self.after) * _BYTES[self.dtype]


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    dtype: Annotated[str, msgspec.Meta(max_length=10)]
    shape: Annotated[tuple[Count, ...], msgspec.Meta(max_length=8)]
    data_offsets: tuple[Count, Count]


def compose(head: Head) -> bytes:
    """The file up to where its tensors begin."""
    tensors: dict[str, object] = {"__metadata__": {_KEY: described(head).decode()}}
    at = 0
    for name, dtype, shape, size in _tensors(head):
        tensors[name] = _Tensor(dtype, shape, (at, at + size))
        at += size
    text = msgspec.json.encode(tensors)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def described(head: Head) -> bytes:
    """The JSON of the description."""
    return msgspec.json.encode(head.description)


def total(head: Head) -> int:
    """Bytes of the whole file."""
    return len(compose(head)) + sum([size for *_, size in _tensors(head)])


def parse(text: bytes) -> Head:
    """The header, without its length. Raises Invalid."""
    try:
        tensors = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        notes = msgspec.json.decode(tensors.pop("__metadata__", b"{}"), type=dict[str, str])
        if _KEY not in notes:
            raise ValueError("it is no KV file of Symphony: its header has no description of one")
        description = msgspec.json.decode(notes[_KEY], type=Description)
        if description.version != VERSION:
            raise ValueError(f"its format has the version {description.version}, and {VERSION} is what can be read")
        found = {name: msgspec.json.decode(raw, type=_Tensor) for name, raw in tensors.items()}
        head = _head(description, found)
        at = 0
        for name, dtype, shape, size in _tensors(head):
            if found.pop(name, None) != _Tensor(dtype, shape, (at, at + size)):
                raise ValueError(f"its tensor {name} is not where, or not what, it has to be")
            at += size
        if found:
            raise ValueError(f"it has a tensor that does not belong there: {next(iter(found))[:100]!r}")
    except (ValueError, RecursionError) as e:  # UnicodeDecodeError, msgspec's errors too
        raise Invalid(f"the KV file cannot be read: {e}", _FIX) from None
    return head


def broken(what: str) -> Invalid:
    return Invalid(f"the KV file cannot be read: {what}", _FIX)


def _head(description: Description, found: dict[str, _Tensor]) -> Head:
    """Taken from the tensors as if they were right. Raises ValueError where that cannot be."""
    tokens, positions, first = found.get("tokens"), found.get("positions"), found.get("kv.0")
    if tokens is None or len(tokens.shape) != 1 or (positions is not None and len(positions.shape) != 1):
        raise ValueError("it has no tokens")
    pieces = [tensor for name, tensor in found.items() if name.startswith("kv.")]
    shape, dtype = (first.shape, first.dtype) if first is not None else ((0,), "U8")
    if dtype not in _BYTES:
        raise ValueError(f"its K/V is stored as {dtype[:10]}, and {', '.join(_BYTES)} are what can be read")
    ranks = {len(piece.shape) for piece in pieces} or {1}
    axis = 0 if len(shape) < 3 else 2  # [layers, 2, entries, heads, width]; without layers: [entries, width]
    if ranks != {len(shape)} or not shape:
        raise ValueError("the pieces of its K/V have different shapes")
    count = len(pieces)
    sizes = tuple([found[f"kv.{i}"].shape[axis] if f"kv.{i}" in found else 0 for i in range(count)])
    head = Head(
        description,
        tokens.shape[0],
        None if positions is None else positions.shape[0],
        dtype,
        shape[:axis],
        shape[axis + 1 :],
        sizes,
    )
    if not all(sizes) or any(head.piece_bytes(size) > MAX_PIECE_BYTES for size in sizes):
        raise ValueError(f"a piece of its K/V is empty, lacks, or has more than {MAX_PIECE_BYTES} bytes")
    if head.entries > head.length or (head.positions or 0) > head.length:
        raise ValueError("it has more K/V or positions than tokens")
    if description.derived is not None and description.derived >= max(head.length, 1):
        raise ValueError("its derived entries begin behind its end")
    return head


def _tensors(head: Head) -> list[tuple[str, str, tuple[int, ...], int]]:
    """Name, dtype, shape and bytes of each, in order."""
    found: list[tuple[str, str, tuple[int, ...], int]] = [("tokens", "U32", (head.length,), 4 * head.length)]
    if head.positions is not None:
        found.append(("positions", "U32", (head.positions,), 4 * head.positions))
    for i, n in enumerate(head.pieces):
        found.append((f"kv.{i}", head.dtype, (*head.before, n, *head.after), head.piece_bytes(n)))
    checks = 1 + len(head.pieces)
    return [*found, ("checks", "U8", (checks, CHECK), checks * CHECK)]


def split(entries: int, page_size: int, page_bytes: int) -> Sequence[int]:
    """Pages of each piece that a file of so many entries is written in: whole pages, but the last may be cut."""
    each = max(PIECE_BYTES // page_bytes, 1)
    pages = -(-entries // page_size)
    return [min(each, pages - at) for at in range(0, pages, each)]
