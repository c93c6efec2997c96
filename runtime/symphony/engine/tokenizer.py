"""Text to token ids and back.

A thin layer over Hugging Face `tokenizers` for the way in. The way out is a table from id to bytes, so that a stream of
tokens can be decoded one by one, exactly, without ever splitting a character. It knows nothing of models or chats.
Source: the `decoder` and `added_tokens` entries of `tokenizer.json`.
"""

from __future__ import annotations

import codecs
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from symphony import param
from symphony.errors import Invalid, LimitExceeded, NotFound

MAX_FILE_BYTES = 128 << 20
"""Of a `tokenizer.json`; the largest of known models has some 35 MB."""
MAX_ID = 1 << 24


class Tokenizer:
    """A model's vocabulary. Thread-safe; nothing blocks, but `encode` takes time with the length of its text."""

    def __init__(self, backend: Any, vocab_size: int | None = None) -> None:
        """`backend`: a `tokenizers.Tokenizer`. `vocab_size`: the model's, where it is padded beyond the tokenizer's."""
        self._backend = backend
        self._lock = threading.Lock()
        spec = json.loads(backend.to_str())
        self._to_bytes = _piece_decoder(spec.get("decoder") or {})
        self._strip = _strips_leading_space(spec.get("decoder") or {})
        added = cast("list[dict[str, Any]]", spec.get("added_tokens", []))
        self._added = {int(t["id"]): str(t["content"]).encode() for t in added}
        self._special = frozenset(int(t["id"]) for t in added if t["special"])
        self._pieces: dict[int, bytes] = {}
        self.largest_id = max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        """Of the tokenizer itself; the model's vocabulary is often padded beyond it."""
        self._size = max(self.largest_id + 1, vocab_size or 0)

    @classmethod
    def load(cls, path: Path, vocab_size: int | None = None) -> Tokenizer:
        """Read a `tokenizer.json`. Raises NotFound or Invalid, naming the file."""
        import tokenizers

        if not path.is_file():
            raise NotFound(f"{path} does not exist", "a model directory needs tokenizer.json (a 'fast' tokenizer)")
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ValueError(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
            backend = tokenizers.Tokenizer.from_file(str(path))
            backend.no_truncation()
            backend.no_padding()
            made = cls(backend, vocab_size)
            if made.largest_id > MAX_ID:
                raise ValueError(f"it has ids up to {made.largest_id}")
        except Invalid:
            raise
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as e:  # the library raises plain Exception, and what Rust panics with is not even one
            reason = str(e)[:300]
            raise Invalid(f"{path} is not a tokenizer that can be read: {reason}", "download the model again") from e
        return made

    @property
    def vocab_size(self) -> int:
        """Ids are `0..vocab_size`."""
        return self._size

    @property
    def definition(self) -> str | None:
        """The text of its `tokenizer.json`; None for one that has none. Takes time with the vocabulary's size."""
        with self._lock:
            return self._backend.to_str()

    @property
    def special_tokens(self) -> frozenset[int]:
        """Ids that produce no text in a `Decoder`."""
        return self._special

    @property
    def strips(self) -> bool:
        """Whether a whole text loses its first space when it is decoded."""
        return self._strip

    def agrees(self, other: Tokenizer) -> bool:
        """Whether ids mean the same in both, as far as a thousand samples tell. One may be padded further."""
        size = min(self.vocab_size, other.vocab_size)
        return all(self.piece(token) == other.piece(token) for token in range(0, size, size // 1000 + 1))

    def encode(self, text: str, special: bool) -> list[int]:
        """Token ids, without added special tokens.

        `special`: special tokens written out in the text become their ids; else they are ordinary text.
        Raises LimitExceeded for a text beyond `param.MAX_TEXT_CHARS`.
        """
        check_length(text)
        try:
            with self._lock:  # the switch is the tokenizer's state
                self._backend.encode_special_tokens = not special
                # The batched form releases the interpreter lock, so that a long text holds up nobody else.
                return list(self._backend.encode_batch([text], add_special_tokens=False)[0].ids)
        except TypeError as e:  # what the library makes of a str that UTF-8 cannot hold
            raise Invalid("the text is not valid Unicode", "remove lone surrogates") from e

    def decode(self, tokens: Iterable[int]) -> str:
        """Text with special tokens written out; bytes that are not UTF-8 become U+FFFD. Raises Invalid for a bad id."""
        text = b"".join([self.piece(t) for t in tokens]).decode("utf-8", "replace")
        return text[1:] if self._strip and text.startswith(" ") else text

    def decoder(self) -> Decoder:
        """A new incremental decoder."""
        return Decoder(self)

    def piece(self, token: int) -> bytes:
        """The bytes that one token stands for; empty for ids that only pad the vocabulary. Raises Invalid."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._look_up(token)
        return found

    def _look_up(self, token: int) -> bytes:
        if not 0 <= token < self._size:
            raise Invalid(f"token id {token} is outside the vocabulary", f"this model's ids are 0 to {self._size - 1}")
        if token in self._added:
            return self._added[token]
        text = self._backend.id_to_token(token)
        return b"" if text is None else self._to_bytes(text)


def check_length(text: str) -> None:
    """Raises LimitExceeded for a text beyond `param.MAX_TEXT_CHARS`."""
    if len(text) > param.MAX_TEXT_CHARS:
        raise LimitExceeded(
            f"a text of {len(text)} characters is longer than the limit of {param.MAX_TEXT_CHARS}",
            "tokenize it in parts",
        )


class Decoder:
    """Turns a stream of token ids into text; special tokens produce none. Not thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, tokens: Sequence[int]) -> str:
        """The text that became complete with these tokens; may be empty. Raises Invalid, changing nothing."""
        special = self._tokenizer.special_tokens
        data = b"".join([self._tokenizer.piece(t) for t in tokens if t not in special])
        return self._utf8.decode(data)

    def finish(self) -> str:
        """What is left, incomplete characters as U+FFFD. The decoder can be used again afterwards."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


def _piece_decoder(spec: dict[str, Any]) -> Callable[[str], bytes]:
    """How this tokenizer's pieces become bytes."""
    kinds = [part["type"] for part in _parts(spec)]
    if "ByteLevel" in kinds:
        table = _byte_level_table()
        return lambda piece: bytes([table[c] for c in piece]) if all(c in table for c in piece) else piece.encode()
    if "ByteFallback" in kinds or "Metaspace" in kinds:
        return _sentencepiece_bytes
    raise Invalid(
        f"the tokenizer's decoder ({' + '.join(kinds) or 'none'}) is not supported",
        "byte-level BPE and SentencePiece tokenizers are",
    )


def _parts(spec: dict[str, Any]) -> list[dict[str, Any]]:
    if spec.get("type") == "Sequence":
        return [p for part in spec["decoders"] for p in _parts(part)]
    return [spec] if spec else []


def _strips_leading_space(spec: dict[str, Any]) -> bool:
    """SentencePiece puts a space before the first word and takes it away again when a whole text is decoded."""
    for part in _parts(spec):
        if part["type"] == "Strip" and part.get("content") == " " and part.get("start", 0) > 0:
            return True
        if part["type"] == "Metaspace" and part.get("prepend_scheme", "always") != "never":
            return True
    return False


def _sentencepiece_bytes(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace("\u2581", " ").encode()


def _byte_level_table() -> dict[str, int]:
    """GPT-2's printable stand-ins: bytes that print stand for themselves, the others for U+0100 onwards, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(b): b for b in printable}
    hidden = [b for b in range(256) if chr(b) not in table]
    return table | {chr(0x100 + i): b for i, b in enumerate(hidden)}
