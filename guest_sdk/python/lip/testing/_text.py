"""The scripted model's tokens and its chat template.

A token is a word with the space before it, a further space or line break, or a punctuation mark. Turns are ChatML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

SPECIAL = ("<|im_start|>", "<|im_end|>")
START, STOP = 0, 1
VOCABULARY = 1 << 20
_SPLIT = re.compile("(" + "|".join(map(re.escape, SPECIAL)) + ")")
_PIECE = re.compile(r" ?\w+|\s|[^\w\s]")
_pieces = list(SPECIAL)
_ids = {piece: token for token, piece in enumerate(_pieces)}


def encode(text: str, special: bool = True) -> list[int]:
    """Token ids, given out as pieces are met. With `special`, special tokens that are written out are tokens."""
    ids: list[int] = []
    for part in _SPLIT.split(text) if special else [text]:
        ids += [_ids[part]] if special and part in SPECIAL else map(_id, _PIECE.findall(part))
    return ids


def _id(piece: str) -> int:
    token = _ids.setdefault(piece, len(_pieces))
    if token == len(_pieces):
        _pieces.append(piece)
    return token


def pieces() -> list[str]:
    """The texts of all tokens that have been given out, by id."""
    return _pieces


def decode(ids: Sequence[int]) -> str:
    return "".join(_pieces[token] if token < len(_pieces) else f"<|{token}|>" for token in ids)


def render(conversation: dict[str, Any]) -> str:
    """The text of a conversation. Tools are listed in a turn before all others; further fields follow their turn's
    text as JSON."""
    text = ""
    if conversation.get("tools"):
        text = f"<|im_start|>tools\n{json.dumps(conversation['tools'])}<|im_end|>\n"
    for message in conversation["messages"]:
        fields = {name: value for name, value in message.items() if name not in ("role", "content")}
        more = json.dumps(fields) if fields else ""
        text += f"<|im_start|>{message['role']}\n{message['content']}{more}<|im_end|>\n"
    return text + ("<|im_start|>assistant\n" if conversation.get("add_generation_prompt") else "")
