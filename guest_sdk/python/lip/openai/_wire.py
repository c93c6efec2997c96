"""The shapes of the answers: one object, or chunks that are emitted as lines of JSON. Knows nothing of models."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

from ..tools import emit
from ._calls import Call

FINISH = {
    "stop-token": "stop",
    "stop-string": "stop",
    "constraint": "stop",
    "length": "length",
    "context-limit": "length",
}
"""Our finish reasons in OpenAI's words."""


@dataclass(slots=True)
class Wire:
    """One answer."""

    chat: bool
    model: str
    stream: bool
    include_usage: bool
    id: str = field(default_factory=lambda: os.urandom(12).hex())
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        return {**self._head(""), "choices": choices, "usage": usage}

    def begin(self, index: int) -> None:
        if self.stream and self.chat:
            self._send(self._delta(index, {"role": "assistant", "content": ""}, None, None))

    def text(self, index: int, text: str, logprobs: Any) -> None:
        if self.stream and (text or logprobs):
            delta = {"content": text} if self.chat else text
            self._send(self._delta(index, delta, logprobs, None))

    def calls(self, index: int, first: int, calls: list[Call]) -> None:
        """Each begins with its name, as clients expect; its arguments are whole by then."""
        if self.stream:
            for number, call in enumerate(calls, first):
                for shown in ({"name": call.name, "arguments": ""}, {"arguments": call.arguments}):
                    head = {"id": f"call_{self.id}{index:02}{number:02}", "type": "function"} if "name" in shown else {}
                    delta = {"tool_calls": [{"index": number, **head, "function": shown}]}
                    self._send(self._delta(index, delta, None, None))

    def end(self, index: int, reason: str) -> None:
        if self.stream:
            self._send(self._delta(index, {} if self.chat else "", None, reason))

    def usage(self, usage: dict[str, Any]) -> None:
        if self.stream and self.include_usage:
            emit(json.dumps({**self._head(".chunk"), "choices": [], "usage": usage}) + "\n")

    def choice(self, index: int, text: str, calls: list[Call], logprobs: Any, reason: str) -> dict[str, Any]:
        """One choice of a `whole`."""
        if not self.chat:
            return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
        if calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{self.id}{index:02}{number:02}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for number, call in enumerate(calls)
            ]
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}

    def _delta(self, index: int, delta: Any, logprobs: Any, reason: str | None) -> dict[str, Any]:
        what = "delta" if self.chat else "text"
        return {"index": index, what: delta, "logprobs": logprobs, "finish_reason": reason}

    def _send(self, choice: dict[str, Any]) -> None:
        beside = {"usage": None} if self.include_usage else {}
        emit(json.dumps({**self._head(".chunk"), "choices": [choice], **beside}) + "\n")

    def _head(self, chunk: str) -> dict[str, Any]:
        kind, prefix = (f"chat.completion{chunk}", "chatcmpl-") if self.chat else ("text_completion", "cmpl-")
        return {"id": prefix + self.id, "object": kind, "created": self.created, "model": self.model}
