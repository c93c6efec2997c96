"""One choice of an answer: a generation, told as it comes as text, calls and log-probabilities."""

from __future__ import annotations

from typing import Any

from .._model import decode
from ..context import Context
from ..stream import Chunk
from ._calls import Call, CallReader
from ._logprobs import Entry, Logprobs
from ._wire import FINISH, Wire

STREAM_TOKENS, STREAM_MS = 16, 20
"""A client that streams hears of so many tokens at once, or of fewer every so many milliseconds."""


class Choice:
    """Writes one reply. With a `reader`, calls are told from text; `marker` is the token that announces them."""

    def __init__(
        self, wire: Wire, index: int, reader: CallReader | None, marker: int | None, probs: Logprobs | None
    ) -> None:
        self._wire = wire
        self._index = index
        self._reader = reader
        self._marker = marker
        self._probs = probs
        self._entries = list[Entry]()
        self._length = 0
        self.texts = list[str]()
        self.calls = list[Call]()
        self.tokens = 0

    async def write(self, context: Context, options: dict[str, Any], echoed: str = "") -> dict[str, Any]:
        """Generate to the end; the choice as a whole answer has it."""
        live = self._wire.stream
        chunks = {"chunk_tokens": STREAM_TOKENS if live else 256, "chunk_ms": STREAM_MS if live else 0}
        reason = "length"
        if echoed:
            self._tell(echoed)
        async with context.stream(**options, **chunks) as stream:
            async for chunk in stream:
                self._take(context, chunk, len(echoed))
                reason = FINISH.get(chunk.finish_reason or "", reason)
        if self._reader is not None:
            self._tell(self._reader.end(), len(echoed))
        if self.calls:
            reason = "tool_calls"
        self._wire.end(self._index, reason)
        shown = None if self._probs is None else self._shown(self._entries, len(echoed))
        return self._wire.choice(self._index, "".join(self.texts), self.calls, shown, reason)

    def _take(self, context: Context, chunk: Chunk, echoed: int) -> None:
        self.tokens += len(chunk.tokens)
        if self._probs is not None:
            self._probs.push(chunk.tokens, chunk.logprobs or [], chunk.alternatives or [])
        if self._reader is None:
            self._tell(chunk.text, echoed)
            return
        text, calls = self._reader.push(self._spelt(context, chunk))
        self._tell(text, echoed)
        self._wire.calls(self._index, len(self.calls), calls)
        self.calls += calls

    def _spelt(self, context: Context, chunk: Chunk) -> str:
        """The chunk's text; where a special token announces calls, which is no text, it is written out."""
        if self._marker is None or self._marker not in chunk.tokens:
            return chunk.text
        info = context.model
        behind = chunk.tokens[chunk.tokens.index(self._marker) + 1 :]
        after = decode([token for token in behind if token not in info.stop_tokens], model=info.name)
        head = chunk.text.removesuffix(after)
        return f"{head}{decode(self._marker, model=info.name)}{chunk.text[len(head) :]}"

    def _tell(self, text: str, echoed: int = 0) -> None:
        self._length += len(text)
        self.texts.append(text)
        entries = [] if self._probs is None else self._probs.take(self._length - echoed)
        self._entries += entries
        if self._wire.stream:
            self._wire.text(self._index, text, self._shown(entries, echoed) if entries else None)

    def _shown(self, entries: list[Entry], echoed: int) -> Any:
        assert self._probs is not None
        return self._probs.chat(entries) if self._wire.chat else self._probs.completions(entries, echoed)
