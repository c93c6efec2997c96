"""The models of this process: opened once each, described once each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from . import _host
from .errors import call


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a program may want to know about a model."""

    name: str
    vocab_size: int
    context_limit: int
    """Longest sequence, in tokens."""
    page_size: int
    """Tokens in one KV page."""
    stop_tokens: tuple[int, ...]
    """Ids that end a turn or a text; `generate` stops at them unless told otherwise."""
    bos_token: int | None


class Model:
    """An open model: the host's handle, and its description."""

    def __init__(self, name: str | None) -> None:
        self.handle = call(_host.model.Model.open, name)
        raw = self.handle.info()
        self.info = ModelInfo(
            raw.name, raw.vocab_size, raw.context_limit, raw.page_size, tuple(raw.stop_tokens), raw.bos_token
        )

    def encode(self, text: str, special: bool) -> list[int]:
        return call(self.handle.tokenize, _host.text(text), special)

    def decode(self, tokens: Sequence[int]) -> str:
        return call(self.handle.detokenize, list(tokens))

    def render(self, conversation: str) -> str:
        return call(self.handle.render_chat, conversation)


@cache
def open_model(name: str | None = None) -> Model:
    """The named model, or the default one."""
    return Model(name)


def models() -> list[ModelInfo]:
    """The models that are loaded, the default first."""
    return [open_model(name).info for name in _host.model.list_models()]


def encode(text: str, *, special: bool = False, model: str | None = None) -> list[int]:
    """Token ids of a text. With `special`, special tokens written out in it (`<|im_end|>`) become their ids."""
    return open_model(model).encode(text, special)


def decode(tokens: int | Sequence[int], *, model: str | None = None) -> str:
    """Text of token ids, special tokens written out."""
    return open_model(model).decode([tokens] if isinstance(tokens, int) else tokens)
