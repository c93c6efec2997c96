"""The way from tokens to text, in a worker: the bytes of each token, without the tokenizer that they come from.

A program that chooses its tokens turns each into text; that needs a table, and no host. The way back does.
"""

from __future__ import annotations

from collections.abc import Sequence

from symphony.engine.tokenizer import Tokenizer
from symphony.errors import InternalError, Invalid

Table = tuple[list[bytes], list[int], bool]
"""The bytes of each id, the special ids, and whether a whole text loses its first space."""


def table_of(tokenizer: Tokenizer) -> Table:
    """Takes time with the vocabulary's size."""
    pieces = [tokenizer.piece(token) for token in range(tokenizer.vocab_size)]
    return pieces, sorted(tokenizer.special_tokens), tokenizer.strips


class Pieces(Tokenizer):
    """Decodes as the tokenizer does that the table is of."""

    def __init__(self, pieces: Sequence[bytes], special: Sequence[int], strip: bool) -> None:
        self._size = len(pieces)
        self._pieces = dict(enumerate(pieces))
        self._special = frozenset(special)
        self._strip = strip

    def encode(self, text: str, special: bool) -> list[int]:
        raise InternalError("a worker has no tokenizer: the host encodes")

    def _look_up(self, token: int) -> bytes:
        raise Invalid(f"token id {token} is outside the vocabulary", f"this model's ids are 0 to {self._size - 1}")
