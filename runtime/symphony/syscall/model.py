"""`symphony:lip/model`: models, tokenizers, chat templates. Source: `wit/model.wit`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from symphony.engine.tokenizer import Decoder, Tokenizer
from symphony.errors import Invalid
from symphony.param import INLINE_TEXT_CHARS
from symphony.syscall import strict_json
from symphony.syscall.caller import Caller
from symphony.syscall.values import Handler


class Info(NamedTuple):
    name: str
    vocab_size: int
    context_limit: int
    page_size: int
    stop_tokens: Sequence[int]
    bos_token: int | None


class Model:
    """A guest's handle on a loaded model."""

    __slots__ = ("name", "tokenizer")

    def __init__(self, name: str, tokenizer: Tokenizer) -> None:
        self.name = name
        self.tokenizer = tokenizer


def open_model(caller: Caller, name: str | None) -> Model:
    engine = caller.core.engine(name)
    return Model(engine.info.name, engine.tokenizer)


def info(caller: Caller, model: Model) -> Info:
    i = caller.core.engine(model.name).info
    return Info(i.name, i.vocab_size, i.context_limit, i.page_size, i.stop_tokens, i.bos_token)


def tokenize(caller: Caller, model: Model, text: str, special: bool) -> list[int] | Coroutine[Any, Any, list[int]]:
    if len(text) <= INLINE_TEXT_CHARS:
        return model.tokenizer.encode(text, special)
    return _tokenize_long(model.tokenizer, text, special)


async def _tokenize_long(tokenizer: Tokenizer, text: str, special: bool) -> list[int]:
    """Suspends the guest, so that nobody waits for seconds of somebody else's text."""
    return await asyncio.get_running_loop().run_in_executor(None, tokenizer.encode, text, special)


def detokenize(caller: Caller, model: Model, tokens: Any) -> str:
    return model.tokenizer.decode(tokens)


def decoder(caller: Caller, model: Model) -> Decoder:
    return model.tokenizer.decoder()


def render_chat(caller: Caller, model: Model, conversation: str) -> str:
    template = caller.core.engine(model.name).chat
    if template is None:
        raise Invalid(f"the model {model.name!r} has no chat template", "feed raw text instead: ctx.feed(text)")
    try:
        value = strict_json.loads(conversation)
    except ValueError as e:
        raise Invalid(f"the conversation is not JSON: {e}", 'pass {"messages": [...]}') from None
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        raise Invalid("the conversation has no list of messages", 'pass {"messages": [{"role": ..., "content": ...}]}')
    return template.render(value)


def push(caller: Caller, decoder: Decoder, tokens: Any) -> str:
    return decoder.push(tokens)


def finish(caller: Caller, decoder: Decoder) -> str:
    return decoder.finish()


def list_models(caller: Caller) -> list[str]:
    return caller.core.models()


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/model#[static]model.open": open_model,
    "symphony:lip/model#[method]model.info": info,
    "symphony:lip/model#[method]model.tokenize": tokenize,
    "symphony:lip/model#[method]model.detokenize": detokenize,
    "symphony:lip/model#[method]model.decoder": decoder,
    "symphony:lip/model#[method]model.render-chat": render_chat,
    "symphony:lip/model#[method]decoder.push": push,
    "symphony:lip/model#[method]decoder.finish": finish,
    "symphony:lip/model#list-models": list_models,
}
