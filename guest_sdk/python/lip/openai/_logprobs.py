"""Log-probabilities beside the text: of a token when its text is out, and never of what a stop string cut off."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from .._model import Model
from ..errors import call
from ..stream import Ranked

_LEAST = -9999.0
"""OpenAI's word for impossible: JSON has no infinity."""


class Entry(NamedTuple):
    token: int
    logprob: float
    alternatives: Ranked
    offset: int
    """Of its text, in characters from the beginning of the reply."""


class Logprobs:
    """Of one reply. A token that completes no character goes with the one that does."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._decoder = model.handle.decoder()
        self._waiting: deque[Entry] = deque()
        self._length = 0
        self._texts: dict[int, str] = {}

    def push(self, tokens: Sequence[int], logprobs: Sequence[float], alternatives: Sequence[Ranked]) -> None:
        for index, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True)):
            others = alternatives[index] if index < len(alternatives) else []
            self._waiting.append(Entry(token, logprob, others, self._length))
            self._length += len(call(self._decoder.push, [token]))

    def take(self, length: int) -> list[Entry]:
        """Those that began in the first `length` characters, once each."""
        taken = list[Entry]()
        while self._waiting and self._waiting[0].offset < length:
            taken.append(self._waiting.popleft())
        return taken

    def chat(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """As chat completions have them."""
        return {
            "content": [
                {
                    **self._chat(entry.token, entry.logprob),
                    "top_logprobs": [self._chat(*other) for other in entry.alternatives],
                }
                for entry in entries
            ],
            "refusal": None,
        }

    def completions(self, entries: Sequence[Entry], echoed: int = 0) -> dict[str, Any]:
        """As completions have them."""
        return {
            "tokens": [self._text(entry.token) for entry in entries],
            "token_logprobs": [_finite(entry.logprob) for entry in entries],
            "top_logprobs": [
                {self._text(token): _finite(value) for token, value in entry.alternatives} for entry in entries
            ],
            "text_offset": [echoed + entry.offset for entry in entries],
        }

    def _chat(self, token: int, logprob: float) -> dict[str, Any]:
        text = self._text(token)
        whole = None if "\ufffd" in text else list(text.encode())
        return {"token": text, "logprob": _finite(logprob), "bytes": whole}

    def _text(self, token: int) -> str:
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = self._model.decode([token])
        return text


def _finite(value: float) -> float:
    return value if math.isfinite(value) else _LEAST
