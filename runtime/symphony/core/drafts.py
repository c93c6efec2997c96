"""Drafts: guesses of the tokens to come, which the model verifies several at a step.

They are accepted as long as they equal what the model draws itself, so that they change no token (semantics 10), only
how many steps the tokens take. Two ways to come by them:

    PromptLookup    what followed the last time that the same few tokens stood in the file: at once, for next to nothing
    DraftModel      a smaller model writes them into a file of its own: an operation on that model's step loop

                        propose                                   as many drawn as asked for
    DraftModel  PARKED ─────────▶ ACTIVE: catches up with the text, then draws ────────▶ PARKED
                  any state ── the generation is over, the file's handle closes, a failure ──▶ ENDED

The draft model draws with the target's sampling, seed and entry indexes. Their noise is then the same, and they agree
more often than two draws of their own would. What was accepted says how many drafts make sense.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from symphony.core.messages import Reading, Readings, Sampling
from symphony.core.operation import NOTHING, Operation
from symphony.core.session import Handle, Session
from symphony.engine.messages import Row
from symphony.errors import InternalError
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs

Tokens = Sequence[int]
Ready = Callable[[Tokens], None]


PLACES = 4096
"""Of a lookup's last token, the last ones, where more is compared: a text may be nothing but one token."""


class Drafter(Protocol):
    """Where the drafts of one generation come from."""

    def propose(self, tokens: array[int], limit: int, ready: Ready) -> Tokens | None:
        """At most `limit` (at least 1) tokens that may follow `tokens`, which have only grown since the last time.
        None: `ready` is called with them later."""
        ...

    def learn(self, offered: int, accepted: int) -> None:
        """What became of the last ones."""
        ...

    def stop(self) -> None:
        """The generation is over. Idempotent."""
        ...


