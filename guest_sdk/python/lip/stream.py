"""A generation in flight, chunk by chunk, and what it has become."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, cast

from . import _host
from ._loop import Loop
from .errors import Invalid, from_wit

Ranked = list[tuple[int, float]]
"""Token ids with their log-probabilities, descending."""


@dataclass(slots=True)
class Chunk:
    """A piece of a generation. `finish_reason` is set in the last one."""

    text: str
    tokens: list[int]
    logprobs: list[float] | None
    alternatives: list[Ranked] | None
    finish_reason: str | None


@dataclass(slots=True)
class Completion:
    """What was generated.

    text            without stop token and stop string
    tokens          exactly what the context now holds more
    finish_reason   'stop-token', 'stop-string', 'length', 'context-limit', 'constraint' or 'cancelled'
    stop            the token id or the string that stopped it
    logprobs        of each token, where asked for
    alternatives    the most probable tokens at each step, where asked for
    """

    text: str
    tokens: list[int]
    finish_reason: str
    stop: int | str | None
    logprobs: list[float] | None
    alternatives: list[Ranked] | None

    def __str__(self) -> str:
        return self.text

    def json(self) -> Any:
        """The text as a JSON value, such as `generate(schema=...)` writes. `Invalid` if it is none, for example because
        `max_tokens` cut it off."""
        try:
            return json.loads(self.text)
        except ValueError as error:
            cut = "give it more max_tokens" if self.finish_reason == "length" else "generate with schema=..."
            raise Invalid(f"the text is not JSON: {error}", cut) from None


class Stream:
    """Asynchronous iterator of chunks. Dropping or closing it stops the model."""

    def __init__(self, generation: Any, strings: list[str], logprobs: bool, failed: Callable[[], None]) -> None:
        self._generation = generation
        self._pollable = generation.subscribe()
        self._strings = strings
        self._failed = failed
        self._texts: list[str] = []
        self.tokens: list[int] = []
        self.logprobs: list[float] | None = [] if logprobs else None
        self.alternatives: list[Ranked] | None = [] if logprobs else None
        self.finish_reason: str | None = None
        self.stop: int | str | None = None

    @property
    def text(self) -> str:
        """What came so far."""
        return "".join(self._texts)

    def completion(self) -> Completion:
        """What came so far, as one; an iteration that was left early counts as cancelled."""
        reason = self.finish_reason or "cancelled"
        return Completion(self.text, self.tokens, reason, self.stop, self.logprobs, self.alternatives)

    def close(self) -> None:
        """Stop the model, if it still writes. Closing twice is fine."""
        generation, self._generation = self._generation, None
        if generation is None:
            return
        self._pollable.__exit__(None, None, None)
        generation.__exit__(None, None, None)
        if self.finish_reason is None:
            self._failed()

    def __del__(self) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self._generation is None:
            raise StopAsyncIteration
        loop = cast(Loop, asyncio.get_running_loop())
        try:
            answer = None
            while answer is None:
                await loop.wait(self._pollable)
                answer = self._generation.next()
            if answer.__class__ is _host.Err:
                raise from_wit(answer.value)
        except BaseException:
            self.close()
            raise
        return self._take(answer.value)

    def _take(self, raw: Any) -> Chunk:
        alternatives = [list(zip(r.ids, r.values, strict=True)) for r in raw.alternatives]
        self._texts.append(raw.text)
        self.tokens += raw.tokens
        if self.logprobs is not None and self.alternatives is not None:
            self.logprobs += raw.logprobs
            self.alternatives += alternatives
        if raw.finish is not None:
            self._finish(raw.finish)
        asked = self.logprobs is not None
        return Chunk(
            raw.text,
            list(raw.tokens),
            list(raw.logprobs) if asked else None,
            alternatives if asked else None,
            self.finish_reason,
        )

    def _finish(self, reason: Any) -> None:
        infer = _host.infer
        self.finish_reason = {
            infer.FinishReason_StopToken: "stop-token",
            infer.FinishReason_StopString: "stop-string",
            infer.FinishReason_Length: "length",
            infer.FinishReason_ContextLimit: "context-limit",
            infer.FinishReason_Constraint: "constraint",
            infer.FinishReason_Cancelled: "cancelled",
        }[type(reason)]
        if self.finish_reason == "stop-token":
            self.stop = reason.value
        elif self.finish_reason == "stop-string":
            self.stop = self._strings[reason.value]
        self.close()
