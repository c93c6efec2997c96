"""A model's tokens as llguidance wants them: built once a model, in about 20 ms for 4,000 tokens, 1 s for 128,000.

Blocks; call it in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

from llguidance import LLTokenizer, TokenizerWrapper


class Tokens(Protocol):
    """What is asked of a tokenizer (`engine.tokenizer.Tokenizer` is one)."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def special_tokens(self) -> frozenset[int]: ...
    @property
    def definition(self) -> str | None: ...
    def piece(self, token: int) -> bytes: ...
    def encode(self, text: str, special: bool) -> list[int]: ...


class Vocabulary:
    """`model`: its name. `ends`: the tokens that may follow a complete text, at least one."""

    def __init__(self, model: str, tokens: Tokens, vocab_size: int, ends: Sequence[int]) -> None:
        self.model = model
        self.size = vocab_size
        self.mask_bytes = -(-vocab_size // 32) * 4
        self.tokens = tokens
        self.ends = frozenset(ends)
        self.native = _native(tokens, vocab_size, ends) or _wrapped(tokens, vocab_size, ends)
        self.ends_mask = sum(1 << token for token in self.ends).to_bytes(self.mask_bytes, "little")
        """These alone."""
        self.others = ((1 << vocab_size) - 1) ^ sum(1 << token for token in self.ends)
        """The mask of all tokens that are no ends, as a number."""


def _native(tokens: Tokens, vocab_size: int, ends: Sequence[int]) -> LLTokenizer | None:
    """By the tokenizer's own definition: forced text is then tokenized without a detour through Python.

    Not where it has tokens for marks that are text, as `<think>` is for some models: llguidance takes them for special
    ones, forces them, and refuses them.
    """
    definition = tokens.definition
    if definition is None or not all(added["special"] for added in json.loads(definition).get("added_tokens", ())):
        return None
    try:
        return LLTokenizer(definition, n_vocab=vocab_size, eos_token=list(ends))
    except ValueError:  # of a kind that llguidance does not know
        return None


def _wrapped(tokens: Tokens, vocab_size: int, ends: Sequence[int]) -> LLTokenizer:
    return LLTokenizer(_Wrapped(tokens, vocab_size, ends), eos_token=list(ends))


class _Wrapped(TokenizerWrapper):
    """Any tokenizer, in the shape of llguidance's `TokenizerWrapper`."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: Tokens, vocab_size: int, ends: Sequence[int]) -> None:  # instead of the parent's
        size = min(vocab_size, tokens.vocab_size)
        self.eos_token_id = ends[0]
        self.tokens = [tokens.piece(token) for token in range(size)] + [b""] * (vocab_size - size)
        self.special_token_ids = sorted(tokens.special_tokens | set(ends))
        self._encode = tokens.encode

    def __call__(self, text: str | bytes) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", "replace"), False)