class Appetite:
    """How many drafts make sense: up to `most` as long as they are right, soon fewer when they are not."""

    __slots__ = ("_most", "count")

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = most

    def learn(self, offered: int, accepted: int) -> None:
        if accepted == offered:
            self.count = min(self.count + offered, self._most)
        else:
            self.count = max((self.count + accepted + 1) // 2, 1)


class PromptLookup:
    """The text itself as a draft: what followed the longest of its last tokens that stood in it before, where it stood
    last. After Saxena, "Prompt Lookup Decoding" (2023)."""

    __slots__ = ("_appetite", "_longest")

    def __init__(self, longest: int, most: int) -> None:
        """`longest`: so many last tokens are compared; at least 2 must be found again, or 1 if it is 1."""
        self._longest = longest
        self._appetite = Appetite(most)

    def propose(self, tokens: array[int], limit: int, ready: Ready) -> Tokens:
        text = np.frombuffer(tokens, np.uint32)
        places = np.flatnonzero(text[:-1] == text[-1])[-PLACES:]
        found, length = places, 1
        while len(places) and length < self._longest:
            places = places[places >= length]
            places = places[text[places - length] == text[-1 - length]] if length < len(text) else places[:0]
            if len(places):
                found, length = places, length + 1
        if not len(found) or length < min(self._longest, 2):
            return ()
        first = int(found[-1]) + 1
        return text[first : first + min(self._appetite.count, limit)].tolist()

    def learn(self, offered: int, accepted: int) -> None:
        self._appetite.learn(offered, accepted)

    def stop(self) -> None:
        """Nothing is held."""


class DraftModel(Operation):
    """Drafts of another model. Its file is busy as long as the generation lives, and keeps what is the text's."""

    __slots__ = (
        "_appetite",
        "_common",
        "_drafts",
        "_ended",
        "_kvfs",
        "_left",
        "_limit",
        "_readings",
        "_ready",
        "_start",
        "_text",
    )

    free_running = True

    def __init__(
        self,
        op: int,
        session: Session,
        handle: Handle,
        now: float,
        sampling: Sampling,
        most: int,
        text: File,
        kvfs: Kvfs,
    ) -> None:
        """`text`: the file that is generated into; the draft's own begins as it does, and is busy already."""
        super().__init__(op, session, handle, now, sampling)
        file, info = self.file, handle.loop.info
        self.prompt_end = 0  # what it computes is nobody's prompt
        self._limit = info.context_limit - file.ahead
        self._kvfs = kvfs
        self._text = text
        self._start = len(text.tokens)
        """Entries from here on are generated."""
        self._common = file.length
        """So many of its tokens are known to be the text's."""
        self._appetite = Appetite(most)
        self._readings = Readings(sample=sampling)
        self._drafts: list[int] = []
        self._left = 0
        """Drafts to draw."""
        self._ready: Ready | None = None
        self._ended = False

    # ---- the drafter -----------------------------------------------------------------------------------------------
    def propose(self, tokens: array[int], limit: int, ready: Ready) -> Tokens | None:
        loop = self.handle.loop
        count = min(self._appetite.count, limit, self._limit - len(tokens))
        if self._ended or count < 1 or not self._follow(tokens, loop.info.vocab_size):
            return ()
        self._drafts, self._left, self._ready = [], count, ready
        loop.unpark(self)
        return None

    def learn(self, offered: int, accepted: int) -> None:
        self._appetite.learn(offered, accepted)

    def stop(self) -> None:
        self._ready = None
        if not self._ended:
            self.handle.loop.cancel(self)

    # ---- the operation ---------------------------------------------------------------------------------------------
    def complete(self) -> bool:
        return not self._left

    @property
    def kept(self) -> int:
        return self._in_common(self._text.tokens)

    def reuse_limit(self) -> int:
        return len(self.file.tokens)

    def reach(self) -> int:
        return min(len(self.file.tokens) + self._left, self._limit)

    def row(self, count: int) -> Row:
        tail = len(self.file.tokens) - self.file.computed
        outputs = (count - 1,) if count >= tail else ()
        return self._row(count, outputs, self._readings if outputs else NOTHING, len(self.file.tokens) - self._start)

    def absorb(self, readings: Sequence[Reading]) -> int:
        if readings:
            token = readings[0].sampled
            if token is None:
                raise InternalError("the engine drew no token", "report this")
            self._drafts.append(token)
            self._left -= 1
            if self._left:
                self.file.tokens.append(token)
        self.refresh()
        return 0

    def deliver(self) -> None:
        """All drafts are there, or no more come."""
        ready, self._ready = self._ready, None
        if ready is not None:
            ready(self._drafts)

    def end(self) -> None:
        """It failed, or was cancelled: the generation goes on without."""
        self._ended = True
        self._drafts = []
        self.deliver()

    def _follow(self, tokens: array[int], vocab_size: int) -> bool:
        """Bring the file in line with the text. False: a token means nothing to this model."""
        file, common = self.file, self._in_common(tokens)
        more = tokens[common:]
        if more and max(more) >= vocab_size:
            return False
        if common < len(file.tokens):
            self._kvfs.rewind(file, common)
        file.tokens.extend(more)
        self._common = len(tokens)
        self.reserved = 0
        self.refresh()
        return True

    def _in_common(self, tokens: array[int]) -> int:
        return common_length(self.file.tokens, tokens, self._common)


def common_length(a: array[int], b: array[int], known: int = 0) -> int:
    """Of their longest common prefix, of which so many tokens are known."""
    shorter = min(len(a), len(b))
    common = min(known, shorter)
    if not known and a[:shorter] == b[:shorter]:
        return shorter
    while common < shorter:
        size = max(common - known, 64)  # so that little is looked at where they soon differ
        one, other = (np.frombuffer(text[common : common + size], np.uint32) for text in (a, b))
        length = min(len(one), len(other))
        wrong = np.flatnonzero(one[:length] != other[:length])
        if len(wrong):
            return common + int(wrong[0])
        common += length
    return common
