"""A generation in flight: tokens are drawn, kept until the guest takes them, and looked at for a reason to stop.

A step gives it one token, or several where drafts turned out right. What is forced is not drawn at all: it is appended,
and computed beside the next token. See `operation` for its states, `drafts` for where drafts come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from symphony.core.drafts import Drafter
from symphony.core.messages import Chunk, Finish, GenerateOptions, Ranked, Reading
from symphony.core.operation import Operation
from symphony.core.session import Handle, Session
from symphony.core.text import Decoder, TextStream
from symphony.engine.messages import Readings, Row
from symphony.errors import InternalError, SymphonyError
from symphony.param import MAX_READ_VALUES, MAX_UNDELIVERED_TOKENS, READ_VALUES_PER_OUTPUT

Tokens = Sequence[int]


_UNKNOWN = _FIRST = (0,)


class Guide(Protocol):
    """What may be said: a constraint that is advanced along with one generation."""

    def push(self, token: int) -> None:
        """This token comes next. It was allowed."""
        ...

    def forced(self) -> Tokens:
        """Tokens that come next whatever the model says, as far as that is known; they have not been pushed."""
        ...

    def keep(self, drafts: Tokens) -> Tokens:
        """As many of the first ones as are allowed one after the other."""
        ...

    def allowed(self, drafts: Tokens) -> bytes:
        """`Readings.allowed` of the next token and of the one behind each of `drafts`, all of which are allowed."""
        ...

    def prepare(self, ready: Callable[[SymphonyError | None], None]) -> bool:
        """Have what `allowed` says of the next token at hand. False: that takes its time, and `ready` hears of it, or
        of why it cannot be had. Raises LimitExceeded likewise."""
        ...

    @property
    def over(self) -> bool:
        """No token may follow."""
        ...


class Generation(Operation):
    """Tokens drawn wait in `tokens` until the guest takes them; `delivered` ones were taken."""

    __slots__ = (
        "alternatives",
        "awaiting",
        "context_limit",
        "delivered",
        "drafter",
        "drafts",
        "error",
        "finish",
        "guide",
        "logprobs",
        "notified",
        "offered",
        "options",
        "proposed",
        "readings",
        "run_ahead",
        "stop_tokens",
        "text",
        "timer",
        "tokens",
    )

    free_running = True

    def __init__(
        self,
        op: int,
        session: Session,
        handle: Handle,
        now: float,
        options: GenerateOptions,
        decoder: Decoder,
        context_limit: int,
        drafter: Drafter | None = None,
        guide: Guide | None = None,
    ) -> None:
        super().__init__(op, session, handle, now, options.sampling)
        self.options = options
        self.context_limit = context_limit - self.file.ahead
        """Entries that the file may have: the model's limit counts positions."""
        self.readings = Readings(
            options.sampling, top_k=options.logprobs or 0, sampled_logprob=options.logprobs is not None
        )
        each = READ_VALUES_PER_OUTPUT + self.readings.top_k
        self.run_ahead = min(MAX_UNDELIVERED_TOKENS, MAX_READ_VALUES // each)
        """Undelivered tokens at which it pauses."""
        self.stop_tokens = frozenset(options.stop_tokens)
        self.text = TextStream(decoder, options.stop_strings)
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.alternatives: list[Ranked] = []
        self.delivered = 0
        self.finish: Finish | None = None
        self.error: SymphonyError | None = None
        self.notified = False
        """The guest was told that a chunk is there and has not taken it."""
        self.timer: asyncio.TimerHandle | None = None
        """Runs until the oldest undelivered token is old enough."""
        self.drafter = drafter
        self.guide = guide
        self.drafts: Tokens = ()
        """Guesses of the tokens that follow the file's..."""
        self.offered: Tokens = ()
        """...and those of them that are in the row in flight."""
        self.proposed = len(self.file.tokens)
        """The length of the text that the last drafts were for."""
        self.awaiting = False
        """Its drafts, or what is allowed, come later; until then it is parked."""
        self._force()
        self._check_length()
        self.refresh()
        self.look_ahead()

    def complete(self) -> bool:
        return self.finish is not None

    @property
    def kept(self) -> int:
        return self.prompt_end + self.delivered

    @property
    def foreseeable(self) -> bool:
        if self.drawn + 1 < self.horizon:
            return self.place >= 0 and not self.penalised
        if self.drafter is not None or self.guide is not None:
            return False
        if self.place < 0 or self.penalised or self.cancelled or self.finish is not None or self.doom is not None:
            return False
        total = len(self.file.tokens) + 1
        left = self.options.max_tokens - self.drawn
        return left > 1 and total < self.context_limit and len(self.tokens) + 1 < self.run_ahead

    def following(self) -> Row:
        file = self.file
        start = len(file.tokens)
        pages = file.pages[: start // file.arena.page_size + 1]
        row = Row(_UNKNOWN, start, pages, _FIRST, self.readings, follows=self.place)
        return row if file.derived is None else self._positioned(row)

    @property
    def paused(self) -> bool:
        return len(self.tokens) >= self.run_ahead

    @property
    def chunk_ready(self) -> bool:
        return self.finish is not None or len(self.tokens) >= self.options.chunk_tokens or self.paused

    def reuse_limit(self) -> int:
        return len(self.file.tokens)

    def refresh(self) -> None:
        super().refresh()
        if not self.reserved:
            self.drafts = ()
        self.work += len(self.drafts)

    def reach(self) -> int:
        tokens = len(self.file.tokens)
        if self.reserved:
            return tokens + self._affordable()  # grows by a page
        last = min(self.prompt_end + self.options.max_tokens - 1, self.context_limit - 1)
        return max(tokens, min(tokens + self.file.arena.page_size, last))

    def _affordable(self) -> int:
        """Drafts for which nobody has to make room; there are no others afterwards."""
        if not self.drafts:
            return 0
        file, arena = self.file, self.file.arena
        spare = min(arena.available, arena.pages_of(file.tenant) - arena.pool.used.get(file.tenant, 0))
        fits = (len(file.pages) + max(spare, 0)) * arena.page_size - len(file.tokens)
        if fits < len(self.drafts):
            self.drafts = self.drafts[: max(fits, 0)]
            self.refresh()
        return len(self.drafts)

    def propose(self) -> bool:
        """Get what the next row needs: what is allowed, and drafts. False: they come later, and the step loop hears of
        it. Raises LimitExceeded."""
        if self.guide is not None and self.finish is None and not self.guide.prepare(self._prepared):
            self.awaiting = True
            return False
        return self._propose()

    def _prepared(self, error: SymphonyError | None) -> None:
        loop = self.handle.loop
        if self not in loop.parked:  # it ended meanwhile
            return
        self.awaiting = False
        if error is not None:
            loop.fail(self, error)
        elif self._propose():
            loop.unpark(self)

    def _propose(self) -> bool:
        length = len(self.file.tokens)
        if self.drafter is None or self.proposed == length:
            return True
        self.proposed = len(self.file.tokens)
        room = min(self.options.max_tokens - self.drawn, self.context_limit - length, self.run_ahead - len(self.tokens))
        found = self.drafter.propose(self.file.tokens, room - 1, self._drafted) if room > 1 else ()
        self.awaiting = found is None
        self._take_drafts(found or ())
        return not self.awaiting

    def _drafted(self, drafts: Tokens) -> None:
        self.awaiting = False
        self._take_drafts(drafts)
        self.handle.loop.unpark(self)

    def _take_drafts(self, drafts: Tokens) -> None:
        size = self.handle.loop.info.vocab_size
        if drafts and max(drafts) >= size:  # a draft model's vocabulary may be padded further
            drafts = drafts[: next(i for i, token in enumerate(drafts) if token >= size)]
        self.drafts = drafts if self.guide is None else self.guide.keep(drafts)
        if self.drafts and self.reserved:
            self.reserved = min(self.reserved, len(self.file.tokens) - 1)  # their pages are reserved anew
        self.refresh()

    def row(self, count: int) -> Row:
        file = self.file
        tail = len(file.tokens) - file.computed
        if count < tail:
            return self._row(count, (), self.readings, self.drawn)
        self.offered = drafts = self.drafts[: count - tail] if tail else ()
        last = tail - 1 if tail else 0
        outputs = range(last, last + 1 + len(drafts)) if drafts else (last,)
        readings = self.readings
        if self.guide is not None:
            readings = replace(readings, allowed=self.guide.allowed(drafts))
        return self._row(last + 1 + len(drafts), outputs, readings, self.drawn + len(drafts), drafts)

    def absorb(self, readings: Sequence[Reading]) -> int:
        """Drafts that equal what was drawn stand, and their K/V is there; what follows the first other one is void."""
        tokens, offered = self.file.tokens, self.offered
        first, accepted = len(tokens), 0
        while self.finish is None and accepted == len(tokens) - first < len(readings):
            self._draw(readings[accepted])
            new = tokens[first:]
            while accepted < min(len(new), len(offered)) and new[accepted] == offered[accepted]:
                accepted += 1
        if offered and self.drafter is not None:
            self.drafter.learn(len(offered), accepted)
        if readings:
            self.drafts = self.offered = ()
        self.refresh()
        return accepted

    def look_ahead(self) -> None:
        """Find the horizon: how far nothing can happen but a stop token."""
        self.horizon = 0
        if self.drafter is None and self.guide is None and self.finish is None and not self.cancelled:
            options = self.options
            if options.logprobs is None and not options.stop_strings and not options.chunk_ms and self.doom is None:
                undelivered, total = len(self.tokens), len(self.file.tokens)
                chunk = min(options.chunk_tokens, self.run_ahead) - undelivered
                self.horizon = min(options.max_tokens, self.drawn + min(self.context_limit - total, chunk)) - 1

    def takes(self, token: int) -> bool:
        """The common case of `absorb`, of a row that drew one token short of the horizon. False: it is not that."""
        if self.drawn >= self.horizon or token in self.stop_tokens:
            return False
        self.file.tokens.append(token)
        self.tokens.append(token)
        self.text.push(token)
        self.drawn += 1
        self.session.usage.generated_tokens += 1
        self.handle.loop.meter.generated += 1
        return True

    def take(self) -> Chunk:
        """Everything undelivered."""
        chunk = Chunk(self.tokens, self.text.take(), self.logprobs, self.alternatives, self.finish)
        self.delivered += len(self.tokens)
        self.tokens, self.logprobs, self.alternatives = [], [], []
        self.notified = False
        self.look_ahead()
        return chunk

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _draw(self, reading: Reading) -> None:
        token = reading.sampled
        if token is None:
            raise InternalError("the engine drew no token", "report this")
        logprobs = self.options.logprobs
        if logprobs is not None:
            self.logprobs.append(reading.sampled_logprob if reading.sampled_logprob is not None else float("nan"))
            if logprobs:
                self.alternatives.append(Ranked(reading.top_ids, reading.top_logprobs))
        self._append(token)
        self._force()

    def _force(self) -> None:
        """What must come next comes without a draw; where log-probabilities are wanted it is drawn all the same."""
        if self.guide is None or self.options.logprobs is not None:
            return
        while self.finish is None and not self.paused and (forced := self.guide.forced()):
            for token in forced:
                if self.finish is None and not self.paused:
                    self._append(token)

    def _append(self, token: int) -> None:
        self.file.tokens.append(token)
        self.tokens.append(token)
        self.drawn += 1
        self.session.usage.generated_tokens += 1
        self.handle.loop.meter.generated += 1
        if self.guide is not None:
            self.guide.push(token)
        if token in self.stop_tokens:
            self.finish = ("stop-token", token)
            self.horizon = 0
            self.text.end()
            return
        stop = self.text.push(token)
        if stop is not None:
            self.finish = ("stop-string", stop)
            return
        self._check_length()

    def _check_length(self) -> None:
        if self.drawn >= self.options.max_tokens:
            self.finish = ("length", None)
        elif len(self.file.tokens) >= self.context_limit:
            self.finish = ("context-limit", None)
        elif self.guide is not None and self.guide.over:
            self.finish = ("constraint", None)
        if self.finish is not None:
            self.horizon = 0
            self.text.end()
