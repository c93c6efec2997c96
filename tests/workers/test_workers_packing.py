"""Values of syscalls survive the way to another process: of every type that any of them has."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest

from symphony.engine.fake_tokenizer import ByteTokenizer
from symphony.engine.registry import find
from symphony.engine.tokenizer import Tokenizer
from symphony.errors import BY_CODE, Busy, Invalid, ProgramError, SymphonyError
from symphony.sandbox.layout import NUMBERS, SCALARS, is_error_record, record_class
from symphony.syscall import wasi
from symphony.syscall.signatures import SIGNATURES
from symphony.syscall.table import HANDLERS
from symphony.syscall.values import Err, Ok, Some
from symphony.workers.packing import pack_all, packed_error, packer, unpacked_error, unpacker
from symphony.workers.pieces import Pieces, table_of
from symphony.workers.protocol import CROSSINGS, SPELLING

TYPES = sorted(
    {
        t
        for parameters, result in SIGNATURES.values()
        for t in (*(t for _, t in parameters), *([result] if result else ()))
    },
    key=repr,
)


class Objects:
    """Handles that are what they stand for."""

    def __init__(self) -> None:
        self.things: list[Any] = []

    def number(self, thing: Any) -> int:
        self.things.append(thing)
        return len(self.things) - 1

    def thing(self, number: int | str | None, owned: bool) -> Any:
        return self.things[number] if isinstance(number, int) else None


def some_value(of: Any, rng: random.Random) -> Any:
    """A value of the type, as `syscall.values` has it."""
    kind = of[0]
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "char":
        return rng.choice("aé😀")
    if kind in ("f32", "f64"):
        return float(np.float32(rng.uniform(-1e6, 1e6)))
    if kind in SCALARS:
        bits = int(kind[1:])
        return rng.getrandbits(bits) - (1 << bits - 1 if kind[0] == "s" else 0)
    if kind == "string":
        return rng.choice(["", "text", "\U0001f600\x00é"])
    if kind == "enum":
        return rng.choice(of[1])
    if kind == "flags":
        return frozenset(name for name in of[1] if rng.random() < 0.5)
    if kind == "list" and of[1][0] == "u8":
        return rng.randbytes(rng.choice([0, 3, 100]))
    if kind == "list":
        return [some_value(of[1], rng) for _ in range(rng.choice([0, 1, 15, 16, 40]))]
    if kind == "tuple":
        return tuple(some_value(t, rng) for t in of[1])
    if kind == "record" and is_error_record(of):
        return rng.choice([Busy, Invalid])("what", "why")
    if kind == "record":
        return record_class(tuple(name for name, _ in of[1]))(*(some_value(t, rng) for _, t in of[1]))
    if kind == "option":
        full = some_value(of[1], rng)
        return None if rng.random() < 0.3 else Some(full) if of[1][0] == "option" else full
    if kind == "variant":
        name, payload = rng.choice(of[1])
        return name, payload and some_value(payload, rng)
    if kind == "result":
        box, payload = rng.choice([(Ok, of[1]), (Err, of[2])])
        return box(payload and some_value(payload, rng))
    assert kind in ("own", "borrow")
    return object()


def plain(value: Any) -> Any:
    """To be compared: errors have no equality of their own, and lists of numbers may come as bytes."""
    if isinstance(value, SymphonyError):
        return (type(value), value.message, value.hint)
    if isinstance(value, Ok | Err | Some):
        return (type(value), plain(value.value))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@pytest.mark.parametrize("of", TYPES, ids=lambda of: of[0])
def test_values_come_back_as_they_were(of: Any) -> None:
    rng, pack, unpack = random.Random(repr(of)), packer(of), unpacker(of)
    for _ in range(8):
        objects, value = Objects(), some_value(of, rng)
        wire = msgspec.msgpack.decode(msgspec.msgpack.encode(value if pack is None else pack(value, objects)))
        assert plain(wire if unpack is None else unpack(wire, objects)) == plain(value)


def test_numbers_may_be_arrays() -> None:
    pack, unpack = packer(("list", ("u32",))), unpacker(("list", ("u32",)))
    assert pack is not None
    assert unpack is not None
    for values in (np.arange(40, dtype=np.int64), range(40), (1, 2, 3)):
        assert unpack(pack(values, Objects()), Objects()) == list(values)


def test_words_of_all_widths() -> None:
    for kind in NUMBERS:
        if kind != "u8":
            of = ("list", (kind,))
            values = [some_value((kind,), random.Random(7)) for _ in range(50)]
            wire = pack_all([packer(of)], [values], Objects())
            assert isinstance(wire[0], bytes)
            assert pack_all([unpacker(of)], wire, Objects()) == [values]


def test_all_syscalls_of_ours_cross_and_none_that_needs_nobody() -> None:
    keys = {crossing.key for crossing in CROSSINGS}
    assert keys >= set(HANDLERS) - set(SPELLING)
    assert keys.isdisjoint(SPELLING)
    waiting = {key for key, (_, result) in wasi.SIGNATURES.items() if result == ("own", "wasi:io/poll#pollable")}
    assert keys >= waiting
    assert "wasi:random/random#get-random-u64" not in keys
    assert len(CROSSINGS) == len(keys)


@pytest.mark.parametrize("name", ["bytes", "tiny"])
def test_pieces_spell_as_their_tokenizer_does(name: str) -> None:
    tokenizer = ByteTokenizer() if name == "bytes" else Tokenizer.load(find("tiny") / "tokenizer.json")
    pieces, rng = Pieces(*msgspec.msgpack.decode(msgspec.msgpack.encode(table_of(tokenizer)))), random.Random(5)
    for _ in range(30):
        tokens = [rng.randrange(tokenizer.vocab_size) for _ in range(20)]
        assert pieces.decode(tokens) == tokenizer.decode(tokens)
        mine, theirs = pieces.decoder(), tokenizer.decoder()
        assert [mine.push([t]) for t in tokens] == [theirs.push([t]) for t in tokens]
        assert mine.finish() == theirs.finish()
    for wrong in (-1, tokenizer.vocab_size):
        with pytest.raises(Invalid, match="outside the vocabulary"):
            pieces.decode([wrong])


@pytest.mark.parametrize("kind", [*BY_CODE.values(), ProgramError])
def test_errors_stay_what_they_are(kind: type[SymphonyError]) -> None:
    error = unpacked_error(packed_error(kind("what \ud800", "why")))
    assert type(error) is kind
    assert (error.message, error.hint) == ("what ?", "why")
